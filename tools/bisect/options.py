"""Command lines of `bisect` and `reduce` as settings of a compilation."""

from __future__ import annotations

from dataclasses import replace

from ...ir.errors import UsageError
from ..args import Arguments
from ..cli import settings_of
from ..settings import Settings

_OWN = ("test", "json", "time", "output")


def compilation_of(arguments: Arguments) -> Settings:
    """The compilation whose result is tested; it writes nothing itself. Raises UsageError."""
    if len(arguments.words) != 1:
        raise UsageError(f"give one model: geoc {arguments.verb} MODEL [options]")
    plain = Arguments(arguments.verb)
    plain.words = arguments.words
    plain.values = {key: value for key, value in arguments.values.items() if key not in _OWN}
    settings: Settings = settings_of(plain)
    if settings.target == "fastest-cpu":
        raise UsageError("fastest-cpu compiles for two runtimes; name one: cpu or openvino-cpu", source="--target")
    if not 0 <= settings.level <= 3:
        raise UsageError(f"there is no -O{settings.level}; there are -O0, -O1, -O2 and -O3")
    return settings


def command_for(settings: Settings, limit: int, output: str) -> str:
    """The compilation with so many rewrites, written as it is."""
    return replace(settings, bisect_limit=limit, check="off", output=output).command()
