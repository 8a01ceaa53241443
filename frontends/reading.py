"""What every frontend does the same way: errors that name the file, and the refusal of operators.

    with reading(path):
        model = Importer(...).run()
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..ir.collector import paused_collector
from ..ir.errors import GeocError, UnsupportedModel


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Errors that name no file get this one; the collector waits, which finds nothing in a graph that grows."""
    try:
        with paused_collector():
            yield
    except GeocError as error:
        error.source = error.source or source
        raise


def refuse_operators(missing: Mapping[str, int]) -> None:
    """Raise UnsupportedModel with every operator, and how often it is there, unless there are none."""
    if missing:
        most_first = sorted(missing.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{name} ({count})" for name, count in most_first)
        raise UnsupportedModel(f"operators that cannot be imported: {listed}")
