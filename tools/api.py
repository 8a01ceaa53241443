"""The Python API: load, save, compile, optimize.

    report = compile("model.onnx", "model.geoc.onnx", level=2)
    print(report)

    model = load("model.onnx")
    report = optimize(model, level=2)
    save(model, "smaller.onnx")
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..ir.core import Model, register_export
from .report import Report

__all__ = ["Report", "compile", "load", "optimize", "save"]

Names = Sequence[str]


def load(
    source: Any,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    input_names: Names | None = None,
    output_names: Names | None = None,
) -> Model:
    """A model from a path (.gir or a format that a frontend reads), bytes, a ModelProto, a graphsurgeon Graph, a
    torch.nn.Module or a torch.export.ExportedProgram.

    The rest is for a module: the arguments that it is called with, dimensions of theirs that are not fixed, and names
    (`frontends.pytorch.load_module`). Raises GeocError for what is no valid model, OSError for a file that cannot be
    read.
    """
    from .files import load_any

    exported = {
        "args": args, "kwargs": kwargs, "dynamic_shapes": dynamic_shapes,
        "input_names": input_names, "output_names": output_names,
    }  # fmt: skip
    return load_any(source, exported={name: value for name, value in exported.items() if value is not None})


def save(
    model: Model,
    path: str | os.PathLike[str],
    *,
    opset: int | None = None,
    weights: str = "reuse",
    target: str | None = "cpu",
) -> list[str]:
    """Write a model to `path`, as its suffix says (.onnx, .gir or one of the target's), whole or not at all.

    `weights`: "reuse" refers to the source's data files, "copy" writes one beside `path`, "inline" puts them
    into it. Nothing newer than `target` loads is written (None: no limit). Returns the files. Raises
    UnsupportedModel where no opset holds the model, UsageError for an unknown suffix, OSError.
    """
    from ..lowering.backend import Order
    from ..lowering.onnx import save_onnx
    from ..lowering.targets import get_target
    from .emitting import outputs_of
    from .inputs.example import example_of
    from .inputs.shapes import Shapes

    path = os.fspath(path)
    chosen = get_target(target or "cpu")
    outputs = outputs_of(chosen.backend, (), path, None)
    if target is None and outputs[0].kind == "onnx":
        return list(save_onnx(model, path, opset=opset, weights=weights).files)
    order = Order(chosen, opset, weights, example=lambda: example_of(model, Shapes(), 0))
    return [file for output in outputs for file in output.emitter.write(model, output.path, order).files]


def compile(
    source: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    target: str = "cpu",
    level: int = 2,
    shape: str | Names = (),
    passes: str | None = None,
    skip: str | Names = (),
    only: str | Names = (),
    rules: str | Names = (),
    plugin: str | Names = (),
    check: str | None = None,
    precision: str | None = None,
    max_error: float | None = None,
    metric: str | None = None,
    max_drop: float | str | None = None,
    goal: str | None = None,
    max_size: int | str | None = None,
    max_memory: int | str | None = None,
    recipe: str | os.PathLike[str] | None = None,
    measure: bool = False,
    calib: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    emit: str | Names = (),
    fallback: str = "cpu",
    threads: int | None = None,
    io_precision: str | None = None,
    opset: int | None = None,
    weights: str = "reuse",
    logits: str = "all",
    tokenizer: str | os.PathLike[str] | None = None,
    dump_dir: str | None = None,
    remarks: str | None = None,
    bisect_limit: int | None = None,
    report: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Report:
    """Compile a model as the `geoc` command does; the options are the command's.

    `source` is a path, bytes, a ModelProto or a graphsurgeon Graph; `output` None writes nothing. The
    optimized model is the report's `model`. `report.ok` is False when it was compared with the source and is
    wrong, or over a limit; nothing was written then. What a `recipe` says counts for options that have their
    default. Raises GeocError for bad input and bad use, OSError for files.
    """
    from .compiler import compile_settings
    from .metric import read_drop
    from .recipes.amounts import read_bytes
    from .settings import Settings

    return compile_settings(
        Settings(
            source=source,
            output=None if output is None else os.fspath(output),
            level=level,
            target=target,
            shape=_names(shape),
            passes=passes,
            skip=_names(skip),
            only=_names(only),
            rules=_names(rules),
            plugin=_names(plugin),
            check=check,
            precision=precision,
            max_error=max_error,
            metric=metric,
            max_drop=None if max_drop is None else read_drop(str(max_drop)),
            goal=goal,
            max_size=None if max_size is None else read_bytes(str(max_size), "--max-size"),
            max_memory=None if max_memory is None else read_bytes(str(max_memory), "--max-memory"),
            recipe=None if recipe is None else os.fspath(recipe),
            measure=measure,
            calib=None if calib is None else os.fspath(calib),
            cache=None if cache is None else os.fspath(cache),
            emit=_names(emit),
            fallback=fallback,
            threads=threads,
            io_precision=io_precision,
            opset=opset,
            weights=weights,
            logits=logits,
            tokenizer=None if tokenizer is None else os.fspath(tokenizer),
            dump_dir=dump_dir,
            remarks=remarks,
            bisect_limit=bisect_limit,
            report=None if report is None else os.fspath(report),
            seed=seed,
        ).with_recipe()
    )


def optimize(model: Model, level: int = 2, target: str = "cpu", **options: Any) -> Report:
    """Optimize `model` in place; `options` are those of `compile`. Returns the report.

    Where the result was compared and is wrong (`report.ok` False) the model is the wrong one: load it again.
    """
    if not isinstance(model, Model):
        raise TypeError(f"optimize takes a geoc.Model, not {type(model).__name__}; geoc.load makes one")
    return compile(model, None, level=level, target=target, **options)


def _names(value: str | Names) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _to_proto(model: Model) -> Any:
    from ..lowering.onnx import to_proto

    return to_proto(model)


def _to_graphsurgeon(model: Model) -> Any:
    from ..lowering.onnx import to_graphsurgeon

    return to_graphsurgeon(model)


register_export("to_proto", _to_proto)
register_export("to_graphsurgeon", _to_graphsurgeon)
