"""Damages small models at random and loads what comes out: nothing but a GeocError may be raised.

    python mutate.py SEED COUNT [--passes]

Half of the mutations change bytes, half change the message: names, operators, attributes, types, sizes, order. A mutant
that loads and verifies must export, import again, and survive printing and parsing; with --passes also -O2. Prints one
JSON object: how many mutants got how far, and the failures (kind, message, where), one for each place they come from.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import sys
import time
from typing import Any

import numpy as np
import onnx
from mutations import SECONDS, check_line, limit_memory, place_of, time_limit
from onnx import helper
from seeds import ENCODED, FLOAT, SEEDS, weight

from geoc.frontends.onnx import load_onnx
from geoc.ir.equal import difference
from geoc.ir.errors import GeocError
from geoc.ir.text import parse_model, print_model
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes

MEMORY = 2 * 2**30  # of address space beyond what the start needs


# Mutations


def damage_bytes(rng: random.Random, data: bytes) -> bytes:
    """Some bytes changed, inserted, removed or doubled, or the end cut off."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(damaged))
        kind = rng.randrange(8)
        if kind < 4:
            flipped = damaged[at] ^ 1 << rng.randrange(8)
            damaged[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256), flipped))
        elif kind == 4:
            damaged[at:at] = rng.randbytes(rng.choice((1, 2, 9)))
        elif kind == 5:
            del damaged[at : at + rng.choice((1, 2, 9))]
        elif kind == 6:
            damaged[at:at] = damaged[at : at + rng.choice((1, 3, 40))]
        else:
            del damaged[rng.randrange(1, len(damaged) + 1) :]
        if not damaged:
            damaged = bytearray(b"\x08")
    return bytes(damaged)


def damage_message(rng: random.Random, source: onnx.ModelProto) -> bytes:
    """Some facts of the model changed for others that are as well formed."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(MUTATIONS)(rng, model)
    return model.SerializeToString()


def any_graph(rng: random.Random, model: onnx.ModelProto) -> onnx.GraphProto:
    found = [model.graph]
    for graph in found:
        found.extend(a.g for n in graph.node for a in n.attribute if a.HasField("g"))
    return rng.choice(found)


def any_node(rng: random.Random, model: onnx.ModelProto) -> onnx.NodeProto:
    graph = any_graph(rng, model)
    nodes = [*graph.node, *(n for f in model.functions for n in f.node)] or [model.graph.node.add(op_type="Relu")]
    return rng.choice(nodes)


def any_name(rng: random.Random, model: onnx.ModelProto) -> str:
    graph = any_graph(rng, model)
    names = [name for n in model.graph.node for name in (*n.input, *n.output)]
    names += [name for n in graph.node for name in (*n.input, *n.output)]
    return rng.choice([*names, "", "nothing", "x"])


def change_operand(rng: random.Random, model: onnx.ModelProto) -> None:
    found = any_node(rng, model)
    if found.input and rng.random() < 0.7:
        found.input[rng.randrange(len(found.input))] = any_name(rng, model)
    elif found.input and rng.random() < 0.5:
        del found.input[rng.randrange(len(found.input))]
    else:
        found.input.append(any_name(rng, model))


def change_output(rng: random.Random, model: onnx.ModelProto) -> None:
    found = any_node(rng, model)
    if found.output and rng.random() < 0.5:
        del found.output[rng.randrange(len(found.output))]
    else:
        found.output.append(rng.choice(["new", "newer", "", any_name(rng, model)]))


def change_operator(rng: random.Random, model: onnx.ModelProto) -> None:
    found = any_node(rng, model)
    found.op_type = rng.choice(OPERATORS)
    if rng.random() < 0.2:
        found.domain = rng.choice(["", "my.ops", "ai.onnx.ml", "com.microsoft", "f"])


def change_attribute(rng: random.Random, model: onnx.ModelProto) -> None:
    found = any_node(rng, model)
    if found.attribute and rng.random() < 0.3:
        del found.attribute[rng.randrange(len(found.attribute))]
        return
    name = rng.choice(ATTRIBUTES)
    given = rng.choice(
        [rng.choice(NUMBERS), rng.choice([0.0, -1.5, float("nan"), 1e30]), rng.choice(["nearest", "reflect", "", "NOTSET"]),
         [rng.choice(NUMBERS) for _ in range(rng.randrange(1, 6))], [0.5, 2.0, 1.0, 1.0]]
    )  # fmt: skip
    for index, attribute in enumerate(found.attribute):
        if rng.random() < 0.6 and not attribute.HasField("g"):
            name = attribute.name
            del found.attribute[index]
            break
    found.attribute.append(helper.make_attribute(name, given))


def change_type(rng: random.Random, model: onnx.ModelProto) -> None:
    graph = any_graph(rng, model)
    infos = [*graph.input, *graph.output, *graph.value_info]
    if not infos:
        return
    type_ = rng.choice(infos).type
    if rng.random() < 0.15:
        type_.sequence_type.elem_type.tensor_type.elem_type = FLOAT
    elif rng.random() < 0.4:
        type_.tensor_type.elem_type = rng.randrange(0, 30)
    elif rng.random() < 0.2:
        type_.tensor_type.ClearField("shape")
    else:
        dims = type_.tensor_type.shape.dim
        if dims and rng.random() < 0.7:
            dim = rng.choice(dims)
            if rng.random() < 0.5:
                dim.dim_value = rng.choice(NUMBERS)
            else:
                dim.dim_param = rng.choice(["N", "M", "", "N+1", "2*N", "?", "N*M", "floor(N,2)", "a b"])
        elif dims and rng.random() < 0.5:
            del dims[-1]
        else:
            dims.add().dim_value = rng.choice(NUMBERS)


def change_weight(rng: random.Random, model: onnx.ModelProto) -> None:
    graph = any_graph(rng, model)
    if not graph.initializer:
        return
    found = rng.choice(graph.initializer)
    kind = rng.randrange(4)
    if kind == 0:
        found.CopyFrom(weight(found.name, np.array([rng.choice(NUMBERS) for _ in range(rng.randrange(4))], np.int64)))
    elif kind == 1:
        found.CopyFrom(weight(found.name, np.int64(rng.choice(NUMBERS))))
    elif kind == 2:
        found.data_type = rng.randrange(0, 30)
    else:
        found.dims[:] = [rng.choice(NUMBERS) for _ in range(rng.randrange(4))]


def change_order(rng: random.Random, model: onnx.ModelProto) -> None:
    graph = any_graph(rng, model)
    nodes = list(graph.node)
    kind = rng.randrange(3)
    if kind == 0:
        rng.shuffle(nodes)
    elif kind == 1 and nodes:
        del nodes[rng.randrange(len(nodes))]
    elif nodes:
        nodes.insert(rng.randrange(len(nodes)), rng.choice(nodes))
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def change_model(rng: random.Random, model: onnx.ModelProto) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        model.ir_version = rng.choice([0, 1, 3, 4, 8, 13, 14, 99])
    elif kind == 1 and model.opset_import:
        rng.choice(model.opset_import).version = rng.choice([-1, 0, 1, 5, 6, 7, 9, 10, 11, 12, 13, 17, 18, 20, 21, 23, 26, 28, 99])
    elif kind == 2:
        graph = any_graph(rng, model)
        graph.output.add(name=any_name(rng, model))
    else:
        graph = any_graph(rng, model)
        if graph.input:
            graph.input[rng.randrange(len(graph.input))].name = any_name(rng, model)


MUTATIONS = [
    change_operand, change_operand, change_output, change_operator, change_operator, change_attribute, change_attribute,
    change_type, change_type, change_weight, change_order, change_model,
]  # fmt: skip
NUMBERS = [0, 1, 2, 3, 4, 5, 7, 8, -1, -2, -3, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63)]
OPERATORS = sorted({s.name for s in onnx.defs.get_all_schemas()})
ATTRIBUTES = sorted({name for s in onnx.defs.get_all_schemas() for name in s.attributes})


# Judging


def examine(data: bytes, passes: bool) -> str:
    """How far a mutant gets. Whatever is raised that is no GeocError is a failure."""
    stage = "refused"
    try:
        model = load_onnx(data)
        stage = "loaded"
        verify(model)
        stage = "verified"
        text = print_model(model, weights="inline")
        written = model_bytes(model)
        stage = "written"
    except GeocError as error:
        check_line(error)
        return stage
    changed = difference(model, parse_model(text))
    assert changed is None, f"after text: {changed}"
    load_onnx(written)
    if passes:
        import geoc

        try:
            geoc.optimize(load_onnx(data), level=2, check="off")
        except GeocError as error:
            check_line(error)
            return "not optimized"
    return stage


def mutants(seed: int, count: int) -> Any:
    """The mutants of this seed, each with its number."""
    for number in range(count):
        rng = random.Random(f"{seed}:{number}")
        which = rng.randrange(len(SEEDS))
        if rng.random() < 0.5:
            yield number, damage_bytes(rng, ENCODED[which])
        else:
            yield number, damage_message(rng, SEEDS[which])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--passes", action="store_true")
    given = parser.parse_args(arguments)
    for data in ENCODED:
        assert examine(data, given.passes) == "written"
    limit_memory(MEMORY)
    reached: collections.Counter[str] = collections.Counter()
    failures: dict[str, dict[str, Any]] = {}
    slowest = 0.0
    for number, data in mutants(given.seed, given.count):
        began = time.perf_counter()
        try:
            with time_limit(SECONDS):
                reached[examine(data, given.passes)] += 1
        except Exception as error:
            reached["failed"] += 1
            found = failures.setdefault(place_of(error), {"mutant": number, "message": str(error)[:300], "times": 0})
            found["times"] += 1
        slowest = max(slowest, time.perf_counter() - began)
    print(json.dumps({"reached": reached, "failures": failures, "slowest": round(slowest, 3)}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
