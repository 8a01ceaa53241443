"""The Python API and the report."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx_graphsurgeon
import pytest

import geoc
from geoc.ir.equal import difference
from geoc.ir.errors import GeocError, UsageError
from geoc.tools.report import Accuracy, GraphSize, Refusal, Repair, Report, megabytes

from .toys import relu_chain


def test_every_source_gives_the_same_model(chain_file: Path) -> None:
    proto = relu_chain()
    first = geoc.load(chain_file)
    for source in (str(chain_file), proto.SerializeToString(), proto):
        assert difference(geoc.load(source), first) is None
    surgeon = onnx_graphsurgeon.import_onnx(proto)
    assert geoc.load(surgeon).node_count == first.node_count


def test_save_by_suffix(chain_file: Path, tmp_path: Path) -> None:
    model = geoc.load(chain_file)
    assert geoc.save(model, tmp_path / "a.onnx") == [str(tmp_path / "a.onnx")]
    assert geoc.save(model, tmp_path / "a.gir") == [str(tmp_path / "a.gir")]
    for name in ("a.onnx", "a.gir"):
        assert difference(geoc.load(tmp_path / name), model) is None
    with pytest.raises(UsageError, match="suffix"):
        geoc.save(model, tmp_path / "a.txt")


def test_compile_writes_only_where_told(chain_file: Path, tmp_path: Path) -> None:
    report = geoc.compile(chain_file)
    assert report.ok and report.files == [] and report.accuracy.status == "CHECKED"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chain.onnx"]
    out = tmp_path / "out.onnx"
    report = geoc.compile(relu_chain(), out, level=1)
    assert report.files == [str(out)] and report.again == ""
    assert onnx.load(out).graph.input[0].name == "x"
    assert report.model.node_count == report.after.nodes


def test_optimize_works_in_place(chain_file: Path) -> None:
    model = geoc.load(chain_file)
    report = geoc.optimize(model)
    assert report.model is model
    assert model.node_count == report.after.nodes < report.before.nodes
    with pytest.raises(TypeError, match=r"geoc\.load"):
        geoc.optimize(relu_chain())


def test_bad_use_raises(chain_file: Path) -> None:
    with pytest.raises(UsageError, match="-O9"):
        geoc.compile(chain_file, level=9)
    with pytest.raises(GeocError):
        geoc.load(b"nonsense")
    with pytest.raises(FileNotFoundError):
        geoc.load("missing.onnx")


def test_report_as_text_and_json() -> None:
    report = Report(
        source="a.onnx", output="b.onnx", target="cpu", target_description="onnxruntime 1", level=3, seconds=4.06,
        before=GraphSize(1812, 438_200_000), after=GraphSize(214, 110_400_000), opset=17,
        rewrites={"conv.bn": 3, "fold": 9},
        accuracy=Accuracy("CHECKED", "", 3.14e-6, 1e-4, "y", ["1x128", "3x64"]),
        refused=[Refusal("low-rank", "needs data", 12, "--calib")],
        repairs=[Repair("rewrite 3 left out", "wrong", 3)],
        again="geoc a.onnx -O3",
    )  # fmt: skip
    assert str(report).splitlines() == [
        "a.onnx -> b.onnx   target cpu (onnxruntime 1)   -O3   4.1 s",
        "graph     1,812 -> 214 nodes, 438.2 -> 110.4 MB, opset 17",
        "rewrites  12: fold 9, conv.bn 3",
        "accuracy  CHECKED  largest error 3.1e-06 (limit 1e-04) of an output's largest value, shapes 1x128 3x64",
        "speed     NOT MEASURED",
        "repaired  rewrite 3 left out: wrong",
        "refused   low-rank (12 times): needs data; --calib allows it",
        "again     geoc a.onnx -O3",
    ]
    assert "\x1b" not in report.summary() and "\x1b[32mCHECKED" in report.summary(colour=True)
    data = json.loads(json.dumps(report.to_json()))
    assert data["schema"] == 1 and data["geoc"] == geoc.__version__
    assert data["refused"] == [{"what": "low-rank", "why": "needs data", "count": 12, "unlock": "--calib"}]
    assert data["seconds"] == 4.06 and "model" not in data


@pytest.mark.parametrize(
    ("count", "text"), [(438_200_000, "438.2"), (2_330_000, "2.33"), (67_700, "0.0677"), (0, "0.0000")]
)
def test_megabytes(count: int, text: str) -> None:
    assert megabytes(count) == text
