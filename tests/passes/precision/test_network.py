"""The minimum cut against all choices there are."""

from __future__ import annotations

import itertools
import random

import pytest

from geoc.ir.core import Model
from geoc.ir.types import F16
from geoc.lowering.targets import get_target
from geoc.passes.precision.network import FIXED, Network, halved
from geoc.passes.precision.speed import SHARE, HalfSpeed

from .conftest import model_of

HALF = "tensor(float16)"
UNARY = ("Relu", "Tanh", "Neg", "Sigmoid")


def random_model(rng: random.Random) -> Model:
    """Up to nine nodes of one or two operands over two inputs; one to three results."""
    names = ["x", "z"]
    lines = []
    for index in range(rng.randint(2, 9)):
        operands = rng.sample(names, rng.choice((1, 1, 2)))
        op = rng.choice(UNARY) if len(operands) == 1 else rng.choice(("Add", "Mul", "MatMul"))
        lines.append(f"  %v{index} = {op}({', '.join('%' + name for name in operands)})")
        names.append(f"v{index}")
    results = rng.sample(names[2:], min(len(names) - 2, rng.randint(1, 3)))
    head = f"graph @main(%x: f32[4,4], %z: f32[4,4]) -> ({', '.join('%' + r for r in results)}) {{"
    return model_of("\n".join([head, *lines, "}"]))


def price(network: Network, half: set[object], gain: dict[object, int], cast: dict[object, int], overhead: int) -> int:
    """What a choice costs, in units of 1e-12 s: what is not saved, and every cast once; more for one between nodes."""
    lost = sum(max(gain[node], 0) if node not in half else max(-gain[node], 0) for node in network.nodes)
    for flow in network.flows:
        readers = {reader in half for reader in flow.readers}
        inside = FIXED not in (flow.maker, *flow.readers)
        lost += (cast[flow.value] + overhead * inside) * ((flow.maker in half) != all(readers) if len(readers) == 1 else bool(readers))
    return lost


@pytest.mark.parametrize("seed", range(150))
def test_no_choice_is_cheaper(seed: int) -> None:
    rng = random.Random(seed)
    network = Network.of(random_model(rng), HALF, 21)
    gain = {node: rng.randint(-3, 10) for node in network.nodes}
    cast = {flow.value: rng.randint(1, 8) for flow in network.flows}
    stays = [node for node in network.nodes if rng.random() < 0.2]
    overhead = rng.choice((0, 3))
    found = halved(network, stays, lambda n: gain[n] * 1e-12, lambda v: cast[v] * 1e-12, overhead * 1e-12)
    assert FIXED not in found and not found & set(stays)
    free = [node for node in network.nodes if node not in stays]
    choices = (
        {node for node, taken in zip(free, bits) if taken} for bits in itertools.product((False, True), repeat=len(free))
    )
    best = min(price(network, set(choice), gain, cast, overhead) for choice in choices)
    assert price(network, set(found), gain, cast, overhead) == best


def test_of_equal_choices_the_one_with_most_halves_is_taken() -> None:
    network = Network.of(model_of("graph @main(%x: f32[4]) -> (%y) {\n  %a = Relu(%x)\n  %y = Neg(%a)\n}"), HALF, 21)
    first, second = network.nodes
    gain = {first: 2e-12, second: 0.0}  # the casts at both ends cost as much as the first node saves
    assert halved(network, [], gain.__getitem__, lambda v: 1e-12) == {first, second}
    gain = {first: 1e-12, second: 0.0}
    assert halved(network, [], gain.__getitem__, lambda v: 1e-12) == set()


def test_a_value_is_cast_once_for_all_its_readers() -> None:
    body = "graph @main(%x: f32[4]) -> (%a, %b, %c) {\n  %a = Relu(%x)\n  %b = Neg(%x)\n  %c = Tanh(%x)\n}"
    network = Network.of(model_of(body), HALF, 21)
    (flow,) = [flow for flow in network.flows if flow.value.is_input]
    assert flow.maker == FIXED and len(flow.readers) == 3
    # Three casts back at 1 each, one cast of x at 5: 8, against 3 nodes that lose 2 each.
    cast = {f.value: 5e-12 if f is flow else 1e-12 for f in network.flows}
    assert halved(network, [], lambda n: 2e-12, cast.__getitem__) == set()
    assert len(halved(network, [], lambda n: 3e-12, cast.__getitem__)) == 3


def test_a_cast_between_nodes_must_save_a_share_of_the_whole() -> None:
    body = """graph @main(%x: f32[1024,1024], %w: f32[1024,1024]) -> (%y) {
  %a = MatMul(%x, %w)
  %b = Relu(%a)
  %y = MatMul(%b, %w)
}"""
    nodes = Network.of(model_of(body), HALF, 21).nodes
    a100 = get_target("a100").hardware
    speed = HalfSpeed(F16, a100)
    saved = sum(map(speed.gain, nodes))
    assert 0 < speed.overhead(nodes) == SHARE * saved < a100.launch / 2
    assert speed.overhead(nodes * 1000) == a100.launch / 2


def test_attention_in_half_precision_is_one_kernel() -> None:
    body = """graph @main(%q: f32[2,8,64], %t: f32[2,64,8], %v: f32[2,8,64], %keep: bool[8]) -> (%y, %z) {
  weight %hide: f32[] = -1e9
  weight %w: f32[64,64] = splat(0.5)
  weight %zero: f32[] = 0.0
  %s = MatMul(%q, %t)
  %p = Softmax(%s)
  %n = IsNaN(%p)
  %g = Where(%n, %zero, %p)
  %o = MatMul(%g, %v)
  %c = Softmax(%o)
  %y = MatMul(%c, %w)
  %z = Softmax(%q)
}"""
    a100 = get_target("a100").hardware
    speed = HalfSpeed(F16, a100)
    softmaxes = [node for node in model_of(body).graph if node.op.key == "Softmax"]
    assert [speed.gain(node) > a100.launch for node in softmaxes] == [True, False, False]


def test_one_channel_takes_a_kernel_more_in_half_precision() -> None:
    """It is filled up, or cut out, by a kernel of its own, which is longer than the convolution of a short signal."""
    body = """graph @main(%x: f32[1,1,400], %z: f32[1,8,400]) -> (%y, %w, %v) {
  weight %one: f32[8,1,5] = splat(0.5)
  weight %many: f32[8,8,5] = splat(0.5)
  weight %each: f32[8,1,5] = splat(0.5)
  %y = Conv(%x, %one)
  %b = Conv(%z, %many)
  %w = Conv(%b, %each) {group=8}
  %v = ConvTranspose(%b, %one) {strides=[2]}
}"""
    a100 = get_target("a100").hardware
    one, many, each, last = map(HalfSpeed(F16, a100).gain, Network.of(model_of(body), HALF, 21).nodes)
    assert one < -0.9 * a100.launch and last < -0.9 * a100.launch
    assert 0 < many < a100.launch and 0 < each < a100.launch


def test_what_is_split_is_cast_once() -> None:
    body = """graph @main(%x: f32[1,512,9000]) -> (%y, %z) {
  weight %w: f32[64,512,25] = splat(0.5)
  weight %sizes: i64[2] = [40, 24]
  %c = Conv(%x, %w)
  %a, %b = Split(%c, %sizes) {axis=1}
  %y = Exp(%a)
  %z = Exp(%b)
}"""
    network = Network.of(model_of(body), HALF, 21)
    speed = HalfSpeed(F16, get_target("a100").hardware)
    conv, _, first, second = network.nodes
    found = halved(network, [first, second], speed.gain, speed.cast, speed.overhead([conv]))
    assert found == {conv}
