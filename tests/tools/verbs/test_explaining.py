"""`geoc explain` and `geoc match`, and what --remarks tells of rules."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.tools.cli import main

from ..conftest import Run

RULES = '''
rule tidy_neg {
  """-(-x) is x."""
  match   %y = Neg(Neg(%x))
  rewrite %y = %x
}

rule gelu_like {
  """Three steps and a number."""
  match   %y = Exp(%x) |> Add(_, 1.0) |> Log(_) |> Mul(_, $s)
  where   $s < 1.0, rank(%x) == 2
  rewrite %y = Softplus(%x)
}

rule dear {
  """More work than before."""
  match   %y = Ceil(%x)
  rewrite %y = Neg(Floor(Neg(%x)))
}

rule misfit {
  """The result has another rank."""
  match   %y = Floor(%x)
  rewrite %y = Unsqueeze(%x, [0])
}
'''


def toy(path: Path, factor: float = 0.5, one: float = 1.0, shared: bool = False) -> None:
    """exp, + one, log, * factor; then two negations, Ceil and Floor; with names as source locations."""
    node = helper.make_node
    nodes = [
        node("Exp", ["x"], ["e"], name="/a/Exp"),
        node("Add", ["e", "one"], ["p"], name="/a/Add"),
        node("Log", ["p"], ["l"], name="/a/Log"),
        node("Mul", ["l", "s"], ["m"], name="/a/Mul"),
        node("Neg", ["m"], ["n1"], name="/n/1"),
        node("Neg", ["n1"], ["n2"], name="/n/2"),
        node("Ceil", ["n2"], ["c"], name="/c"),
        node("Floor", ["c"], ["f"], name="/f"),
        node("Add", ["f", "p" if shared else "f"], ["y"], name="/sum"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    numbers = [numpy_helper.from_array(np.array(n, np.float32), name) for name, n in (("one", one), ("s", factor))]
    graph = helper.make_graph(nodes, "toy", [x], [y], numbers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def geoc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command in this process, in a folder with the rules; gives the exit code and both streams."""
    monkeypatch.chdir(tmp_path)
    Path("my.rules").write_text(RULES)
    toy(Path("m.onnx"))

    def run(*words: str) -> tuple[int, str, str]:
        pattern = words[0] == "match" and not words[1].isidentifier()  # looks at the model as it is in the file
        code = main([*words, *(() if pattern else ("--rules", "my.rules", "--passes", "my"))])
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


def test_all_rules_nearest_first(geoc: Any) -> None:
    toy(Path("m.onnx"), factor=1.5)
    code, out, _ = geoc("explain", "m.onnx")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "my.gelu_like"
    assert lines[1] == (
        "    misses /a/Mul: 4 of 4 operators matched; my.rules:11:11 needs $s < 1.0; found $s = 1.5"
    )
    assert lines[2].startswith("matches, and is not applied: my.misfit at /f: the right side cannot be built: ")
    assert lines[3].startswith("matches, and is not applied: my.dear at /c: estimated cost 3x: 2 Neg, Floor")
    assert lines[3].endswith("`: expands` in my.rules:15 allows it")
    assert lines[4] == "applied, and not near a match anywhere else: my.tidy_neg (1)"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"one": 2.0}, "4 of 4 operators matched; my.rules:10:34 needs the number 1.0; found the constant 2.0: f32[]"),
        ({"shared": True}, "4 of 4 operators matched; my.rules:8:1 needs no use of %p outside the match; "
                           "found that it is also used by <%y = Add(%f, %p)> at /sum"),
    ],
)  # fmt: skip
def test_what_stopped_it(geoc: Any, change: dict[str, Any], said: str) -> None:
    toy(Path("m.onnx"), **change)
    _, out, _ = geoc("explain", "m.onnx")
    assert f"misses /a/Mul: {said}" in out


def test_one_node(geoc: Any) -> None:
    toy(Path("m.onnx"), factor=1.5)
    code, out, _ = geoc("explain", "m.onnx", "--node", "/a/Log")
    assert code == 0
    first, second = out.splitlines()
    assert first == '  %l: f32[N,4] = Log(%p)  !"/a/Log"'.replace("  %l", "at the end   %l", 1)
    assert second.startswith("misses       my.gelu_like from /a/Mul: 4 of 4 operators matched; ")
    _, out, _ = geoc("explain", "m.onnx", "--node", "n1")
    assert out.splitlines()[0] == "rewritten by my.tidy_neg"
    _, out, _ = geoc("explain", "m.onnx", "--node", "/c")
    assert out.splitlines()[0].startswith("refused      my.dear at /c: estimated cost 3x")


def test_a_node_that_fitted_and_one_that_did_not(geoc: Any) -> None:
    _, out, _ = geoc("explain", "m.onnx", "--node", "/sum")
    assert "no rule has a pattern that it could be part of" in out
    toy(Path("m.onnx"), one=2.0)
    _, out, _ = geoc("explain", "m.onnx", "--node", "p")
    assert re.search(r"my\.gelu_like from /a/Mul: 4 of 4 .* found the constant 2\.0", out)


def test_time_on_two_thousand_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All rules of -O2, with every block spoiled so that there is much to tell of."""
    from geoc.ir.text import print_model

    from ...machine import slowness
    from ...rule_graphs import blocks

    path = tmp_path / "big.gir"
    path.write_text(print_model(blocks(2_000, False)))
    assert main(["match", "Softmax(%x) {*}", str(path)]) == 0  # rules are read
    capsys.readouterr()
    main(["explain", str(path)])
    begun = time.process_time()
    assert main(["explain", str(path)]) == 0
    assert time.process_time() - begun < 3.0 * slowness()
    assert "needs" in capsys.readouterr().out


# match


def test_match_a_rule(geoc: Any) -> None:
    code, out, _ = geoc("match", "gelu_like", "m.onnx")
    assert code == 0
    assert out.splitlines()[0] == "/a/Mul: Mul, Log, Add, Exp"
    assert sorted(out.splitlines()[1:]) == ["    $s is 0.5", "    %x is %x: f32[N,4]", "    %y is %m: f32[N,4]"]


def test_match_a_pattern_and_its_json(geoc: Any) -> None:
    code, out, _ = geoc("match", "Mul(%a, %s: const) where shape(%a) = [R, 4]", "m.onnx", "--json")
    assert code == 0
    (found,) = [json.loads(line) for line in out.splitlines()]
    assert found == {
        "rule": "pattern",
        "nodes": [{"op": "Mul", "loc": ["/a/Mul"], "outputs": ["m"]}],
        "values": {
            "match": {"name": "m", "type": "f32[N,4]", "constant": False},
            "a": {"name": "l", "type": "f32[N,4]", "constant": False},
            "s": {"name": "s", "type": "f32[]", "constant": True, "value": 0.5},
        },
        "captures": {},
        "dims": {"R": "N"},
    }


def test_match_sees_inner_values_with_other_uses(geoc: Any) -> None:
    toy(Path("m.onnx"), shared=True)
    assert geoc("match", "Log(Add(_, _))", "m.onnx")[0] == 0
    assert geoc("match", "gelu_like", "m.onnx")[0] == 1  # the rule wants them for itself


def test_match_says_by_its_exit_code(geoc: Any) -> None:
    assert geoc("match", "Tanh(%x)", "m.onnx") == (1, "", "")
    assert geoc("match", "Log(%x)", "m.onnx", "-q") == (0, "", "")
    code, out, err = geoc("match", "Log(", "m.onnx")
    assert (code, out) == (2, "") and err.startswith("geoc: error: RULE: ")


def test_match_before_or_after_the_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy(tmp_path / "m.onnx")
    path = str(tmp_path / "m.onnx")
    assert main(["match", "Neg(Neg(%x))", path]) == 0
    assert main(["match", "Neg(Neg(%x))", path, "-O1"]) == 1
    capsys.readouterr()


# --remarks


def test_remarks_of_rules(geoc: Any) -> None:
    toy(Path("m.onnx"), factor=1.5)
    code, _, _ = geoc("m.onnx", "-o", "o.onnx", "--remarks", "r.jsonl", "--check=off")
    assert code == 0
    remarks = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert all(list(r) == ["kind", "pass", "rule", "message", "loc", "unlock"] for r in remarks)
    by_rule = {(r["rule"], r["kind"]): r for r in remarks}
    assert len(by_rule) == len(remarks) == 4
    applied = by_rule["tidy_neg", "applied"]
    assert (applied["pass"], applied["loc"], applied["unlock"]) == ("my", ["/n/2"], "")
    missed = by_rule["gelu_like", "missed"]
    assert missed["loc"] == ["/a/Mul"] and "my.rules:11:11 needs $s < 1.0; found $s = 1.5" in missed["message"]
    refused = by_rule["dear", "refused"]
    assert refused["loc"] == ["/c"] and refused["message"].startswith("estimated cost 3x")
    assert refused["unlock"] == "`: expands` in my.rules:15"
    assert "cannot be built" in by_rule["misfit", "missed"]["message"]


def test_the_summary_tells_of_refusals_and_not_of_misses(run_geoc: Run, tmp_path: Path) -> None:
    (tmp_path / "my.rules").write_text(RULES)
    toy(tmp_path / "m.onnx", factor=1.5)
    done = run_geoc("m.onnx", "--rules", "my.rules", "--passes", "my", "-o", "o.onnx")
    assert done.returncode == 0
    assert "my dear: estimated cost 3x" in done.stdout and "`: expands` in my.rules:15 allows it" in done.stdout
    assert "gelu_like" not in done.stdout and "misfit" not in done.stdout


def test_a_refusal_is_told_once_for_a_place(geoc: Any) -> None:
    """However many rounds meet it."""
    geoc("m.onnx", "-o", "o.onnx", "--remarks", "r.jsonl", "--check=off")
    code = main(["m.onnx", "-o", "o.onnx", "--rules", "my.rules", "--passes", "repeat(3){my,cse,dce},my", "--remarks",
                 "r.jsonl", "--check=off", "-q"])  # fmt: skip
    assert code == 0
    refused = [line for line in Path("r.jsonl").read_text().splitlines() if '"refused"' in line]
    assert len(refused) == 1
