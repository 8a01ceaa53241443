"""What is wrong with a text is said with its line and column; nothing but a GeocError ever comes out."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from geoc.ir.errors import GeocError, TextError
from geoc.ir.text import load_model, parse_model

HEAD = "geoc 1\ngraph @m(%x: f32[2]) -> (%x) {\n"

CASES = [
    ("", "1:1", "the text ends"),
    ("graph @m() -> () {\n}\n", "1:1", "begins with the line 'geoc 1'"),
    ("geoc 2\ngraph @m() -> () {\n}\n", "1:1", "version 2"),
    ("geoc 1\ngeoc 1\ngraph @m() -> () {\n}\n", "2:1", "begins with one line"),
    ("geoc 1\nfoo\n", "2:1", "found 'foo'"),
    ('geoc 1\nopset "" x\ngraph @m() -> () {\n}\n', "2:10", "expected a number"),
    ('geoc 1\nopset "" 1\nopset "" 2\ngraph @m() -> () {\n}\n', "3:1", "given twice"),
    ("geoc 1\ngraph @m(%x: f32[2) -> () {\n}\n", "2:17", "expected dimensions"),
    ("geoc 1\ngraph @m(%x: f32[2+]) -> () {\n}\n", "2:18", "not a dimension"),
    ("geoc 1\ngraph @m(%x: f32[-1]) -> () {\n}\n", "2:18", "no size"),
    ("geoc 1\ngraph @m(%x: f33[2]) -> () {\n}\n", "2:14", "unknown element type f33"),
    ("geoc 1\ngraph @m(%x: f32[2], %x: f32[2]) -> () {\n}\n", "2:10", "defined twice"),
    ("geoc 1\ngraph @m() -> (%y) {\n}\n", "2:16", "%y is not defined"),
    ("geoc 1\ngraph @m(%x: f32[2]) -> (%x: f32[3]) {\n}\n", "2:10", "the graph declares f32[3]"),
    ("geoc 1\ngraph @m() -> () {\n", "2:1", "the text ends"),
    ("geoc 1\ngraph @m() -> () {\n}\n}\n", "4:1", "found '}'"),
    (HEAD + "  %y: f32[2] = Relu(%z)\n}\n", "3:21", "%z is not defined"),
    (HEAD + "  %y: f32[2] = Relu(%y)\n}\n", "3:3", "%y is not defined"),
    (HEAD + "  %x: f32[2] = Relu(%x)\n}\n", "3:3", "defined twice"),
    (HEAD + "  %y: f32[2] = Relu(%x) {alpha=}\n}\n", "3:32", "found '}'"),
    (HEAD + "  %y: f32[2] = Relu(%x) {a=1, a=2}\n}\n", "3:26", "given twice"),
    (HEAD + "  %y: f32[2] = Relu(%x) {a=[1, 2.5]}\n}\n", "3:1", "one kind"),
    (HEAD + "  %y: f32[2] = Relu(%x) {a=9223372036854775808}\n}\n", "3:28", "does not fit an i64"),
    (HEAD + "  %y: f32[2] = Relu(%x) {a=1e39}\n}\n", "3:28", "does not fit a float32"),
    (HEAD + "  %y: f32[2] = Relu(%x) {a=[]:stuff}\n}\n", "3:31", "no kind"),
    (HEAD + "  %y: f32[2] = Relu(%x) trailing\n}\n", "3:25", "found 'trailing'"),
    (HEAD + '  %y: f32[2] = Relu(%x)  !"open\n}\n', "3:27", "found '\"open'"),
    (HEAD + '  %y: f32[2] = Relu(%x)  !"\\q"\n}\n', "3:27", "unknown escape"),
    (HEAD + "  %y: f32[2] = Relu %x\n}\n", "3:21", "expected '('"),
    (HEAD + "  %y: f32[2] = Softmax@2(%x)\n}\n", "3:3", "no revision"),
    (HEAD + "  weight %w: i8[2] = [1, 300]\n}\n", "3:23", "300 does not fit i8"),
    (HEAD + "  weight %w: i8[2] = [1]\n}\n", "3:23", "1 elements"),
    (HEAD + "  weight %w: i8[2] = [1, 2\n}\n", "3:27", "the line ends"),
    (HEAD + "  weight %w: i8[] = [1]\n}\n", "3:22", "without brackets"),
    (HEAD + "  weight %w: i8[1] = 1\n}\n", "3:22", "in brackets"),
    (HEAD + "  weight %w: i8[N] = [1]\n}\n", "3:14", "known sizes"),
    (HEAD + "  weight %w: bool[1] = [1]\n}\n", "3:25", "not a bool"),
    (HEAD + "  weight %w: f32[1] = [1e39]\n}\n", "3:24", "does not fit f32"),
    (HEAD + "  weight %w: f16[1] = [65536.0]\n}\n", "3:24", "does not fit f16"),
    (HEAD + "  weight %w: f32[1] = [true]\n}\n", "3:24", "true is not an element"),
    (HEAD + "  weight %w: i64[1] = [1.5]\n}\n", "3:24", "not an integer"),
    (HEAD + '  weight %w: i8[1] = #base64"AAAA"\n}\n', "3:22", "3 bytes"),
    (HEAD + "  weight %w: i8[1] = @0[0+1]\n}\n", "3:22", "which file @0"),
    (HEAD + "    with body = () -> () {\n    }\n}\n", "3:1", "found 'with body"),
    (HEAD + "  %y = If(%x)\n    with a = () -> () {\n    }\n    with a = () -> () {\n    }\n}\n", "6:10", "twice"),
    (HEAD + "  %y = If(%x)\n    with a = () -> (%t) {\n      %t = Relu(%y2)\n    }\n}\n", "5:17", "not defined"),
    (HEAD + "  %y = If(%x)\n    with a = (%x: ?) -> () {\n    }\n}\n", "4:15", "defined twice"),
    (HEAD + '  meta %q "a" "b"\n}\n', "3:8", "not defined"),
]


@pytest.mark.parametrize(("text", "place", "part"), CASES)
def test_message_and_place(text: str, place: str, part: str) -> None:
    with pytest.raises(GeocError) as caught:
        parse_model(text, "m.gir")
    assert part in caught.value.message
    assert caught.value.place == place
    assert str(caught.value).startswith(f"m.gir:{place}: ")
    assert "\n" not in str(caught.value)


def test_inner_names_are_gone_behind_their_region() -> None:
    body = "  %y = If(%x)\n    with a = () -> (%t) {\n      %t = Relu(%x)\n    }\n"
    parse_model(HEAD + body + "  %t = Relu(%x)\n}\n")
    with pytest.raises(TextError, match="%t is not defined"):
        parse_model(HEAD + body + "  %z = Relu(%t)\n}\n")


def test_a_node_is_not_visible_in_its_own_region() -> None:
    with pytest.raises(TextError, match="%y is not defined"):
        parse_model(HEAD + "  %z = Relu(%y)\n  %y = Relu(%x)\n}\n")


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "m.gir"
    path.write_bytes(b"geoc 1\n\xff")
    with pytest.raises(TextError, match="not UTF-8"):
        load_model(path)


# Fuzzing


def mutated(rng: random.Random, text: str) -> str:
    """A text with a few random changes of characters, tokens or lines."""
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(text) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            text = text[:at] + rng.choice('"\\%@#[](){}=,:!?\n \t0-+*.e_aé\x00') + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + rng.randrange(1, 8) :]
        elif kind == 2:
            other = rng.randrange(len(text) + 1)
            text = text[:at] + text[other : other + rng.randrange(30)] + text[at:]
        else:
            lines = text.split("\n")
            line = rng.randrange(len(lines))
            if kind == 3:
                del lines[line]
            elif kind == 4:
                lines.insert(line, rng.choice(lines))
            elif kind == 5:
                words = lines[line].split(" ")
                words[rng.randrange(len(words))] = rng.choice(rng.choice(lines).split(" "))
                lines[line] = " ".join(words)
            else:
                lines[line] = lines[line][: rng.randrange(len(lines[line]) + 1)]
            text = "\n".join(lines)
    return text


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("*.gir")), ids=lambda p: p.stem)
def test_mutated_texts_fail_cleanly(path: Path) -> None:
    rng = random.Random(path.stem)
    text = path.read_text(encoding="utf-8")
    outcomes = set()
    for _ in range(800):
        began = time.perf_counter()
        try:
            parse_model(mutated(rng, text))
            outcomes.add("accepted")
        except GeocError as error:
            outcomes.add("refused")
            assert "\n" not in str(error)
        assert time.perf_counter() - began < 5
    assert outcomes == {"accepted", "refused"}


HOSTILE = {
    "nested types": HEAD + f"  %y: {'seq(' * 5000}f32[]{')' * 5000} = Relu(%x)\n}}\n",
    "nested dimensions": HEAD + f"  %y: f32[{'(' * 5000}1{')' * 5000}] = Relu(%x)\n}}\n",
    "product of sums": HEAD + f"  %y: f32[{'*'.join(f'(a{i}+b{i})' for i in range(60))}] = Relu(%x)\n}}\n",
    "long number": HEAD + f"  %y: f32[{'9' * 100000}] = Relu(%x)\n}}\n",
    "long integer": HEAD + f"  weight %w: i64[] = {'9' * 100000}\n}}\n",
    "long attribute": HEAD + f"  %y: ? = Relu(%x) {{a={'9' * 100000}}}\n}}\n",
    "huge shape": HEAD + f"  weight %w: i64[{', '.join(['4611686018427387904'] * 50)}] = []\n}}\n",
    "many spaces": HEAD + f"  weight %w: i64[] = 1{' ' * 200000}x\n}}\n",
    "open strings": HEAD + '  %y: ? = Relu(%x) {a="' * 20000 + "\n}\n",
    "quotes": HEAD + f"  %y: ? = Relu({'%' + chr(34) * 50001})\n}}\n",
    "brackets": HEAD + "  %y: " + "f32[" * 20000 + "\n}\n",
    "open regions": HEAD + "  %y = If(%x)\n" * 1 + "with a = () -> () {\n  %z = If(%x)\n" * 2000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_refused_quickly(name: str) -> None:
    began = time.perf_counter()
    with pytest.raises(GeocError):
        parse_model(HOSTILE[name])
    assert time.perf_counter() - began < 5


def test_deeply_nested_regions_parse_and_print() -> None:
    from geoc.ir.equal import structural_hash
    from geoc.ir.text import print_model

    depth = 1500
    inner = "".join(f"%v{i} = If(%x)\nwith a = () -> () {{\n" for i in range(depth))
    model = parse_model(HEAD + inner + "}\n" * depth + "}\n")
    assert len(model.graphs()) == depth + 1
    assert structural_hash(parse_model(print_model(model))) == structural_hash(model)
