"""The verbs `targets` and `estimate`: what there is to compile for, and what a model would take there."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ...ir.errors import GeocError, UsageError
from ..args import Arguments
from ..library import one_model, read_model
from ..units import scaled

if TYPE_CHECKING:
    from ...ir.core import Model
    from ...lowering.estimate import Estimate, NodeEstimate
    from ...lowering.targets import Target

_ROWS = 12


def targets_verb(arguments: Arguments) -> int:
    """``geoc targets``: a line for each, or all that is known of those that are named."""
    from ...lowering.targets import get_target, list_targets
    from ..emitting import FASTEST

    if arguments.words:
        print("\n\n".join(_full(get_target(name)) for name in arguments.words))
        return 0
    for name in list_targets():
        target = get_target(name)
        print(f"{name:<17}{target.runtime:<13}{target.description}")
    print(f"{FASTEST:<17}{'either':<13}the faster of cpu and openvino-cpu, measured on this machine")
    return 0


def _full(target: Target) -> str:
    hardware = target.hardware
    lines = [f"{target.name}: {target.description}", f"    runtime   {target.describe().partition('(')[2].rstrip(')')}"]
    kinds = ", ".join(target.backend.emitters())
    lines.append(f"    writes    {kinds}; ONNX up to opset {target.max_opset}, IR version {target.max_ir}")
    if hardware.rates:
        rates = ", ".join(f"{name} {scaled(rate, 'OP/s')}" for name, rate in hardware.rates.items())
        lines.append(f"    peak      {rates}")
    for label, value, unit in (("memory", hardware.memory, "B"), ("bandwidth", hardware.bandwidth, "B/s")):
        if value is not None:
            lines.append(f"    {label:<10}{scaled(value, unit)}")
    if hardware.cores is not None and hardware.clock is not None:
        lines.append(f"    cores     {hardware.cores:.0f} at {hardware.clock / 1e9:.2f} GHz")
    if hardware.compute_capability is not None:
        lines.append(f"    compute capability {hardware.compute_capability}")
    if hardware.dla_cores:
        rates = ", ".join(f"{name} {scaled(rate, 'OP/s')}" for name, rate in hardware.dla_rates.items())
        used = "; one is used" if hardware.dla else "; dla=1 uses one"
        lines.append(f"    DLA       {hardware.dla_cores} cores, each {rates}{used}")
    if hardware.features:
        lines.append(f"    has       {', '.join(hardware.features)}")
    if hardware.price is not None:
        lines.append(f"    price     {hardware.price:g} an hour")
    if hardware.source:
        lines.append(f"    source    {hardware.source}")
    return "\n".join(lines)


def estimate_verb(arguments: Arguments) -> int:
    """``geoc estimate MODEL --target T``: time, arithmetic, bytes, memory and price by roofline."""
    from ...lowering.estimate import estimate_model
    from ...lowering.targets import get_target

    source = one_model(arguments)
    target = get_target(arguments.get("target", "cpu"))
    model = read_model(arguments, source)
    assumed = assume(model)
    found = estimate_model(model, target)
    if arguments.get("json"):
        print(json.dumps({**_record(found), "assumed": assumed}))
    else:
        print(_text(source, assumed, found))
    return 0


def assume(model: Model) -> list[str]:
    """Give sizes to the dimensions of inputs that have no name, and say what is assumed of those that have one.

    As --shape would have it: an unnamed first dimension is a batch of 1, others are `TYPICAL`. Raises UsageError where
    those go together with nothing, and leaves the model half done.
    """
    from ...ir.dims import Dim
    from ...ir.ops.cost import TYPICAL, typical
    from ..inputs.shapes import input_symbols, read_shapes, specialise

    said = []
    for value, name in zip(model.graph.inputs, model.graph.input_names):
        shape = value.shape or ()
        if any(isinstance(dim, Dim) and dim.is_unknown for dim in shape):
            sizes: list[int] = []
            for axis, dim in enumerate(shape):
                if not isinstance(dim, Dim):
                    sizes.append(dim)
                elif dim.is_unknown or dim.atom is None:
                    sizes.append(1 if axis == 0 else TYPICAL)
                else:
                    sizes.append(typical(dim.atom.name))
            text = f"{name}={','.join(map(str, sizes))}"
            try:
                specialise(model, read_shapes([text], model))
            except GeocError as error:
                raise UsageError(f"sizes are needed, {text} does not fit: {error}", source="--shape") from error
            said.append(text)
    return said + [f"{symbol}={typical(symbol)}" for symbol in input_symbols(model)]


def _text(source: str, assumed: list[str], found: Estimate) -> str:
    target = found.target
    lines = [
        f"{source} on {target.name} ({target.description})   ESTIMATED by roofline, nothing was run",
        f"time      {scaled(found.seconds, 's')}   {1 / found.seconds if found.seconds else 0:,.0f} runs a second",
        f"work      {scaled(found.flops, 'OP')}, {scaled(found.bytes, 'B')} moved",
        f"memory    {scaled(found.peak_bytes, 'B')} at the peak, {scaled(found.weight_bytes, 'B')} of it weights"
        + ("" if found.fits is not False else f"; MORE THAN the target's {scaled(target.hardware.memory or 0, 'B')}"),
    ]
    if found.cost_per_million is not None:
        lines.append(f"price     {found.cost_per_million:.3g} for a million runs")
    if assumed:
        lines.append(f"assumed   {'; '.join(assumed)} (--shape sets them)")
    if found.unknown:
        kinds = sorted({node.op.key for node in found.unknown})
        lines.append(f"unknown   {len(found.unknown)} nodes are in no sum: {', '.join(kinds[:6])}")
    lines += ["", f"{'op':<28}{'nodes':>7}{'time':>12}{'share':>8}{'work':>12}{'moved':>12}  bound by"]
    total = sum(n.seconds for n in found.nodes) or 1.0  # every branch, not only the longer one
    for name, nodes in _by_op(found)[:_ROWS]:
        seconds = sum(n.seconds for n in nodes)
        bounds: dict[str, float] = defaultdict(float)
        for n in nodes:
            bounds[n.bound] += n.seconds
        flops, moved = sum(n.flops for n in nodes), sum(n.bytes for n in nodes)
        lines.append(
            f"{name:<28}{len(nodes):>7}{scaled(seconds, 's'):>12}{seconds / total:>8.1%}"
            f"{scaled(flops, 'OP'):>12}{scaled(moved, 'B'):>12}  {max(bounds, key=bounds.__getitem__)}"
        )
    return "\n".join(lines)


def _by_op(found: Estimate) -> list[tuple[str, list[NodeEstimate]]]:
    """The nodes by operator, the slowest operator first."""
    groups: dict[str, list[NodeEstimate]] = defaultdict(list)
    for each in found.nodes:
        groups[each.node.op.base_key].append(each)
    return sorted(groups.items(), key=lambda item: -sum(n.seconds for n in item[1]))


def _record(found: Estimate) -> dict[str, Any]:
    """The estimate for programs: seconds, operations and bytes."""
    return {
        "kind": "ESTIMATED",
        "target": found.target.name,
        "seconds": found.seconds,
        "flops": found.flops,
        "bytes": found.bytes,
        "weight_bytes": found.weight_bytes,
        "peak_bytes": found.peak_bytes,
        "cost_per_million": found.cost_per_million,
        "unknown_nodes": len(found.unknown),
        "nodes": [
            {
                "op": n.node.op.key, "output": n.node.output.hint, "loc": list(n.node.loc),
                "seconds": n.seconds, "flops": n.flops, "bytes": n.bytes, "bound": n.bound,
            }
            for n in found.nodes
        ],
    }  # fmt: skip
