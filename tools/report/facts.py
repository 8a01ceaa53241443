"""The facts that a report holds, each with its line in the summary where it has one of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...ir.ops.cost_table import MATRIX_UNITS
from ...ir.types import BF16, F16, I8
from ...passes.caches import caches
from ...passes.registry import Registry, first_line
from ...passes.rulepass import RulePass
from ..files import bytes_by_type

if TYPE_CHECKING:
    from ...ir.core import Model, Node
    from ...passes.instruments import Refusals, Tally

CHECKED = "CHECKED"
NOT_CHECKED = "NOT CHECKED"
WRONG = "WRONG"


FUSED = {
    "attention": ("Attention", "MultiHeadAttention", "GroupQueryAttention"),
    "layernorm": ("LayerNormalization", "SkipLayerNormalization", "EmbedLayerNormalization"),
    "rmsnorm": ("RMSNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"),
    "groupnorm": ("GroupNormalization",),
    "rotary": ("RotaryEmbedding",),
    "gelu": ("Gelu", "BiasGelu", "FastGelu"),
    "swish": ("Swish", "QuickGelu"),
}
"""What the summary counts as fused, and the operators that are it, in whichever domain."""


@dataclass
class GraphSize:
    """Nodes in all graphs, bytes of the files (or of the weights, for a model in memory), and nodes by `FUSED`."""

    nodes: int = 0
    bytes: int = 0
    fused: dict[str, int] = field(default_factory=dict)
    products: int = 0  # matrix products, convolutions, attention and recurrent layers
    low: int = 0  # those of them that compute in half precision, with integers or with small floats
    coded: int = 0  # of these, those that read integers or small floats
    casts: int = 0
    caches: int = 0  # of keys and values, as i8
    operators: dict[str, int] = field(default_factory=dict)  # nodes by operator
    weights: dict[str, int] = field(default_factory=dict)  # bytes of constants by type

    @classmethod
    def of(cls, model: Model, files: int = 0) -> GraphSize:
        """Of a model whose files take so many bytes; its weights, where there are none."""
        kinds = {name: kind for kind, names in FUSED.items() for name in names}
        found = dict.fromkeys(FUSED, 0)
        operators: Counter[str] = Counter()
        for graph in model.graphs():
            for op, nodes in graph.index.items():
                operators[op.key] += len(nodes)
                if op.name in kinds:
                    found[kinds[op.name]] += len(nodes)
        products = [node for node in model.walk() if node.op.base_key in MATRIX_UNITS]
        coded = [_reads_codes(node) for node in products]
        low = sum(node.output.dtype in (F16, BF16) or reads for node, reads in zip(products, coded))
        kept = sum(model.graph.inputs[place].dtype is I8 for place in caches(model.graph))
        weights = bytes_by_type(model)
        return cls(
            model.node_count, files or sum(weights.values()), found, len(products), low, sum(coded), operators["Cast"],
            kept, {name: count for name, count in sorted(operators.items()) if count}, weights,
        )  # fmt: skip


@dataclass
class Accuracy:
    """The comparison with the unoptimized model.

    `status` is CHECKED, NOT CHECKED (then `reason` says why) or WRONG. `error` is the largest over outputs
    of max |difference| / max |reference|; `limit` what was allowed for that output.
    """

    status: str = NOT_CHECKED
    reason: str = ""
    error: float | None = None
    limit: float | None = None
    output: str = ""
    shapes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: int = 0  # of the user's that were compared
    held_back: bool = False  # and never measured on
    norm: str = "largest"  # "largest": max |difference| / max |reference|; "relative L2": its mean over the inputs


def _reads_codes(node: Node) -> bool:
    """True for a product with integers or small floats, or with what is dequantized right before it, turned or not."""
    if node.op.name in _INTEGER_PRODUCTS:
        return True
    makers = [value.producer for value in node.inputs if value is not None]
    turned = [maker.inputs[0] for maker in makers if maker is not None and maker.op.name == "Transpose"]
    makers += [value.producer for value in turned if value is not None]
    return any(maker is not None and maker.op.name == "DequantizeLinear" for maker in makers)


_INTEGER_PRODUCTS = frozenset((
    "MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "MatMulNBits",
))  # fmt: skip


@dataclass
class Refusal:
    """Something that was not done: what, why, how often, and the flag that would allow it ("" for none)."""

    what: str
    why: str
    count: int = 1
    unlock: str = ""


@dataclass
class Stays:
    """Nodes that a budget left in the precision of the source: the worst of them, the option that allows all of them,
    and by where each is, why."""

    worst: str
    unlock: str
    reasons: dict[str, str]

    def line(self) -> str:
        """For the summary."""
        unlock = f"; {self.unlock} unlocks them" if self.unlock else ""
        return f"{len(self.reasons)} kept higher ({self.worst}){unlock}"


@dataclass
class Device:
    """What runs on an accelerator beside the target's main device: `nodes` of `total`, in `parts`, of which it holds
    `most` at once; `outside` counts the others by the row that refuses them."""

    name: str
    nodes: int
    total: int
    parts: int
    most: int
    outside: dict[str, int]

    def line(self) -> str:
        """For the summary."""
        pieces = f" in {self.parts} part{'s' * (self.parts > 1)} of {self.most} that it holds" if self.nodes else ""
        others = f"; {self.total - self.nodes} on the GPU" if self.nodes < self.total else ""
        return f"{self.nodes} of {self.total} nodes on {self.name}{pieces}{others}"


@dataclass
class Repair:
    """A rewrite, rule or pass that made results wrong and was taken out."""

    what: str
    why: str
    number: int | None = None  # of the rewrite, as `--bisect-limit` counts


@dataclass
class Fired:
    """A rule that fired `count` times: its pass, where it is written ("" for a pass of code), and what it says."""

    pass_name: str
    rule: str
    count: int
    at: str
    text: str


@dataclass
class Score:
    """The user's metric of the result and of the source, the higher the better; `max_drop` is what may be lost."""

    function: str
    result: float
    source: float
    max_drop: float | None = None

    def line(self) -> str:
        """For the summary."""
        limit = "" if self.max_drop is None else f", limit -{self.max_drop:.4g}"
        change = f"{self.result - self.source:+.4f}{limit}"
        return f"{self.result:.4f}, the source {self.source:.4f} ({change})   {self.function}"


@dataclass
class Speed:
    """What was measured: the median seconds of a run by name, and how many times as long others took as `taken`.

    `ratios` are (median, lower, upper) over `runs` interleaved runs, the ends at a tenth and nine tenths of them.
    `before`: which of the others the summary compares with first, "" for all alike.
    """

    taken: str
    seconds: dict[str, float]
    ratios: dict[str, tuple[float, float, float]]
    runs: int
    threads: int
    shape: str
    before: str = ""

    def line(self) -> str:
        """For the summary, behind MEASURED."""
        found = [
            f"x{middle:.2f} ({low:.2f} to {high:.2f}) against {name}"
            for name, (middle, low, high) in self.ratios.items()
        ]
        where = f"{self.runs} interleaved runs, {self.threads} thread{'s' * (self.threads > 1)}, shape {self.shape}"
        if self.before:
            begin = f"{self.seconds[self.before] * 1e3:.3g} -> {self.seconds[self.taken] * 1e3:.3g} ms"
            return f"{begin}, {', '.join(found)}; {where}"
        return f"took {self.taken}, {self.seconds[self.taken] * 1e3:.3g} ms: {', '.join(found)}; {where}"


def group_refusals(found: Refusals) -> list[Refusal]:
    """Equal refusals as one, with their count."""
    grouped: dict[tuple[str, str, str], Refusal] = {}
    for remark in found.found:
        what = f"{remark.pass_name} {remark.rule}".strip()
        key = (what, remark.message, remark.unlock)
        if key in grouped:
            grouped[key].count += 1
        else:
            grouped[key] = Refusal(what, remark.message, 1, remark.unlock)
    return list(grouped.values())


def fired(tally: Tally, registry: Registry) -> list[Fired]:
    """The rules that fired, the most often first, with what each says of itself."""
    found = []
    for (name, rule), count in tally.counts.most_common():
        step = registry.find(name)
        rules = step.rules().by_name if rule and issubclass(step, RulePass) else {}
        at, text = (rules[rule].location, rules[rule].doc) if rule in rules else ("", step.__doc__ or "")
        found.append(Fired(name, rule, count, at, first_line(text)))
    return found


def megabytes(count: int) -> str:
    """Bytes as megabytes (10^6), with as many digits as make small models distinguishable."""
    value = count / 1e6
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"
