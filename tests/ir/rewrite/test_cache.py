"""Rule files: what is cached, when it is used, and how fast that is."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from geoc.ir.errors import TextError
from geoc.ir.rewrite import load_rules, native
from geoc.ir.rewrite.syntax import from_plain, to_plain

ONE = 'rule r : benefit 3 {\n  """D."""\n  match %y = Neg(Neg(%x))\n  rewrite %y = %x\n}\n'
LONG = """
rule gelu_{0} : benefit {0} {{
  \"\"\"erf Gelu.\"\"\"
  match
    %t = Add(%m, %b: const)
    %y = Div(%t, {0}.5) |> Erf(_) |> Add(_, 1.0)? |> Mul(%t, _) |> Mul(_, 0.5)
  where rank(%b) == 1, shape(%m) = [B, S, D], D in {{1, 2, {0}}}
  rewrite
    %g = Add(%m, %b)
    %y = Gelu(%g) {{approximate = "tanh"}}
}}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rules"


def test_a_cached_set_is_the_same(lab: Any, tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "a.rules"
    path.write_text(LONG.format(7) + ONE)
    first = load_rules(path)
    assert len(list(own_cache.iterdir())) == 1
    again = load_rules(str(path))
    for a, b in zip(first, again):
        for field in ("name", "doc", "benefit", "place", "depth", "uses"):
            assert getattr(a, field) == getattr(b, field)
        assert (a.match, a.where, a.rewrite) == (b.match, b.where, b.rewrite)
        assert a.match[0].place == b.match[0].place != (0, 0)
        assert b.location == f"{path}:{b.place[0]}"
    target = lab.model("%n = Neg(%x)\n%m = Neg(%n)\n%y = Exp(%m)")
    assert lab.apply(again, target) == 1


def test_a_copy_shares_the_entry_and_keeps_its_own_place(tmp_path: Path, own_cache: Path) -> None:
    for name in ("a.rules", "b.rules"):
        (tmp_path / name).write_text(ONE)
        (rule,) = load_rules(tmp_path / name)
        assert rule.location == f"{tmp_path / name}:1"
    assert len(list(own_cache.iterdir())) == 1
    (tmp_path / "a.rules").write_text(ONE.replace("benefit 3", "benefit 4"))
    assert load_rules(tmp_path / "a.rules").rules[0].benefit == 4


@pytest.mark.parametrize("damage", [b"", b"{}\n{}", b"[[1]]\n1", b"\xff\xfe", b"[[" * 5000])
def test_a_damaged_entry_is_replaced(tmp_path: Path, own_cache: Path, damage: bytes) -> None:
    path = tmp_path / "a.rules"
    path.write_text(ONE)
    load_rules(path)
    (entry,) = own_cache.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage)
    assert load_rules(path).rules[0].benefit == 3
    assert entry.read_bytes() == whole


def test_faults_are_not_cached(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "a.rules"
    path.write_text(ONE.replace("Neg(Neg", "Neq(Neg"))
    for _ in range(2):
        with pytest.raises(TextError) as caught:
            load_rules(path)
        assert caught.value.source == str(path) and caught.value.place == "3:14"
    assert not own_cache.exists() or not list(own_cache.iterdir())
    path.write_bytes(b"\xff" + ONE.encode())
    with pytest.raises(TextError, match="not UTF-8"):
        load_rules(path)


def test_a_missing_native_is_found_in_a_cached_file(tmp_path: Path) -> None:
    path = tmp_path / "a.rules"
    path.write_text(ONE.replace("rewrite", "where odd_for_test(%x)\n rewrite"))
    natives = {"odd_for_test": lambda v: True}
    load_rules(path, natives)
    load_rules(path, natives)
    with pytest.raises(TextError, match="unknown function 'odd_for_test'"):
        load_rules(path, {})

    @native
    def odd_for_test(v: Any) -> bool:
        return True

    assert len(load_rules(path)) == 1


def test_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.rules"
    path.write_text(ONE)
    for value in ("", "/proc/nowhere"):
        monkeypatch.setenv("GEOC_CACHE", value)
        assert len(load_rules(path)) == 1


def test_a_warm_start_imports_no_parser(tmp_path: Path) -> None:
    path = tmp_path / "a.rules"
    path.write_text("".join(LONG.format(i) for i in range(100)))
    code = (
        "import sys, time\nfrom geoc.ir.rewrite import load_rules\nfrom geoc.ir.ops import op\n"
        "[op(n) for n in ('Add', 'Div', 'Erf', 'Mul', 'Gelu')]\n"
        f"start = time.process_time()\nrules = load_rules({str(path)!r})\n"
        "print(len(rules), 'lark' in sys.modules, time.process_time() - start)"
    )
    count, parser, seconds = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ][1]
    assert (count, parser) == ("100", "False")
    assert float(seconds) < 0.02  # 2 ms on a quiet machine


def test_plain_form_round_trips(lab: Any) -> None:
    for rule in lab.load(LONG.format(3) + ONE):
        plain = to_plain(rule.decl)
        assert from_plain(plain) == rule.decl
        assert to_plain(from_plain(plain)) == plain


def test_parsing_is_linear() -> None:
    from geoc.ir.rewrite import parse_rules

    def seconds(count: int) -> float:
        text = "".join(LONG.format(i) for i in range(count))
        started = time.process_time()
        assert len(parse_rules(text)) == count
        return time.process_time() - started

    seconds(1)
    assert seconds(100) <= 15 * seconds(10)
