"""Files that are no models, or contradict themselves: one line that names the place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openvino import opset15 as o

from geoc.frontends.openvino import load_openvino
from geoc.ir.errors import FormatError, GeocError, InvalidModel, UnsupportedModel
from geoc.tools.cli import main

from .running import constant, floats, parameter, saved

BOMB = '<?xml version="1.0"?><!DOCTYPE n [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;">]><net version="11">&b;</net>'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    x = parameter(-1, 64)
    y = o.matmul(x, constant(floats(64, 32)), False, False)
    return Path(saved(tmp_path, o.relu(o.add(y, constant(floats(32)))), [x]))


def edited(model: Path, old: str, new: str) -> str:
    text = model.read_text()
    assert old in text
    model.write_text(text.replace(old, new, 1))
    return str(model)


Error = type[GeocError]


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ('offset="0"', 'offset="8192"', FormatError, "needs bytes 8192 to 16384, the .bin file has 8320"),
        ('offset="0"', 'offset="-4"', FormatError, "needs bytes -4 to"),
        ('offset="0"', 'offset="9223372036854775807"', FormatError, "the .bin file has 8320"),
        ('offset="0"', 'offset="99999999999999999999"', FormatError, "offset of layer 1 .* is '99999999999999999999', not a number"),
        ('size="8192"', 'size="8191"', FormatError, r"has 8191 bytes, f32\[64, 32\] needs 8192"),
        ('shape="64, 32"', 'shape="64, 4294967296, 4294967296"', FormatError, "has 8192 bytes"),
        ('shape="64, 32"', 'shape="64, -32"', FormatError, "impossible shape"),
        ('element_type="f32" shape="64, 32"', 'element_type="nf4" shape="64, 32"', UnsupportedModel, "there is no element type 'nf4'"),
        ('type="ReLU"', 'type="Unheard"', UnsupportedModel, r"operators that cannot be imported: Unheard \(1\)"),
        ('from-layer="0" from-port="0"', 'from-layer="4" from-port="2"', InvalidModel, "the edges form a cycle"),
        ('from-layer="0" from-port="0"', 'from-layer="0" from-port="7"', InvalidModel, "uses port 7 of layer 0"),
        ('from-layer="0" from-port="0"', 'from-layer="77" from-port="0"', FormatError, "which are not both there"),
        ('version="11"', 'version="12"', UnsupportedModel, "version 12 of the representation"),
        ('<net ', '<nets ', FormatError, "not a whole .xml file: mismatched tag"),
        ('transpose_b="false"', 'transpose_b="perhaps"', FormatError, "transpose_b of layer .* is 'perhaps', not true or false"),
        ('layer id="1"', 'layer id="0"', FormatError, "two layers have the id 0"),
        ('precision="FP32"', 'precision="I32"', InvalidModel, "declares i32"),
    ],
)  # fmt: skip
def test_a_file_that_contradicts_itself(old: str, new: str, error: Error, said: str, model: Path) -> None:
    with pytest.raises(error, match=said) as raised:
        load_openvino(edited(model, old, new))
    assert str(raised.value).startswith(str(model)) and "\n" not in str(raised.value)


def test_entities_are_not_expanded(model: Path) -> None:
    model.write_text(BOMB)
    with pytest.raises(FormatError, match=r"model.xml:line 1: it has a document type"):
        load_openvino(str(model))


def test_elements_are_not_nested_without_end(model: Path) -> None:
    model.write_text("<net>" * 100_000)
    with pytest.raises(FormatError, match="more than 200 deep"):
        load_openvino(str(model))


def test_another_document(model: Path) -> None:
    model.write_text("<html></html>")
    with pytest.raises(FormatError, match="not a model of OpenVINO: it holds <html> and not <net>"):
        load_openvino(str(model))


def test_weights_that_are_missing_or_cut_off(model: Path) -> None:
    weights = model.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(FormatError, match="the .bin file has 100"):
        load_openvino(str(model))
    weights.unlink()
    with pytest.raises(FormatError, match="there is no model.bin beside it"):
        load_openvino(str(model))


def test_the_command_says_it_in_one_line(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([edited(model, 'type="ReLU"', 'type="Unheard"'), "-o", str(model.with_suffix(".onnx"))]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Unheard" in said


@pytest.mark.parametrize("target", ["cpu", "openvino-cpu"])
def test_the_command_compiles_it(target: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = model.with_name("out" + (".onnx" if target == "cpu" else ".xml"))
    assert main([str(model), "-O2", f"--target={target}", "-o", str(out)]) == 0
    assert "CHECKED" in capsys.readouterr().out and out.exists()


def test_it_does_not_write_over_its_source(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = np.frombuffer(model.with_suffix(".bin").read_bytes(), np.uint8)
    assert main([str(model), "--target=openvino-cpu", "-o", str(model)]) == 2
    assert (np.frombuffer(model.with_suffix(".bin").read_bytes(), np.uint8) == before).all()


