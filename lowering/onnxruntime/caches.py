"""Instances of the rules for caches in 8 bits."""

from __future__ import annotations

from ...ir.rewrite.instances import Pick, instance_for


@instance_for("attention_of_codes")
def attention_of_codes(pick: Pick) -> str:
    """Attention that grows a cache of codes, with a mask or without, for one token or several."""
    length, past, heads, groups, size = pick(1, 3), pick(4, 1), pick(2, 4), pick(2, 1), 8
    mask = pick("", f"%m: f32[1,{pick(1, heads)},{length},{past + length}]")
    scales = ", ".join(f"{(3 + i % 5) / 64}" for i in range(groups * size))
    other = ", ".join(f"{(9 - i % 7) / 64}" for i in range(groups * size))
    cache, new = f"i8[1,{groups},{past},{size}]", f"f32[1,{length},{groups},{size}]"
    body = ""
    for name in "kv":
        body += f"""
      %t{name} = Transpose(%{name}4) {{perm=[0, 2, 1, 3]}}
      %r{name} = Div(%t{name}, %s{name})
      %n{name} = QuantizeLinear(%r{name}, %one, %zero)
      %{name}s = Concat(%p{name}, %n{name}) {{axis=2}}
      %f{name} = Cast(%{name}s) {{to=1}}
      %{name} = Mul(%f{name}, %s{name})"""
    options = pick("", " {scale=0.25}")
    inputs = [f"%q4: f32[1,{length},{heads},{size}]", f"%k4: {new}", f"%v4: {new}", f"%pk: {cache}", f"%pv: {cache}"]
    inputs += [mask] if mask else []
    return f"""
    graph @main({", ".join(inputs)}) -> (%y, %ks, %vs) {{
      weight %sk: f32[1,{groups},1,{size}] = [{scales}]
      weight %sv: f32[1,{groups},1,{size}] = [{other}]
      weight %one: f32[] = 1.0
      weight %zero: i8[] = 0{body}
      %tq = Transpose(%q4) {{perm=[0, 2, 1, 3]}}
      %o = Attention(%tq, %k, %v{", %m" if mask else ""}){options}
      %y = Transpose(%o) {{perm=[0, 2, 1, 3]}}
    }}"""
