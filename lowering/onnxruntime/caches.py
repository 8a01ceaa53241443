"""Instances of the rules for caches in 8 bits; their natives are those of masks."""

from __future__ import annotations

from typing import Any

from ...ir.core import Value
from ...ir.rewrite import ABSENT, native
from ...ir.rewrite.instances import Pick, instance_for
from .. import masks  # noqa: F401 (its natives)
from . import lowest  # noqa: F401 (its natives)


@native
def leading_axes(m: Value | None) -> Any:
    """The axes that a mask lacks to four; absent for none, and where it has them."""
    rank = 4 if m is None else m.rank
    if rank is None or rank > 4:
        return None
    return tuple(range(4 - rank)) or ABSENT


def _codes(groups: int, name: str, new: str) -> str:
    """What keeps new keys or values as codes behind those of a cache, and reads all of them."""
    scales = ", ".join(f"{(3 + i % 5) / 64}" for i in range(groups * 8))
    return f"""
      weight %s{name}: f32[1,{groups},1,8] = [{scales}]
      %r{name} = Div({new}, %s{name})
      %n{name} = QuantizeLinear(%r{name}, %one, %zero)
      %{name}s = Concat(%p{name}, %n{name}) {{axis=2}}
      %f{name} = Cast(%{name}s) {{to=1}}
      %{name} = Mul(%f{name}, %s{name})"""


def _graph(inputs: list[str], body: str) -> str:
    weights = "\n      weight %one: f32[] = 1.0\n      weight %zero: i8[] = 0"
    lines = body.split("\n")
    weights += "".join(f"\n{line}" for line in lines if "weight " in line)
    nodes = "\n".join(line for line in lines if "weight " not in line)
    return f"graph @main({', '.join(inputs)}) -> (%y, %ks, %vs) {{{weights}{nodes}\n    }}"


@instance_for("attention_of_codes")
def attention_of_codes(pick: Pick) -> str:
    """Attention that grows caches of codes, with a mask or without, for one token or several."""
    length, past, heads, groups = pick(1, 3), pick(4, 1), pick(2, 4), pick(2, 1)
    mask = pick("", f"%hidden: bool[{pick('1,1,', f'1,{heads},', '')}{length},{past + length}]")
    new, cache = f"f32[1,{length},{groups},8]", f"i8[1,{groups},{past},8]"
    inputs = [f"%q4: f32[1,{length},{heads},8]", f"%k4: {new}", f"%v4: {new}", f"%pk: {cache}", f"%pv: {cache}"]
    body = "".join(f"\n      %t{name} = Transpose(%{name}4) {{perm=[0, 2, 1, 3]}}" for name in "qkv")
    if mask:
        body += "\n      weight %seen: f32[] = 0.0\n      weight %away: f32[] = -10000.0"
        body += "\n      %m = Where(%hidden, %away, %seen)"
    body += _codes(groups, "k", "%tk") + _codes(groups, "v", "%tv")
    body += f"\n      %o = Attention(%tq, %k, %v{', %m' if mask else ''}){pick('', ' {scale=0.25}')}"
    body += "\n      %y = Transpose(%o) {perm=[0, 2, 1, 3]}"
    return _graph([*inputs, mask] if mask else inputs, body)


@instance_for("mask_of_codes")
def mask_of_codes(pick: Pick) -> str:
    """The same before the Transposes are seen, with a mask of one row or too few columns."""
    length, past, groups = pick(3, 2), pick(4, 1), pick(2, 1)
    rows, columns = pick((1, past + length), (length, past + length - 1), (1, past))
    new, cache = f"f32[2,{groups},{length},8]", f"i8[2,{groups},{past},8]"
    inputs = [f"%q: f32[2,4,{length},8]", f"%nk4: {new}", f"%nv4: {new}", f"%pk: {cache}", f"%pv: {cache}"]
    body = _codes(groups, "k", "%nk4") + _codes(groups, "v", "%nv4") + "\n      %y = Attention(%q, %k, %v, %m)"
    return _graph([*inputs, f"%m: f32[{rows},{columns}]"], body)
