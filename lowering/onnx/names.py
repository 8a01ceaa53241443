"""Unique names for an ONNX file, made from hints: names are the writer's business alone."""

from __future__ import annotations


class Names:
    """Hands out names; each is used once in a whole model, since inner graphs see the outer ones' names."""

    __slots__ = ("taken", "_next")

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self._next: dict[str, int] = {}

    def reserve(self, name: str) -> str:
        """Take exactly this name."""
        self.taken.add(name)
        return name

    def unique(self, hint: str) -> str:
        """The hint itself where it is free, else the hint with a number."""
        if hint and hint not in self.taken:
            self.taken.add(hint)
            return hint
        base = hint or "v"
        number = self._next.get(base, 0)
        while True:
            number += 1
            name = f"{base}_{number}"
            if name not in self.taken:
                self._next[base] = number
                self.taken.add(name)
                return name
