"""That attention in a graph is causal: llama.cpp hides later tokens and padding, and nothing else, for this family."""

from __future__ import annotations

import re

from ...ir.core import Node, Value
from ...ir.errors import UnsupportedModel
from ...passes.fuse.mask_forms import form_of
from ...passes.fuse.masks import hides

# What a form says of positions and of what the graph is given (`mask_forms`), with the past as an offset.
_GIVEN = r"(?:True|\(\w+\([^()]*\[b,j\],0\)(?::\w+)? \? False : True\)|\(?[^()?]*\[b,j\](?:>=\d+| \? True : False\)?))"
_CAUSAL = re.compile(r"hidden \S* ?unless \(i-j(?P<past>(?:\+\w+)?)>=0 \? " + _GIVEN + r" : False\)")
_WINDOW = re.compile(
    r"unless \(i-j(?P<past>(?:\+\w+)?)-(?P<window>\d+)(?P<behind>(?:\+\w+)?)>=0 \? False : (?P<rest>.*)\)"
)


def window_of(node: Node, checked: dict[Value, int]) -> int:
    """How many keys a query of an Attention sees at most, 0 for no limit. `checked` has the answers for masks.

    Raises UnsupportedModel unless it is causal.
    """
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    where = f" at {node.loc[0]}" if node.loc else ""
    if mask is None:
        if not node.attr("is_causal"):
            raise UnsupportedModel(f"gguf: no decoder of the llama family: attention sees later tokens{where}")
        return 0
    if mask not in checked:
        checked[mask] = _window_of_mask(node, mask, where)
    return checked[mask]


def _window_of_mask(node: Node, mask: Value, where: str) -> int:
    found = form_of(mask)
    text = "" if found is None else plain(found[0].text)
    past = node.inputs[4] if len(node.inputs) > 4 else None
    before = str(past.shape[2]) if past is not None and past.shape else _past_of(node.inputs[1])
    before = f"+{before}" if before else ""
    limited = _WINDOW.search(text)
    window = 0
    if limited is not None and limited["past"] + limited["behind"] == before:
        window = int(limited["window"])
        text = f"{text[: limited.start()]}unless {limited['rest']}"
    fits = _CAUSAL.fullmatch(text)
    if fits is None or fits["past"] != before:
        said = f": {text}" if text else ""
        raise UnsupportedModel(f"gguf: no decoder of the llama family: a mask that is not causal alone{where}{said}")
    hidden = found[0].hidden if found is not None else None
    if hidden is not None and hidden > hides(mask.dtype):
        said = f"a mask that adds {hidden}, which hides little"
        raise UnsupportedModel(f"gguf: no decoder of the llama family: {said}{where}")
    return window


def plain(text: str) -> str:
    """A form where a mask has as many columns as there are keys: past and new tokens together are all."""
    return re.sub(r"min\(j,(?:min\([^()]*\)|[^()\[\]]*)-1\)", "j", text)


def _past_of(keys: Value | None) -> str:
    """How the graph calls the length of the past of keys that a Concat appends to it; "" for none."""
    node = None if keys is None else keys.producer
    if node is None or node.op.key != "Concat" or node.inputs[0] is None or not node.inputs[0].shape:
        return ""
    return str(node.inputs[0].shape[2])
