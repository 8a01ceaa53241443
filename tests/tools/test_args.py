"""The command line's grammar."""

from __future__ import annotations

import re

import pytest

from geoc.ir.errors import UsageError
from geoc.tools.args import EVERYWHERE, OPTIONS, VERBS, read
from geoc.tools.cli import settings_of
from geoc.tools.help import help_text


@pytest.mark.parametrize(
    ("line", "verb", "words", "values"),
    [
        ("m.onnx", "compile", ["m.onnx"], {}),
        ("m.onnx -O3", "compile", ["m.onnx"], {"level": 3}),
        ("-O 1 m.onnx", "compile", ["m.onnx"], {"level": 1}),
        ("-o out.onnx m.onnx", "compile", ["m.onnx"], {"output": "out.onnx"}),
        ("-oout.onnx m.onnx", "compile", ["m.onnx"], {"output": "out.onnx"}),
        ("m.onnx --target=cpu,threads=1", "compile", ["m.onnx"], {"target": "cpu,threads=1"}),
        ("m.onnx --skip a,b --skip=c*", "compile", ["m.onnx"], {"skip": ["a", "b", "c*"]}),
        ("m.onnx --shape x=1,2 --shape B=1:2:3", "compile", ["m.onnx"], {"shape": ["x=1,2", "B=1:2:3"]}),
        ("m.onnx -v -v -q", "compile", ["m.onnx"], {"verbose": 2, "quiet": True}),
        ("m.onnx -vvq", "compile", ["m.onnx"], {"verbose": 2, "quiet": True}),
        ("dump m.onnx", "dump", ["m.onnx"], {}),
        ("-q dump m.onnx", "dump", ["m.onnx"], {"quiet": True}),
        ("-o dump m.onnx", "compile", ["m.onnx"], {"output": "dump"}),
        ("./dump", "compile", ["./dump"], {}),
        ("m.onnx dump", "compile", ["m.onnx", "dump"], {}),
        ("-- -m.onnx", "compile", ["-m.onnx"], {}),
        ("passes -O2 --target cpu", "passes", [], {"level": 2, "target": "cpu"}),
    ],
)
def test_reads(line: str, verb: str, words: list[str], values: dict[str, object]) -> None:
    found = read(line.split())
    assert (found.verb, found.words, found.values) == (verb, words, values)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("m --chek=end", "unknown option --chek; did you mean --check"),
        ("m --frobnicate", "unknown option --frobnicate; `geoc --help`"),
        ("m -x", "unknown option -x"),
        ("m --check=maybe", "--check is one of off, end, each; not 'maybe'"),
        ("m --opset", "--opset needs a value: --opset N"),
        ("m --opset=", "--opset takes a whole number, not ''"),
        ("m --opset=x", "--opset takes a whole number, not 'x'"),
        ("m --time-passes=1", "--time-passes takes no value"),
        ("m -qx", "-q takes no value"),
        ("dump m --passes=a", "`geoc dump` has no option --passes; it belongs to: compile, passes, explain"),
        ("m --output=", "--output needs a value"),
    ],
)
def test_says_what_is_wrong(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(line.split())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a b", "one model at a time"),
        ("-v", "give one model"),
        ("a -O4", "there is no -O4"),
        ("a -O2 --passes dce", "contradict"),
        ("a --seed -1", "no negative"),
    ],
)
def test_values_are_checked(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings_of(read(line.split()))


def test_the_command_that_reproduces_reads_back_as_the_same_settings() -> None:
    line = [
        "my model.onnx", "-O1", "--target=cpu", "--shape", "x=1,2", "--shape", "B=3", "--rules", "a b.rules",
        "--plugin", "p.py", "--skip", "a,b*", "--only", "c", "--check=each", "--opset", "18", "--weights=copy",
        "--bisect-limit", "7", "-o", "out put.onnx", "--seed", "5",
    ]  # fmt: skip
    import shlex

    first = settings_of(read(line))
    assert shlex.split(first.command()) == ["geoc", *line]
    assert settings_of(read(shlex.split(first.command())[1:])) == first


def test_every_option_is_in_the_help_of_its_verbs() -> None:
    for verb, keys in VERBS.items():
        text = help_text(verb)
        for option in OPTIONS:
            row = rf"  {re.escape(', '.join(option.flags))}(?![\w-])"
            shown = bool(re.search(row, text)) or (option.key == "level" and "-O2" in text)
            if option.key in keys or option.key in EVERYWHERE:
                assert shown, (verb, option.key)
            elif option.flags[-1] not in help_text("compile"):
                assert not shown, (verb, option.key)
        assert max(map(len, text.splitlines())) <= 110
        assert "exit codes" in text
