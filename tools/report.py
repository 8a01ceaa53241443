"""What one compilation did: the same facts as an object, as JSON and as the summary the command prints.

Nothing is implied by silence: what was not compared says NOT CHECKED, what was not timed NOT MEASURED.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..ir.ops.cost_table import MATRIX_UNITS
from ..ir.types import BF16, F16, I8
from ..passes.caches import caches
from .precision import SMALL
from .terminal import painter

if TYPE_CHECKING:
    from ..ir.core import Model, Node
    from ..passes.instruments import Refusals
    from .recipes.said import Limit, Tried

SCHEMA = 1
"""Version of the JSON; raised when a field changes its meaning or goes away."""

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

    @classmethod
    def of(cls, model: Model, size: int) -> GraphSize:
        """Of a model whose files take `size` bytes."""
        kinds = {name: kind for kind, names in FUSED.items() for name in names}
        found = dict.fromkeys(FUSED, 0)
        for graph in model.graphs():
            for op, nodes in graph.index.items():
                if op.name in kinds:
                    found[kinds[op.name]] += len(nodes)
        products = [node for node in model.walk() if node.op.base_key in MATRIX_UNITS]
        coded = [_reads_codes(node) for node in products]
        low = sum(node.output.dtype in (F16, BF16) or reads for node, reads in zip(products, coded))
        casts = sum(len(nodes) for graph in model.graphs() for op, nodes in graph.index.items() if op.key == "Cast")
        kept = sum(model.graph.inputs[place].dtype is I8 for place in caches(model.graph))
        return cls(model.node_count, size, found, len(products), low, sum(coded), casts, kept)


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


@dataclass
class Report:
    """Everything the summary says. `model` is the optimized model; `ok` False: checked and wrong, or over a limit."""

    source: str = ""
    output: str = ""
    files: list[str] = field(default_factory=list)  # what was written
    reused: list[str] = field(default_factory=list)  # data files of the source that these refer to
    target: str = ""
    target_description: str = ""
    level: int | None = 2  # None: --passes
    pipeline: str = ""
    engine: dict[str, Any] = field(default_factory=dict)  # what a runtime's compiler made: layers, kernels
    precision: str = ""  # what nodes were brought to, "" for that of the source
    seconds: float = 0.0
    before: GraphSize = field(default_factory=GraphSize)
    after: GraphSize = field(default_factory=GraphSize)
    opset: int | None = None
    rewrites: dict[str, int] = field(default_factory=dict)
    accuracy: Accuracy = field(default_factory=Accuracy)
    refused: list[Refusal] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)  # its name, path, description and options
    tried: list[Tried] = field(default_factory=list)  # forms, in the order in which they were tried
    limits: list[Limit] = field(default_factory=list)
    metric: Score | None = None
    stays: Stays | None = None
    speed: Speed | None = None
    device: Device | None = None
    timing: dict[str, Any] | None = None
    quantization: dict[str, Any] | None = None  # layer by layer, for --report (`quantreport.data`)
    again: str = ""
    model: Any = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """False when the result was compared and is wrong, or is over a limit (nothing was written then)."""
        return self.accuracy.status != WRONG and all(limit.ok for limit in self.limits)

    @property
    def failure(self) -> str:
        """Why it is not `ok`, in one line."""
        missed = [limit.text() for limit in self.limits if not limit.ok]
        if self.accuracy.status == WRONG:
            missed.insert(0, f"wrong: {self.accuracy.reason}")
        return "; ".join(missed)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the schema's and geoc's versions. Times in seconds, sizes in bytes."""
        from dataclasses import asdict

        from .versions import geoc_version

        model, self.model = self.model, None  # a model is no plain data
        try:
            data = asdict(self)
        finally:
            self.model = model
        del data["model"]
        data["seconds"] = round(self.seconds, 3)
        data["speed"] = {"status": "NOT MEASURED"} if self.speed is None else {"status": "MEASURED", **data["speed"]}
        return {"schema": SCHEMA, "geoc": geoc_version(), "ok": self.ok, **data}

    def write(self, path: str) -> None:
        """Write the JSON to a file. Raises OSError."""
        import json

        from ..lowering.emit import write_text

        write_text(path, json.dumps(self.to_json(), indent=2) + "\n")

    def __str__(self) -> str:
        return self.summary()

    def summary(self, colour: bool = False, verbose: bool = False) -> str:
        """The summary; `colour` adds terminal colours, `verbose` the pipeline and every count of rewrites."""
        paint = painter(colour)
        lines = [self._title(paint), self._graph_line()]
        if verbose and self.pipeline:
            lines.append(f"passes    {self.pipeline}")
        if self.rewrites:
            top = sorted(self.rewrites.items(), key=lambda item: (-item[1], item[0]))
            most = len(top) if verbose else 6
            shown = ", ".join(f"{name} {count}" for name, count in top[:most])
            more = f", {len(top) - most} more" if len(top) > most else ""
            lines.append(f"rewrites  {sum(self.rewrites.values())}: {shown}{more}")
        if self.recipe:
            lines.append(f"recipe    {self._recipe_line()}")
        lines.extend(f"tried     {tried.line()}" for tried in self.tried)
        if self.precision:
            lines.append(f"precision {self._precision_line()}")
        if self.device is not None:
            lines.append(f"device    {self.device.line()}")
        if self.engine:
            kernels, fused = len(self.engine["kernels"]), self.engine["fused_attention"]
            line = f"engine    {self.engine['layers']} layers -> {kernels} kernels, {fused} of them attention"
            small = [(name, self.engine.get(f"{name.lower()}_products")) for name in ("INT8", "FP8", "FP4")]
            lines.append("".join([line, *(f", {count} products in {name}" for name, count in small if count)]))
        lines.append(f"accuracy  {self._accuracy_line(paint)}")
        lines.extend(f"          {note}" for note in self.accuracy.notes)
        if self.metric is not None:
            lines.append(f"metric    {self.metric.line()}")
        if self.speed is None:
            lines.append(f"speed     {paint('NOT MEASURED', 'yellow')}")
        else:
            lines.append(f"speed     {paint('MEASURED', 'green')}  {self.speed.line()}")
        for limit in self.limits:
            met = f"{limit.how} {megabytes(limit.found)} MB, {limit.option}={megabytes(limit.limit)}MB"
            said = paint("MET", "green") if limit.ok else paint("MISSED", "red")
            lines.append(f"limit     {said}  {met if limit.ok else f'{limit.text()}; nothing was written'}")
        for repair in self.repairs:
            lines.append(f"{paint('repaired', 'red')}  {repair.what}: {repair.why}")
        for refusal in self.refused:
            times = f" ({refusal.count} times)" if refusal.count > 1 else ""
            unlock = f"; {refusal.unlock} allows it" if refusal.unlock else ""
            lines.append(f"refused   {refusal.what}{times}: {refusal.why}{unlock}")
        lines.extend(f"note      {note}" for note in self.notes)
        if self.again:
            lines.append(f"again     {self.again}")
        return "\n".join(lines)

    def _title(self, paint: Any) -> str:
        level = "--passes" if self.level is None else f"-O{self.level}"
        target = f"target {self.target}"
        if self.target_description:
            target += f" ({self.target_description})"
        names = " -> ".join(name for name in (self.source, self.output) if name) or "model"
        return f"{paint(names, 'bold')}   {target}   {level}   {self.seconds:.1f} s"

    def _graph_line(self) -> str:
        line = (
            f"graph     {self.before.nodes:,} -> {self.after.nodes:,} nodes, "
            f"{megabytes(self.before.bytes)} -> {megabytes(self.after.bytes)} MB"
        )
        if self.opset is not None:
            line += f", opset {self.opset}"
        more = {kind: count - self.before.fused.get(kind, 0) for kind, count in self.after.fused.items()}
        fused = ", ".join(f"{count} {kind}" for kind, count in more.items() if count > 0)
        return f"{line}   fused {fused}" if fused else line

    def _recipe_line(self) -> str:
        """Which one was used and what of it counted; the steps that it ran are counted with the rewrites."""
        found = self.recipe
        options = ", ".join(f"{key} {value}" for key, value in found["options"].items())
        steps = ", ".join(f"{name} {self.rewrites.get(name, 0)}" for name in found["steps"])
        return f"{found['name']}: {found['description']}   {options}" + (f"   rewrites: {steps}" if steps else "")

    def _precision_line(self) -> str:
        """How many of the products are in the precision that was chosen, and how many casts it took."""
        found = self.after
        small = self.precision in SMALL
        line = f"{self.precision} in {found.coded if small else found.low} of {found.products} products"
        if small and found.low > found.coded:
            line = f"{line}, {found.low - found.coded} in half precision"
        line = f"{line}, {found.casts} casts"
        line += f", {found.caches} caches in i8" if found.caches else ""
        return line if self.stays is None else f"{line}; {self.stays.line()}"

    def _accuracy_line(self, paint: Any) -> str:
        found = self.accuracy
        if found.status == NOT_CHECKED:
            return f"{paint(NOT_CHECKED, 'yellow')}  {found.reason}"
        where = f"shapes {_shapes(found.shapes)}" if found.shapes else "no inputs"
        if found.samples:
            kind = "held-back samples" if found.held_back else "samples, the ones it was measured on"
            where = f"{found.samples} {kind}, {where}"
        if found.status == WRONG:
            return f"{paint(WRONG, 'red')}  {found.reason}, {where}; nothing was written"
        if found.norm == "relative L2":
            limit = "" if found.limit is None or found.limit == float("inf") else f" (limit {found.limit:.2%})"
            error = f"relative L2 {found.error or 0.0:.3%}{_sqnr(found.error)}"
            return f"{paint(CHECKED, 'green')}  {error}{limit}, {where}"
        error = "equal" if not found.error else f"largest error {found.error:.1e}"
        limit = "" if found.limit is None else f" (limit {found.limit:.0e})"
        return f"{paint(CHECKED, 'green')}  {error}{limit} of an output's largest value, {where}"


def _shapes(shapes: list[str]) -> str:
    return " ".join(shapes[:3]) + (f" and {len(shapes) - 3} more" if len(shapes) > 3 else "")


def _sqnr(error: float | None) -> str:
    """The ratio of signal to noise, 20 log10(1 / relative L2 error)."""
    return f", SQNR {-20 * math.log10(error):.0f} dB" if error else ""


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


def megabytes(count: int) -> str:
    """Bytes as megabytes (10^6), with as many digits as make small models distinguishable."""
    value = count / 1e6
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"
