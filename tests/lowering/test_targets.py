"""Target descriptions: what they say, how they inherit, what can be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoc.ir.errors import UsageError
from geoc.ir.ops.cost import Machine
from geoc.lowering.backend import Lazy, backend_of, list_backends
from geoc.lowering.targets import get_target, hardware, list_targets
from geoc.passes.base import Context

GPUS = ("a10", "a100", "b200", "h100", "h200", "l4", "l40s", "orin", "rtx3090", "rtx4090", "rtx5090", "t4")
CPUS = ("cpu-amx", "cpu-arm-dotprod", "cpu-avx2", "cpu-avx512", "cpu-vnni", "graviton", "raspberrypi")


def test_every_target_is_there() -> None:
    generic = ("cpu", "onnxruntime", "openvino-cpu", "openvino-gpu", "openvino-npu", "tensorrt")
    assert set(list_targets()) == {*GPUS, *CPUS, *generic}


@pytest.mark.parametrize("name", [*GPUS, *CPUS, "cpu"])
def test_a_device_has_peak_numbers_and_their_source(name: str) -> None:
    found = get_target(name).hardware
    assert found.source and found.bandwidth and found.memory and found.launch > 0
    assert set(found.rates) <= {"fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8", "int4"}
    assert found.rates["fp32"] > 0
    assert all(found.rates[narrow] >= found.rates["fp32"] for narrow in found.rates)
    assert (found.compute_capability is not None) is (name in GPUS)


@pytest.mark.parametrize(
    ("name", "rate", "value"),
    [
        # As the datasheets print them.
        ("a100", "fp16", 312e12), ("a100", "tf32", 156e12), ("t4", "int8", 130e12), ("l4", "fp8", 242.5e12),
        ("rtx4090", "fp32", 82.6e12), ("h100", "fp8", 1979e12), ("b200", "fp4", 9000e12),
        # Cores, clock and operations per cycle: 64 x 2.6 GHz x 32, 4 x 3 GHz x 256.
        ("graviton", "fp32", 5324.8e9), ("cpu-vnni", "int8", 3072e9), ("raspberrypi", "fp32", 153.6e9),
    ],
)  # fmt: skip
def test_rates(name: str, rate: str, value: float) -> None:
    assert get_target(name).hardware.rates[rate] == pytest.approx(value)


def test_precisions_that_hardware_lacks_are_not_listed() -> None:
    for name in ("a100", "a10", "rtx3090", "orin", "t4"):
        assert not {"fp8", "fp4"} & set(get_target(name).hardware.rates), name
    assert "bf16" not in get_target("t4").hardware.rates
    for name in ("cpu-avx2", "cpu-avx512", "cpu-vnni", "cpu-amx"):
        assert "fp16" not in get_target(name).hardware.rates, name


def test_inherits_entry_by_entry() -> None:
    h100, h200 = get_target("h100").hardware, get_target("h200").hardware
    assert h200.rates == h100.rates and h200.compute_capability == h100.compute_capability
    assert (h100.bandwidth, h200.bandwidth) == (3350e9, 4800e9)
    assert get_target("cpu-vnni").pipeline == get_target("cpu-avx2").pipeline != get_target("onnxruntime").pipeline
    assert [edit["pass"] for edit in get_target("openvino-cpu").pipeline["insert"]] == ["ov-blocks"]


def test_numbers_can_be_changed() -> None:
    changed = get_target("graviton,cores=8,price=0.29,bandwidth=1e11").hardware
    assert changed.rates["fp32"] == pytest.approx(8 * 2.6e9 * 32)
    assert (changed.price, changed.bandwidth) == (0.29, 1e11)
    assert get_target("a100,fp16=2e14").hardware.rates["fp16"] == 2e14
    assert get_target("a100").hardware.price is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a1000", "no target 'a1000'; did you mean a100 or a10"),
        ("nothing", "no target 'nothing'; there are: a10, a100"),
        ("a100,bandwith=1e12", "target a100 has no number 'bandwith' to change; did you mean bandwidth"),
        ("a100,fp8=1e15", "target a100 has no number 'fp8' to change"),
        ("a100,source=me", "target a100 has no number 'source' to change"),
        ("a100,price", "target a100 has no number 'price' to change"),
        ("a100,price=dear", "price='dear' of target a100 is no number"),
        ("a100,price=0", "price=0 of target a100 must be above 0"),
    ],
)
def test_errors(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_target(name)
    assert message in str(caught.value)


INTEL = "processor : 0\ncpu MHz\t\t: 2900.5\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\nprocessor : 1\ncpu MHz\t\t: 3100.0\n"
PI = "processor\t: 0\nFeatures\t: fp asimd asimddp\n"


@pytest.mark.parametrize(
    ("text", "like", "clock"),
    [(INTEL, "cpu-vnni", 3.1e9), (INTEL.replace(" avx512_vnni", " amx_int8"), "cpu-amx", 3.1e9), (PI, "cpu-arm-dotprod", None)],
)
def test_this_machine_is_found_out(text: str, like: str, clock: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware, "_cores", lambda: 6)
    found, own = hardware.detected()
    assert (found, own["cores"], own.get("clock")) == (like, 6, clock)
    cpu, base = get_target("cpu").hardware, get_target(like).hardware
    assert base.clock is not None
    per_cycle = get_target(like).data["per_cycle"]
    assert cpu.rates == {name: pytest.approx(ops * 6 * (clock or base.clock)) for name, ops in per_cycle.items()}


def test_an_unknown_machine_has_no_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "is not here")
    found = get_target("cpu")
    assert found.hardware.rates == {} and found.pipeline == get_target("onnxruntime").pipeline


def test_rewrites_are_priced_by_the_target_s_own_numbers() -> None:
    for name in list_targets():
        hardware, found = get_target(name).hardware, Context(capabilities=get_target(name)).cost.machine
        if hardware.rates and hardware.bandwidth:
            assert (found.flops, found.bandwidth, found.launch) == (hardware.rates["fp32"], hardware.bandwidth, hardware.launch)
        else:
            assert (found.flops, found.bandwidth) == (Machine().flops, Machine().bandwidth)


def test_every_target_has_a_backend() -> None:
    for name in list_targets():
        target = get_target(name)
        assert target.backend.runtime == target.runtime
        assert {"onnx", "gir", target.backend.default} <= set(target.backend.emitters())


def test_writers_that_are_imported_late_are_there() -> None:
    """A slip in the name of one would be an error of whoever writes that form first."""
    late = [e.write for r in list_backends() for e in backend_of(r).emitters().values() if isinstance(e.write, Lazy)]
    assert len(late) >= 10 and all(callable(writer.load()) for writer in late)


def test_forms_measured_on_x86_are_chosen_there_alone() -> None:
    """Products of one token as convolutions, docs/forms.md."""
    with_tokens = {
        name for name in list_targets() if any("ort-tokens" in edit["pass"] for edit in get_target(name).pipeline.get("insert", ()))
    }
    assert with_tokens - {"cpu", "openvino-cpu"} == {"cpu-avx2", "cpu-avx512", "cpu-vnni", "cpu-amx"}
