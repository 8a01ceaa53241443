"""What geoc asks of a runtime.

A backend is a folder ``lowering/RUNTIME`` whose ``backend.py`` has a ``BACKEND``, or that of another package which
names its ``BACKEND`` as an entry point of the group ``geoc.backends``.

    backend = backend_of("onnxruntime")
    backend.limits("1.31.1")                    # (26, 13): the newest opset and IR version that it loads
    backend.emitters()["ort"].write(model, "model.ort", Order(target))

``backend.py`` imports neither the runtime nor anything large: the command looks into it on every start.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..ir.core import Model, Node
from ..ir.errors import UsageError
from ..ir.types import DType

if TYPE_CHECKING:
    from ..passes.quantize.kernels import Integers
    from ..passes.quantize.small_floats import Floats
    from .targets import Hardware, Target

_FOLDER = Path(__file__).parent
ENTRY_POINTS = "geoc.backends"
CACHES = "kv8"  # ends the name of a precision that keeps key-value caches in 8 bits


@dataclass(frozen=True)
class Order:
    """How a model is to be written.

    `opset` None: the source's, raised where needed. `weights`: ``reuse``, ``copy`` or ``inline``; None is inline while
    one file can hold them. `profile`: for inputs of symbolic shape the smallest, the best and the largest shape.
    `precision`: what was asked for, "" for nothing in particular. `symbols`: the sizes that symbolic dimensions were
    given, one or (smallest, best, largest). `threads`: how many the runtime is to use, where it was said.
    `metadata`: entries for the ``metadata_props`` of ONNX files, over the model's own; an empty text takes one away.
    `example` gives inputs like those that the model runs on, by name. `strict`: nothing may run elsewhere than it was
    ordered to. `tokenizer`: a file or folder that was named for the vocabulary of a form that has one inside.
    """

    target: Target
    opset: int | None = None
    weights: str | None = "reuse"
    profile: Mapping[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    precision: str = ""
    symbols: Mapping[str, int | tuple[int, int, int]] = field(default_factory=dict)
    threads: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    example: Callable[[], Mapping[str, Any]] = dict
    strict: bool = False
    tokenizer: str | None = None


@dataclass
class Written:
    """What an emitter wrote: the files with their sizes in bytes, the ONNX opset if that is one, notes for the user.

    `engine` says what a runtime's compiler made of the model, for the report: kernels, layers and the like.
    """

    files: dict[str, int]
    opset: int | None = None
    notes: list[str] = field(default_factory=list)
    engine: dict[str, Any] = field(default_factory=dict)


Writer = Callable[[Model, str, Order], Written]
Check = Callable[[Model, str, Order], Any]


@dataclass(frozen=True)
class Lazy:
    """The writer or check ``module:function``, whose module is imported when it is called.

    A module that begins with a dot is one of `lowering`.
    """

    place: str

    def load(self) -> Callable[[Model, str, Order], Any]:
        """The function."""
        module, _, name = self.place.partition(":")
        found: Callable[[Model, str, Order], Any] = getattr(importlib.import_module(module, __package__), name)
        return found

    def __call__(self, model: Model, path: str, order: Order) -> Any:
        return self.load()(model, path, order)


class Emitter(NamedTuple):
    """One form that a model can be written in: ``write(model, path, order)``, all or nothing.

    `suffix` ends with a slash where a folder is written. `needs` names the form that must lie beside it under the
    same stem. `threads`: it holds the number of threads that the runtime is to use. `check` is called with the source
    before any work: it raises UsageError where something is missing without which nothing can be written.
    `canonical`: it is written of standard operators, as they are before the target's own forms; so nothing that the
    target runs is written beside it.
    """

    suffix: str
    write: Writer
    needs: str = ""
    threads: bool = False
    check: Check | None = None
    canonical: bool = False

    @property
    def is_folder(self) -> bool:
        """True if `path` is a folder."""
        return self.suffix.endswith("/")


class Quantization(NamedTuple):
    """The passes that bring a model to integers for a runtime: pipelines as text.

    `first` stand before the target's forms of operators, `last` behind all. `samples`: they need samples to measure on.
    `note`: what the user should know of them.
    """

    first: str = ""
    last: str = ""
    samples: bool = False
    note: str = ""


def weights_alone(precision: str, has_samples: bool, last: str) -> Quantization | None:
    """``w8a16`` and ``w4a16`` by GPTQ where there are samples and by rounding else, then `last`; None for others."""
    bits = {"w8a16": 8, "w4a16": 4}.get(precision)
    if bits is None:
        return None
    method = "gptq" if has_samples else "rtn"
    return Quantization(f"quantize-weights{{bits={bits},method={method}}}", last)


class Unsupported(NamedTuple):
    """A node that the runtime does not run, and why; `row` names the rule that says so, as ``limits.rules: sinh``."""

    node: Node
    reason: str
    row: str = ""

    @property
    def why(self) -> str:
        """The reason with its row."""
        return f"{self.reason} ({self.row})" if self.row else self.reason


@dataclass(frozen=True)
class Placement:
    """What an accelerator beside the target's main device runs: `nodes` of `total` of the main graph, in `parts`, of
    which it holds `most` at once. `outside`: the others, with the reasons."""

    device: str
    nodes: int
    total: int
    parts: int
    most: int
    outside: tuple[Unsupported, ...]


def in_main_graph(model: Model, found: Iterable[Unsupported]) -> list[Unsupported]:
    """Refused nodes, those in regions as the node of the main graph that holds them; the first reason counts."""
    refused: dict[Node, Unsupported] = {}
    for each in found:
        outer = model.graph.enclosing_node(each.node)
        if outer is each.node:
            refused.setdefault(outer, each)
        elif outer is not None:
            refused.setdefault(outer, each._replace(node=outer, reason=f"{each.node.op.key} in it: {each.reason}"))
    return list(refused.values())


class Backend:
    """One runtime. Subclasses say what it loads, which rules lower to it, and how its files are written."""

    runtime: ClassVar[str] = ""
    title: ClassVar[str] = ""  # as its makers write it
    default: ClassVar[str] = "onnx"  # the emitter that is taken where nobody asks for another
    precisions: ClassVar[frozenset[str]] = frozenset(("fp32",))  # what graphs for it may compute in
    lossy: ClassVar[tuple[str, ...]] = ()  # passes of its own that change numbers, before those of a lower precision
    halved: ClassVar[tuple[str, ...]] = ()  # and those that look at a graph in half precision, behind the casts
    finished: ClassVar[tuple[str, ...]] = ()  # and the last of all, for forms that clean-up would undo
    sparse_constants: ClassVar[bool] = False  # whether it loads constants that are stored without their zeros
    lookups: ClassVar[frozenset[DType]] = frozenset()  # types of codes of which it makes weights once, when it loads

    def limits(self, version: str | None) -> tuple[int, int]:
        """The newest (opset of the default domain, IR version) that a version loads; None: of the newest known."""
        raise NotImplementedError

    def rule_sets(self) -> dict[str, tuple[str, str]]:
        """Rule sets that its targets' pipelines name: file and module with the natives."""
        return {}

    def row_sets(self) -> dict[str, tuple[str, str]]:
        """Capability rows, rules that refuse: by name the file, and the module with the natives ("" for none)."""
        return {}

    def integers(self, features: Iterable[str]) -> Integers:
        """What it computes in 8-bit integers on hardware with these features; what any runtime does by default."""
        from ..passes.quantize.kernels import PLAIN

        return PLAIN

    def floats(self, hardware: Hardware) -> Floats:
        """What it multiplies in floats of 8 and 4 bits on this hardware; nothing by default."""
        from ..passes.quantize.small_floats import Floats

        return Floats()

    def rows_on(self, rows: str, features: Iterable[str]) -> str:
        """What products of blocks are made fast for, on hardware with these features, where `rows` is asked for."""
        return rows

    def quantization(self, precision: str, has_samples: bool, rows: str = "few") -> Quantization | None:
        """What brings a model to ``w8a8``, ``w8a16``, ``w4a16`` or ``fp8``; None for what it does not run.

        With ``kv8`` at the end, or alone, caches of keys and values are in 8 bits as well.

        `rows`: what it is made fast for, where forms differ: ``few``, as of single tokens, ``many``, or ``none``, where
        it is made small instead.
        """
        return None

    def blocks(self, rows: str = "few") -> str | None:
        """The passes behind a pipeline for a source whose weights are in blocks already; None where the runtime
        multiplies nothing in blocks, so that they become floats. `rows` as for `quantization`."""
        return ""

    def lacks(self, precision: str, hardware: Hardware) -> str:
        """Why hardware does not run what `quantization` makes; "" where it does."""
        return ""

    def emitters(self) -> dict[str, Emitter]:
        """What can be written for it, by the word that --emit takes."""
        from .emit import GGUF, GIR, ONNX

        return {"onnx": ONNX, "gir": GIR, "gguf": GGUF}

    def unsupported(self, model: Model, target: Target, opset: int | None = None) -> list[Unsupported]:
        """Nodes of the main graph that it does not run, or that hold such a node in a region: by default, what its
        rows refuse.

        `opset`: the one that is asked for, None for that which the writer chooses.
        """
        from .rows import refused_by

        return refused_by(model, self.row_sets())

    def left_to_reader(self, model: Model) -> list[Node]:
        """Nodes that geoc has no form of there, so that the runtime's own reader of ONNX has to take the model."""
        return []

    def placement(self, model: Model, target: Target, elsewhere: Collection[Node] = ()) -> Placement | None:
        """What an accelerator that the target orders runs of the main graph; None where it orders none.

        `elsewhere`: nodes that another runtime gets anyway.
        """
        return None

    def precisions_on(self, hardware: Hardware) -> frozenset[str]:
        """What graphs may compute in on this hardware, as far as the runtime decides."""
        return self.precisions


def list_backends() -> list[str]:
    """The runtimes that geoc, and what is installed beside it, writes for."""
    return sorted({path.parent.name for path in _FOLDER.glob("*/backend.py")} | set(_installed()))


def backend_of(runtime: str) -> Backend:
    """The backend of a runtime. KeyError where there is none, UsageError where an installed one is something else."""
    if (_FOLDER / runtime / "backend.py").is_file():
        found = importlib.import_module(f".{runtime}.backend", __package__).BACKEND
    else:
        found = _installed()[runtime].load()
    if not isinstance(found, Backend):
        raise UsageError(f"entry point {runtime!r} of group {ENTRY_POINTS} is no Backend")
    return found


@cache
def _installed() -> dict[str, Any]:
    """Backends of other packages, by the runtime that their entry point is called after."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def all_row_sets() -> dict[str, tuple[str, str]]:
    """The capability rows of every backend."""
    return {name: place for runtime in list_backends() for name, place in backend_of(runtime).row_sets().items()}


def all_rule_sets() -> dict[str, tuple[str, str]]:
    """The rule sets of every backend."""
    return {name: place for runtime in list_backends() for name, place in backend_of(runtime).rule_sets().items()}
