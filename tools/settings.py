"""What one compilation is asked to do, and the command line that asks for the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .metric import Drop


@dataclass
class Settings:
    """Everything that decides a compilation; the fields are the command's options.

    `source` is a path, bytes, a ModelProto, a graphsurgeon Graph or a `Model` (optimized in place).
    `output` None writes nothing. `max_error` is the mean relative L2 error of an output that lossy passes may make,
    `max_drop` what of the user's `metric` may be lost. `goal` None is "latency". `check` None chooses: "end" under
    500 MB of weights (2 GB where passes are lossy), else "off".
    """

    source: Any
    output: str | None = None
    level: int = 2
    target: str = "cpu"
    shape: tuple[str, ...] = ()
    passes: str | None = None
    skip: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    plugin: tuple[str, ...] = ()
    check: str | None = None
    precision: str | None = None
    max_error: float | None = None
    metric: str | None = None
    max_drop: Drop | None = None
    goal: str | None = None
    max_size: int | None = None  # bytes of what is written
    max_memory: int | None = None  # bytes at the peak of a run
    recipe: str | None = None  # a name, or a file; what it says is in the other fields already (`recipes.applied`)
    measure: bool = False
    calib: str | None = None
    cache: str | None = None  # a folder for statistics of samples; "off": none; None: where `statistics.py` says
    emit: tuple[str, ...] = ()
    fallback: str = "cpu"
    threads: int | None = None
    io_precision: str | None = None
    opset: int | None = None
    weights: str = "reuse"
    logits: str = "all"  # of a decoder: those of "all" tokens that it is given, or of the "last"
    tokenizer: str | None = None  # a file or folder with the vocabulary for a form that has one inside
    dump_dir: str | None = None
    print_after: tuple[str, ...] = ()
    time_passes: bool = False
    remarks: str | None = None
    bisect_limit: int | None = None
    report: str | None = None
    seed: int = 0
    verbose: int = 0

    @property
    def path(self) -> str | None:
        """The source's path; None for a model in memory."""
        return os.fspath(self.source) if isinstance(self.source, (str, os.PathLike)) else None

    @property
    def is_copy(self) -> bool:
        """True where nothing is done but to import and export: the result is the source's, with its metadata."""
        return self.passes is None and self.level == 0

    def given_files(self) -> list[str]:
        """What options name as files, or would if it were one: samples, a metric, rules, passes, a recipe."""
        calib = (self.calib or "").rpartition(":")[0] if ".py:" in (self.calib or "") else self.calib
        metric = None if self.metric is None else self.metric.rpartition(":")[0]
        return [path for path in (calib, metric, self.recipe, self.tokenizer, *self.rules, *self.plugin) if path]

    def without_folders(self) -> Settings:
        """The same with the names of files alone."""
        name = os.path.basename
        return replace(
            self,
            source=self.source if self.path is None else name(self.path),
            output=None if self.output is None else name(self.output),
            rules=tuple(map(name, self.rules)),
            plugin=tuple(map(name, self.plugin)),
            metric=None if self.metric is None else name(self.metric),
            recipe=None if self.recipe is None else name(self.recipe),
            calib=None if self.calib is None else name(self.calib.rstrip("/")),
            cache=None,
            tokenizer=None if self.tokenizer is None else name(self.tokenizer.rstrip("/")),
        )

    def with_recipe(self) -> Settings:
        """With what the recipe says where nothing else was said; a setting that has its default was not said."""
        if self.recipe is None:
            return self
        from .recipes.recipe import find_recipe

        plain = Settings(self.source)
        given = [each.name for each in fields(self) if getattr(self, each.name) != getattr(plain, each.name)]
        return replace(self, **converted(find_recipe(self.recipe).settled(given)))

    def command(self) -> str:
        """The command line that does the same; "" where the source is not a file."""
        import shlex

        from .recipes.amounts import amount_text

        if self.path is None:
            return ""
        source = self.path if not self.path.startswith("-") else f"./{self.path}"
        words = ["geoc", source]
        words += ["--passes", self.passes] if self.passes is not None else [f"-O{self.level}"]
        words.append(f"--target={self.target}")
        for flag, values in (
            ("--shape", self.shape), ("--rules", self.rules), ("--plugin", self.plugin),
        ):  # fmt: skip
            for value in values:
                words += [flag, value]
        if self.skip:
            words += ["--skip", ",".join(self.skip)]
        if self.only:
            words += ["--only", ",".join(self.only)]
        if self.check is not None:
            words.append(f"--check={self.check}")
        if self.precision is not None:
            words.append(f"--precision={self.precision}")
        if self.max_error is not None:
            words.append(f"--max-error={self.max_error:g}")
        if self.metric is not None:
            words += ["--metric", self.metric]
        if self.max_drop is not None:
            words.append(f"--max-drop={self.max_drop}")
        if self.calib is not None:
            words += ["--calib", self.calib]
        if self.cache is not None:
            words += ["--cache", self.cache]
        if self.goal is not None:
            words.append(f"--goal={self.goal}")
        if self.max_size is not None:
            words.append(f"--max-size={amount_text(self.max_size)}")
        if self.max_memory is not None:
            words.append(f"--max-memory={amount_text(self.max_memory)}")
        if self.recipe is not None:
            words.append(f"--recipe={self.recipe}")
        if self.measure:
            words.append("--measure")
        if self.emit:
            words.append(f"--emit={','.join(self.emit)}")
        if self.fallback != "cpu":
            words.append(f"--fallback={self.fallback}")
        if self.io_precision is not None:
            words.append(f"--io-precision={self.io_precision}")
        if self.threads is not None:
            words += ["--threads", str(self.threads)]
        if self.opset is not None:
            words += ["--opset", str(self.opset)]
        if self.weights != "reuse":
            words.append(f"--weights={self.weights}")
        if self.bisect_limit is not None:
            words += ["--bisect-limit", str(self.bisect_limit)]
        if self.logits != "all":
            words.append(f"--logits={self.logits}")
        if self.tokenizer is not None:
            words += ["--tokenizer", self.tokenizer]
        if self.output is not None:
            words += ["-o", self.output]
        words += ["--seed", str(self.seed)]
        return shlex.join(words)


_LISTS = ("shape", "skip", "only", "rules", "plugin", "print_after", "emit")


def converted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from what the command line, or a recipe, says as text. Raises UsageError that names the option."""
    found = dict(values)
    for key in _LISTS:
        if key in found:
            found[key] = tuple(found[key])
    if "max_error" in found:
        from .precision import read_error

        found["max_error"] = read_error(found["max_error"])
    if "max_drop" in found:
        from .metric import read_drop

        found["max_drop"] = read_drop(found["max_drop"])
    for key in ("max_size", "max_memory"):
        if key in found:
            from .recipes.amounts import read_bytes

            found[key] = read_bytes(found[key], f"--{key.replace('_', '-')}")
    return found
