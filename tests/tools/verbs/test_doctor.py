"""What `geoc doctor` says of this machine, and of one where the runtime is broken or missing."""

from __future__ import annotations

import re

import onnxruntime
import pytest

from geoc.lowering import installed
from geoc.tools.cli import main


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert re.search(rf"^    onnxruntime +{re.escape(onnxruntime.__version__)}: a model was compiled and run$", text, re.M)
    assert re.search(r"compile, and run here: cpu\b", text) and re.search(r"estimate: .*\ba100\b", text)
    assert re.search(r"(elsewhere|ahead of time): .*\ba100\b", text)
    for name, done in (("openvino", "a model was compiled and run"), ("tensorrt-rtx", "an engine was built for an A100")):
        assert re.search(rf"^    {name} +(not installed: pip install|[\d.]+: {done}$)", text, re.M), text


def test_a_runtime_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(installed.RUNTIMES, "onnxruntime", ("no_such_module", ("onnxruntime",)))
    assert main(["doctor"]) == 1
    assert re.search(r"^    onnxruntime +not installed: pip install onnxruntime$", capsys.readouterr().out, re.M)


def test_a_runtime_that_does_not_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("no memory for a session")

    monkeypatch.setattr(onnxruntime, "InferenceSession", broken)
    assert main(["doctor"]) == 1
    assert "no memory for a session" in capsys.readouterr().out


def test_it_takes_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "cpu"]) == 2
    assert "takes no words" in capsys.readouterr().err
