"""Made-up inputs of decoders have caches that the decoder made itself: on random ones, whatever is rounded is far off.

    filled(feeds, run, maker, sizes, number, caches)        # caches: input -> the output that continues it

SmolLM2 with rows of 8 bits is 20 to 33 % off behind random keys and values, and 1 % behind those of a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...ir.core import Graph
from ...passes.caches import caches
from ..inputs.maker import InputMaker, Sizes
from ..running.sessions import refusals

Run = Callable[[list[str], dict[str, Any]], list[Any]]
"""Names of outputs and inputs by name -> outputs."""


def caches_by_name(graph: Graph) -> dict[str, str]:
    """Inputs that are caches, each with the output that continues it."""
    return {graph.input_names[place]: graph.output_names[output] for place, output in caches(graph).items()}


def filled(
    feeds: dict[str, Any], run: Run, maker: InputMaker, sizes: Sizes, number: int, known: Mapping[str, str]
) -> dict[str, Any]:
    """`feeds` behind a prompt as long as their past; as they are where the model has no caches or runs on no prompt."""
    kinds = {kind: sizes[name] for name, kind in maker.symbols.items() if name in sizes}
    if not known or not kinds.get("past"):
        return feeds
    prompt = {"past": 0, "sequence": kinds["past"], "total": kinds["past"]}
    earlier = {name: prompt.get(maker.symbols.get(name, ""), size) for name, size in sizes.items()}
    try:
        made = run(list(known.values()), maker.feeds(earlier, number))
    except refusals():
        return feeds
    fits = {n: a for n, a in zip(known, made) if a.shape == feeds[n].shape and np.isfinite(a).all()}
    return {**feeds, **fits}
