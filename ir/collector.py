"""Python's cyclic garbage collector, and when not to run it.

While a model is read, written or printed, hundreds of thousands of objects come to be and all of them stay. Looking
for garbage among them takes up to half of the time, and more the larger the model is.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """No collection inside; afterwards as before, with what was made inside counted as old."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            if not gc.get_freeze_count():  # somebody else's frozen objects stay frozen
                # Frozen objects come back as the oldest generation: the next collection of young ones, which is
                # due at once, does not walk over a whole model.
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@contextmanager
def rare_collector() -> Iterator[None]:
    """Collections a few hundred times rarer inside: rewriting does leave cycles behind, but few for what it makes."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], 200_000), 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
