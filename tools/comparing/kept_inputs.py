"""Inputs that travel inside a model, as metadata: those on which a reduced model shows its fault.

    keep_inputs(model, [{"x": array}])        # in model.metadata, as JSON that a reader can follow
    kept_inputs(model)                        # [{"x": array}], or None
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...ir.core import Model
from ...ir.errors import InvalidModel
from ..calibration.samples import Feeds, Samples

KEY = "geoc.inputs"
PLAIN = 64  # elements up to which an array is written out


class Recorded(Samples):
    """Inputs that a model was seen to run on already; masks of infinities are fine here."""

    def __init__(self, feeds: Sequence[Mapping[str, Any]]) -> None:
        self.feeds = [dict(each) for each in feeds]
        self.text = "the inputs kept in the model"

    def read(self) -> Iterator[tuple[str, Any]]:
        yield from ((str(number), feeds) for number, feeds in enumerate(self.feeds))

    def __iter__(self) -> Iterator[Feeds]:
        return iter(self.feeds)

    def count(self) -> int | None:
        return len(self.feeds)


def keep_inputs(model: Model, feeds: Sequence[Mapping[str, Any]]) -> None:
    """Put inputs, arrays alone, into the metadata of a model; none take them away."""
    if feeds:
        text = json.dumps([{name: _plain(array) for name, array in each.items()} for each in feeds])
        model.metadata = {**model.metadata, KEY: text}
    else:
        model.metadata = {key: text for key, text in model.metadata.items() if key != KEY}


def kept_inputs(model: Model) -> list[dict[str, Any]] | None:
    """The inputs that a model carries; None for none. Raises InvalidModel where what it says is no such thing."""
    text = model.metadata.get(KEY)
    if text is None:
        return None
    try:
        return [{name: _array(found) for name, found in each.items()} for each in json.loads(text)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidModel(f"metadata {KEY}: {type(error).__name__}: {error}", source=model.source) from None


def _plain(array: Any) -> dict[str, Any]:
    array = np.asarray(array)
    found: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size <= PLAIN and array.dtype.kind in "biufO" and array.dtype.str[1] != "V":
        found["values"] = array.reshape(-1).tolist()
    else:
        found["base64"] = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return found


def _array(found: Mapping[str, Any]) -> Any:
    import ml_dtypes  # noqa: F401 (names the small floats for numpy)

    dtype = np.dtype(found["dtype"])
    if "values" in found:
        return np.array(found["values"], dtype).reshape(found["shape"])
    return np.frombuffer(base64.b64decode(found["base64"]), dtype).reshape(found["shape"])
