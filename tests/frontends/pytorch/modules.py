"""Small modules for tests of torch's frontend. Needs torch."""

from __future__ import annotations

from typing import Any

import torch


class Classifier(torch.nn.Module):
    """Two layers of which each is called in a line of its own, a table, and a dictionary of results."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(50, hidden)
        self.first = torch.nn.Linear(hidden, 2 * hidden)
        self.second = torch.nn.Linear(2 * hidden, hidden)
        self.register_buffer("scale", torch.full((hidden,), 0.5))

    def forward(self, ids: torch.Tensor, past: list[torch.Tensor]) -> dict[str, Any]:
        x = self.first(self.embed(ids))  # line of first
        x = self.second(torch.nn.functional.gelu(x)) * self.scale  # line of second
        return {"hidden": x, "past": [past[0] + 1, (x.sum(-1), torch.tanh(x))]}


class Stack(torch.nn.Module):
    """The same line for every layer."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.layer = torch.nn.ModuleList([Layer() for _ in range(layers)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layer:
            x = layer(x)
        return x


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = torch.nn.Linear(16, 48)
        self.down = torch.nn.Linear(48, 16)
        self.norm = torch.nn.LayerNorm(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.down(torch.relu(self.up(x))))


class Pictures(torch.nn.Module):
    """Convolutions with what they are trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 8, 3, 2), torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.silu(self.norm(self.first(pixels)))
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


class Decides(torch.nn.Module):
    """Takes a branch that depends on its data, which no graph has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if bool(x.sum() > 0) else x - 1


class Untranslated(torch.nn.Module):
    """Has an operator that ONNX has not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x)


class Fails(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("a module that talks")
        raise ValueError("no such luck\nsecond line")


def line_of(text: str) -> str:
    """``FILE:LINE`` of the line in this file that says so."""
    with open(__file__, encoding="utf-8") as file:
        number = next(n for n, line in enumerate(file, 1) if line.rstrip().endswith(f"# {text}"))
    return f"modules.py:{number}"


def classifier() -> tuple[Classifier, tuple[Any, ...], dict[str, Any]]:
    """A module, arguments, and its dimensions that are not fixed."""
    torch.manual_seed(0)
    ids = torch.arange(8).reshape(2, 4)
    return Classifier().eval(), (ids, [torch.ones(2, 3)]), {"ids": {0: "batch", 1: "seq"}, "past": [{0: "batch", 1: "kept"}]}


def stack() -> tuple[Stack, tuple[Any, ...], Any]:
    torch.manual_seed(0)
    return Stack().eval(), (torch.ones(2, 5, 16),), ({0: "batch", 1: "seq"},)


def pictures() -> tuple[Pictures, tuple[Any, ...], Any]:
    torch.manual_seed(0)
    module = Pictures().eval()
    torch.nn.init.normal_(module.norm.running_mean)
    return module, (torch.ones(2, 3, 16, 16),), ({0: "batch"},)


MODULES = {"classifier": classifier, "stack": stack, "pictures": pictures}
