"""Settings of the passes that make models smaller: what says nothing is one line, exit code 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.passes.allocation import lowest_price
from geoc.passes.naming import choose_layers
from geoc.passes.prune.prune import Prune
from geoc.tools.cli import main

from .quantize.running import Remarks, context, feeds_of, model_of, write

TEXT = """
graph @main(%x: f32[B,16,8,8]) -> (%y) {
  weight %a: f32[32,16,3,3] = random
  weight %b: f32[32,32,3,3] = random
  weight %w: f32[32,128] = random
  weight %v: f32[128,32] = random
  %c = Conv(%x, %a)
  %r = Relu(%c)
  %d = Conv(%r, %b)
  %p = GlobalAveragePool(%d)
  %f = Flatten(%p)
  %m = MatMul(%f, %w)
  %s = Relu(%m)
  %y = MatMul(%s, %v)
}"""
SHARE, NAME = "no share above 0", "names no"
BAD: dict[str, dict[str, str]] = {
    "prune": {
        "left=0": SHARE, "left=1.01": SHARE, "left=-1": SHARE, "left=nan": SHARE, "left=inf": SHARE, "left=half": "no number",
        "left=true": "no number", "channels=0": SHARE, "heads=1.5": SHARE, "neurons=-0.1": SHARE, "streams=0": SHARE,
        "left=0.5,neurons=0.5": "give one", "multiple=0": "less than 1", "multiple=1.5": "a whole number", "repair=-1": "less than 0",
        "probe=-1": "less than 0", "memory=0": "less than 1", "layers=[nothing]": NAME, 'keep=["none*"]': NAME, "keep=[1.5]": NAME,
        "keep=1.5": "is a list", "keep=r": "is a list", "lft=0.5": "did you mean left?",
    },
    "low-rank": {
        "rank=0": "neither", "rank=-4": "neither", "rank=1.5": "neither", "rank=nan": "neither", "rank=inf": "neither",
        "rank=true": "no number", "left=0": SHARE, "left=2": SHARE, "energy=0": SHARE, "energy=1.5": SHARE, "rank=4,left=0.5": "give one",
        "multiple=0": "less than 1", "repair=-1": "less than 0", "least=-1": "less than 0", "memory=0": "less than 1",
        "layers=[nothing]": NAME, "keep=[nothing]": NAME, "of=money": "parameters or time",
    },
    "low-rank-conv": {
        "left=0": SHARE, "left=1.5": SHARE, "left=nan": SHARE, "multiple=0": "less than 1", "repair=-1": "less than 0",
        "layers=[nothing]": NAME, "keep=[nothing]": NAME, "form=cp2": "form of low-rank-conv",
    },
    "sparsify": {
        "share=0": SHARE, "share=1": SHARE, "share=1.5": SHARE, "share=nan": SHARE, 'pattern="4:2"': "no pattern",
        "samples=0": "less than 1", "memory=0": "less than 1", "layers=[nothing]": NAME, "keep=[nothing]": NAME,
    },
}  # fmt: skip
CASES = [(name, options, said) for name, cases in BAD.items() for options, said in cases.items()]


@pytest.mark.parametrize(("name", "options", "message"), CASES, ids=[f"{name} {options}" for name, options, _ in CASES])
def test_it_is_one_line_and_nothing_is_written(
    name: str, options: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "m.onnx", tmp_path / "out" / "small.onnx"
    out.parent.mkdir()
    write(model_of(TEXT), str(source))
    assert main([str(source), "--passes", f"@O1,{name}{{{options}}},@O2", "-o", str(out)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("geoc: error: --passes: ") and message in said and name in said and "\n" not in said
    assert not list(out.parent.iterdir())


def test_good_settings_at_the_ends_are_none_of_these(tmp_path: Path) -> None:
    source, out = tmp_path / "m.onnx", tmp_path / "small.onnx"
    write(model_of(TEXT), str(source))
    feeds = feeds_of(model_of(TEXT), 5)
    calib = tmp_path / "calib.npz"
    np.savez(calib, **{f"x/{i}": feed["x"] for i, feed in enumerate(feeds)})
    for passes in ("prune{left=1}", "low-rank{energy=1}", "low-rank{left=1.0}", "low-rank-conv{left=1}", "sparsify{share=0.01}"):
        assert main([str(source), "--passes", f"@O1,{passes}", "-o", str(out), "-q", f"--calib={calib}"]) == 0, passes
        out.unlink()


def nodes_of(model: Model) -> list[str]:
    found = choose_layers(Prune(layers=("a", "/d"), keep=("b",)), model.graph, lambda node: [node], context(None))
    return [node.output.hint for node in found]


def test_layers_are_called_by_their_nodes_and_weights() -> None:
    assert nodes_of(model_of(TEXT)) == ["c"]  # /d is named, and kept by its weight


def test_what_a_budget_keeps_stays_with_a_remark() -> None:
    model, said = model_of(TEXT), Remarks()
    ctx = context(None, instruments=[said])
    first = next(iter(model.graph))
    ctx.kept = {("prune", "", first.loc, first.output.hint): "it makes 3 % alone"}
    assert first not in choose_layers(Prune(), model.graph, lambda node: [node], ctx)
    assert [(r.kind, r.message) for r in said.all] == [("refused", "it stays whole: it makes 3 % alone")]


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e9])
def test_the_lowest_price_at_which_a_limit_holds(scale: float) -> None:
    """Costs fall in steps at known prices; found to a bisection's accuracy, whatever the unit."""
    prices = np.array([0.5, 2.0, 3.0, 7.0]) * scale

    def cost(price: float) -> float:
        return float(10 - np.count_nonzero(price >= prices))

    for limit, expected in ((10.0, 0.0), (9.0, prices[0]), (8.5, prices[1]), (7.0, prices[2]), (6.0, prices[3])):
        found = lowest_price(cost, limit)
        assert cost(found) <= limit
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert cost(lowest_price(cost, 5.0)) == 6.0  # the cheapest there is
