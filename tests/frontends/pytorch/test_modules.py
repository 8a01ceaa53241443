"""Modules and exported programs: values against PyTorch, names, dimensions, source lines, and whose memory weights are."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

import onnxruntime as ort  # noqa: E402

import geoc  # noqa: E402
from geoc.ir.core import Model  # noqa: E402
from geoc.ir.equal import difference  # noqa: E402
from geoc.ir.errors import UnsupportedModel, UsageError  # noqa: E402
from geoc.tools.cli import main  # noqa: E402
from geoc.tools.view.scopes import Scopes  # noqa: E402

from .modules import MODULES, Classifier, Decides, Fails, Stack, Untranslated, classifier, line_of  # noqa: E402


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Model]:
    module, args, shapes = classifier()
    return module, geoc.load(module, args, dynamic_shapes=shapes)


def run(model: Model, path: Path, feeds: dict[str, Any]) -> list[Any]:
    geoc.save(model, path)
    return ort.InferenceSession(path).run(None, {name: np.asarray(value) for name, value in feeds.items()})


def test_values_are_those_of_the_module_at_other_sizes(loaded: Any, tmp_path: Path) -> None:
    module, model = loaded
    ids, past = torch.arange(15).reshape(3, 5), torch.ones(3, 9)
    found = run(model, tmp_path / "a.onnx", {"ids": ids, "past_0": past})
    with torch.no_grad():
        answer = module(ids, [past])
    expected = [answer["hidden"], answer["past"][0], *answer["past"][1]]
    assert len(found) == 4
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-6)


def test_names_of_arguments_results_dimensions_and_parameters_stay(loaded: Any) -> None:
    graph = loaded[1].graph
    assert graph.input_names == ["ids", "past_0"]
    assert graph.output_names == ["hidden", "past.0", "past.1.0", "past.1.1"]
    assert [str(value.type) for value in graph.inputs] == ["i64[batch,seq]", "f32[batch,kept]"]
    assert str(graph.outputs[0].type) == "f32[batch,seq,32]"
    constants = {value.hint for node in graph for value in node.inputs if value is not None and value.const is not None}
    assert {"embed.weight", "first.bias", "second.bias", "scale"} <= constants


def test_names_that_are_given_are_taken() -> None:
    module, args, shapes = classifier()
    model = geoc.load(module, args, dynamic_shapes=shapes, input_names=["a", "b"], output_names=["p", "q", "r", "s"])
    assert model.graph.input_names == ["a", "b"] and model.graph.output_names == ["p", "q", "r", "s"]


def test_a_node_has_the_line_that_asked_for_it(loaded: Any) -> None:
    lines = {node.op.name: node.loc[1:] for node in loaded[1].walk()}
    assert lines["Gather"] == (line_of("line of first"),)
    assert lines["Gelu"] == (line_of("line of second"),)
    assert all(len(node.loc) == 2 and node.loc[1].startswith("modules.py:") for node in loaded[1].walk())


def test_lines_are_in_texts_and_in_what_verbs_say(loaded: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, first, second = tmp_path / "m.gir", line_of("line of first"), line_of("line of second")
    geoc.save(loaded[1], path)
    assert f'!"node_embedding"  !"{first}"' in path.read_text() and f'!"node_gelu"  !"{second}"' in path.read_text()
    assert main(["explain", str(path)]) == 0
    assert f"misses node_linear ({first}): " in capsys.readouterr().out
    assert main(["profile", str(path)]) == 0
    said = capsys.readouterr().out
    assert re.search(rf"Gather .* node_embedding, {first}\n", said) and f"node_gelu and 1 more, {second}\n" in said


def test_lines_stay_through_fusions() -> None:
    model = geoc.load(Stack().eval(), (torch.ones(2, 5, 16),), dynamic_shapes=({0: "batch", 1: "seq"},))
    geoc.optimize(model)
    assert any(node.op.name == "Sum" for node in model.walk())  # of products and a bias
    assert all(any(at.startswith("modules.py:") for at in node.loc) for node in model.walk())


def test_a_line_that_layers_share_does_not_join_their_scopes() -> None:
    scopes = Scopes()
    found = []
    for _ in range(2):
        graph = geoc.load(Stack().eval(), (torch.ones(2, 5, 16),)).graph
        found.append([scope for _, scope in scopes.of(graph).items()])
    assert found[0] == found[1]
    assert {scope[0] for scope in found[0]} == {"layer.0", "layer.1", "layer.2"}


def test_weights_are_the_parameters_themselves(loaded: Any) -> None:
    model = loaded[1]
    held = {
        value.hint: np.frombuffer(value.const.data(), np.uint8).ctypes.data
        for node in model.walk()
        for value in node.inputs
        if value is not None and value.const is not None
    }
    assert held["embed.weight"] == loaded[0].embed.weight.data_ptr()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_other_types(dtype: str) -> None:
    layer = torch.nn.Linear(64, 33).to(getattr(torch, dtype)).eval()
    model = geoc.load(layer, torch.ones(2, 64, dtype=getattr(torch, dtype)))
    weight = next(v.const for n in model.walk() for v in n.inputs if v is not None and v.hint == "weight")
    assert bytes(weight.data()) == layer.weight.detach().contiguous().view(torch.uint8).numpy().tobytes()


def test_weights_that_do_not_lie_in_order() -> None:
    layer = torch.nn.Linear(64, 64).eval()
    layer.weight = torch.nn.Parameter(torch.randn(64, 64).t())
    model = geoc.load(layer, (torch.ones(2, 64),))
    weight = next(v.const for n in model.walk() for v in n.inputs if v is not None and v.hint == "weight")
    assert np.array_equal(weight.array(), layer.weight.detach().numpy())


@pytest.mark.parametrize("name", ["classifier", "stack", "pictures"])
def test_the_graph_is_that_of_the_onnx_file(name: str, tmp_path: Path) -> None:
    """tests/bench/modules.py compares real architectures."""
    module, args, shapes = MODULES[name]()
    path = tmp_path / "m.onnx"
    torch.onnx.export(module, args, path, dynamo=True, verbose=False, dynamic_shapes=shapes)
    file = geoc.load(path)
    mine = geoc.load(module, args, dynamic_shapes=shapes, output_names=file.graph.output_names)
    assert difference(mine, file) is None
    geoc.optimize(mine)
    geoc.optimize(file)
    assert difference(mine, file) is None
    with torch.no_grad():
        next(iter(module.parameters())).mul_(1.5)
    other = geoc.load(module, args, dynamic_shapes=shapes, output_names=file.graph.output_names)
    assert difference(other, geoc.load(path)) is not None


def test_an_exported_program_in_memory_and_in_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module, args, _ = classifier()
    batch, seq = torch.export.Dim("batch"), torch.export.Dim("seq")
    program = torch.export.export(module, args, dynamic_shapes={"ids": {0: batch, 1: seq}, "past": [{0: batch}]})
    model = geoc.load(program)
    assert model.graph.output_names == ["hidden", "past.0", "past.1.0", "past.1.1"]
    assert geoc.load(program, dynamic_shapes={"ids": {0: "batch", 1: "seq"}, "past": [{0: "batch"}]}).graph.inputs[0].shape is not None
    torch.export.save(program, tmp_path / "m.pt2")
    capfd.readouterr()
    assert difference(geoc.load(tmp_path / "m.pt2"), model) is None
    assert capfd.readouterr() == ("", "")
    assert main([str(tmp_path / "m.pt2"), "-O2", "-o", str(tmp_path / "m.onnx")]) == 0
    assert "CHECKED" in capfd.readouterr().out
    with pytest.raises(UsageError, match="has its arguments"):
        geoc.load(program, args)


def test_what_cannot_be_loaded_says_why_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x = torch.ones(3)
    with pytest.raises(UsageError, match="example inputs"):
        geoc.load(Classifier().eval())
    with pytest.raises(UsageError, match="training mode"):
        geoc.load(Classifier(), (x,))
    with pytest.raises(UsageError, match="for modules of PyTorch"):
        geoc.load(tmp_path / "m.onnx", (x,))
    with pytest.raises(UnsupportedModel, match="Fails: torch does not export it: ValueError: no such luck") as error:
        geoc.load(Fails().eval(), (x,))
    assert "\n" not in str(error.value) and error.value.__cause__ is not None
    for module, args, said in (
        (Decides(), x, r"Decides: torch does not export it: .* \(what it computes depends on its data: use torch\.cond"),
        (Untranslated(), torch.eye(3), r"Untranslated: .*linalg_eig.* \(torch has no ONNX for it: write it in other operators"),
    ):
        with pytest.raises(UnsupportedModel, match=said) as error:
            geoc.load(module.eval(), (args,))
        assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert capfd.readouterr() == ("", "")


def test_a_missing_exporter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"needs onnxscript: pip install 'geoc\[torch\]'"):
        geoc.load(Stack().eval(), (torch.ones(2, 16),))
