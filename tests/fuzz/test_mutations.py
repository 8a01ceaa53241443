"""Damaged models: each is refused in one line, or is a model like any other.

Ten thousand of ONNX in a process of their own, where each mutant has five seconds and all of them two gigabytes; some
of files on disk; and readers that do what none may, which the harness for all formats must find.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import geoc
from geoc.ir.core import Model
from geoc.ir.errors import FormatError
from geoc.ir.text import print_model

from .mutations import COUNT, check_mutations, mutations

SCRIPT = os.path.join(os.path.dirname(__file__), "mutate.py")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_models(seed: int) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, str(seed), "2500"], capture_output=True, text=True, timeout=600
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert not found["failures"], json.dumps(found["failures"], indent=1)
    # The mutations are such that much is refused and much is not.
    assert found["reached"]["refused"] > 1000 and found["reached"]["written"] > 200
    assert sum(found["reached"].values()) == 2500


@pytest.fixture(scope="module")
def small() -> bytes:
    """y = w x + 1 with a weight of 64 by 64."""
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 64]) for name in "xy")
    weights = [numpy_helper.from_array(np.random.rand(64, 64).astype(np.float32), "w"), numpy_helper.from_array(np.float32(1), "one")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "one"], ["y"])]
    data: bytes = helper.make_model(helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    return data


def test_damaged_files(small: bytes, tmp_path: Path) -> None:
    found = check_mutations(geoc.load, small, COUNT, 0, tmp_path, ".onnx")
    assert found["refused"] > COUNT // 4 and found["read"] > COUNT // 20


def test_damaged_texts(small: bytes, tmp_path: Path) -> None:
    text = print_model(geoc.load(small), weights="inline").encode()
    found = check_mutations(geoc.load, text, COUNT, 0, tmp_path, ".gir")
    assert found["refused"] > COUNT // 4


def test_damaged_data_files(small: bytes, tmp_path: Path) -> None:
    """What is damaged is the file of weights beside the model."""
    onnx.save(onnx.load_model_from_string(small), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    data = (tmp_path / "w.bin").read_bytes()
    found = check_mutations(lambda _: geoc.load(tmp_path / "m.onnx"), data, COUNT, 0, tmp_path, "w.bin")
    assert found["refused"] and found["read"]


# The harness


def test_each_mutation_is_given_by_its_number_and_the_seed(small: bytes) -> None:
    first = list(mutations(small, 300, 1))
    assert first[:100] == list(mutations(small, 100, 1)) != list(mutations(small, 100, 2))
    assert len({data for _, data in first}) > 280
    said = " ".join(text for text, _ in first)
    assert "cut to" in said and "b'GGUF' at 0" in said and "without [" in said and "more at" in said
    assert f"]={2**32 - 1}" in said and f"]={2**63}" in said


def test_short_data() -> None:
    for length in range(10):
        for data in (bytes(length), b"1" * length):
            assert len(list(mutations(data, 200, length))) == 200


class Slip(Exception):
    """No error of geoc's."""


def at(number: int, fault: Callable[[], object], good: bytes) -> Callable[[str], Model]:
    """A reader that refuses everything but the undamaged file, and does something else with one mutant."""
    mutant = next(itertools.islice(mutations(good, 20, 0), number, None))[1]
    assert mutant != good

    def read(path: str) -> Model:
        data = Path(path).read_bytes()
        if data == good:
            return geoc.load(data)
        if data == mutant:
            fault()
        raise FormatError("no model", source=path)

    return read


def slip() -> None:
    raise Slip("oops")


def say_two_lines() -> None:
    class TwoLines(FormatError):
        def __str__(self) -> str:
            return "one\ntwo"

    raise TwoLines("")


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "another exception": (slip, "Slip at .*oops"),
    "leaving": (sys.exit, "SystemExit at"),
    "two lines": (say_two_lines, "not one line"),
    "slow": (lambda: time.sleep(4), "TooLong at .*more than 0.3 s"),
    "more memory than there is": (lambda: bytes(1 << 28), "MemoryError at"),
    "a crash": (lambda: os.kill(os.getpid(), signal.SIGKILL), "died of signal 9"),
}  # fmt: skip


@pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS)
def test_faults_are_found(fault: Callable[[], object], said: str, small: bytes, tmp_path: Path) -> None:
    for number in (0, 7, 19):
        with pytest.raises(AssertionError, match=said) as caught:
            check_mutations(at(number, fault, small), small, 20, 0, tmp_path, ".onnx", seconds=0.3, memory=1 << 27)
        assert f": 1 mutants, the first is {number} of seed 0" in str(caught.value)


def test_a_reader_without_faults_passes(small: bytes, tmp_path: Path) -> None:
    found = check_mutations(at(3, lambda: None, small), small, 20, 0, tmp_path, ".onnx", seconds=1)
    assert found == {"refused": 20}


def test_a_file_that_is_refused_undamaged_proves_nothing(small: bytes, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the undamaged file: refused: .*mutant.onnx"):
        check_mutations(geoc.load, small[:-1], 20, 0, tmp_path, ".onnx")


def test_models_that_do_not_verify_are_faults_in_no_reader(small: bytes, tmp_path: Path) -> None:
    """`verify` refuses them with an error of one line as well."""
    broken = geoc.load(small)
    broken.graph.inputs.clear()
    found = check_mutations(lambda path: geoc.load(path) if Path(path).read_bytes() == small else broken, small, 5, 0, tmp_path, ".onnx")
    assert found == {"refused": 5}
