"""Files that `--emit gguf` wrote, in llama.cpp, beside the ONNX model in onnxruntime: greedy continuations and logits.

    python tests/bench/gguf_out.py --llama VENV/bin/python [--tokens 48] MODEL.onnx FILE.gguf [MODEL.onnx FILE.gguf ...]

Of each pair: how many of the tokens that onnxruntime chooses behind each prompt llama.cpp chooses as well, and how far its logits are off
behind the same tokens (relative L2). Where they part, how far the two candidates were from each other in the logits of onnxruntime: below
the error of llama.cpp's own rounding of rows, to 8 bits beside weights in blocks, either is right. llama.cpp keeps keys and values in f32
here. A model that is not called with a past is run on all tokens each time. Prompts are texts where the file has a vocabulary (tokens by
llama.cpp), made-up tokens else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

TEXTS = (
    "The capital of France is", "Once upon a time, in a village by the sea, there lived", "def fibonacci(n):\n    ",
    "The most important property of water is that", "In 1969, the first people to walk on", "To bake bread you need",
    "A triangle has three sides, a square has", "Dear Sir or Madam,",
)  # fmt: skip
PROMPT = 12  # made-up tokens


def in_llama(path: str, tokens: int, folder: Path) -> None:
    """Under llama.cpp's Python: prompts where there are none yet, else continuations and logits behind given tokens."""
    from llama import Llama

    model: Any = Llama(path, 1, "exact")
    asked = folder / "asked.json"
    if not asked.exists():
        prompts = [model.tokens_of(text) for text in TEXTS] if model.has_vocabulary else []
        rng = np.random.default_rng(0)
        made = [[int(i) for i in rng.integers(3, min(model.size, 30000), PROMPT)] for _ in TEXTS]
        (folder / "prompts.json").write_text(json.dumps(prompts or made))
        return
    found = {}
    for number, (prompt, forced) in enumerate(json.loads(asked.read_text())):
        model.begin()
        chosen = [model.step(prompt)]
        while len(chosen) < tokens:
            chosen.append(model.step(chosen[-1:]))
        model.begin()
        rows = [model.logits(prompt).copy(), *(model.logits([token]).copy() for token in forced[:-1])]
        found[f"{number}/tokens"], found[f"{number}/logits"] = np.array(chosen), np.stack(rows)
    np.savez(folder / "found.npz", **found)


class Whole:
    """A decoder without a past: all tokens each time."""

    def __init__(self, path: Path) -> None:
        from geoc.tools.running.sessions import fast_session

        self.session = fast_session(str(path), 1)
        self.names = {entry.name for entry in self.session.get_inputs()}

    def begin(self) -> None:
        self.seen: list[int] = []

    def logits(self, tokens: list[int]) -> np.ndarray:
        self.seen += tokens
        ids = np.array([self.seen])
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.shape[1])[None]}
        last: np.ndarray = self.session.run(None, {k: v for k, v in feeds.items() if k in self.names})[0][0, -1]
        return last


def in_onnxruntime(path: Path) -> Any:
    from llama import Onnx

    model = Onnx(str(path), 1, "")
    return model if any("past" in name for name in model.running.inputs) else Whole(path)


def pair(onnx: Path, gguf: Path, llama: str, tokens: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [llama, __file__, "--worker", str(gguf), str(tokens), name]
        subprocess.run(command, check=True)
        prompts = json.loads((folder / "prompts.json").read_text())
        model = in_onnxruntime(onnx)
        expected, asked = [], []
        for prompt in prompts:
            model.begin()
            rows = [model.logits(prompt)]
            chosen = [int(rows[0].argmax())]
            while len(chosen) < tokens:
                rows.append(model.logits(chosen[-1:]))
                chosen.append(int(rows[-1].argmax()))
            expected.append((np.array(chosen), np.stack(rows)))
            asked.append((prompt, chosen))
        (folder / "asked.json").write_text(json.dumps(asked))
        subprocess.run(command, check=True)
        with np.load(folder / "found.npz") as found:
            whole, errors, parted = 0, [], []
            for number, (chosen, rows) in enumerate(expected):
                others, logits = found[f"{number}/tokens"], found[f"{number}/logits"]
                errors.append(float(np.linalg.norm(logits - rows) / np.linalg.norm(rows)))
                differ = np.flatnonzero(others != chosen)
                if not len(differ):
                    whole += 1
                    continue
                at = int(differ[0])
                gap = float(rows[at][chosen[at]] - rows[at][others[at]])
                off = float(np.abs(logits[at] - rows[at]).max())
                parted.append(f"after {at} of {tokens}, candidates {gap:.3g} apart, logits up to {off:.3g} off")
    said = f"; {', '.join(parted)}" if parted else ""
    print(f"{onnx.name} | {gguf.name} | {whole} of {len(prompts)} continuations of {tokens} tokens the same | ", end="")
    print(f"logits {np.mean(errors):.2g} off, {max(errors):.2g} at the most{said}", flush=True)


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        in_llama(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--llama", required=True, metavar="PYTHON")
    parser.add_argument("--tokens", type=int, default=48)
    options = parser.parse_args()
    for onnx, gguf in zip(options.files[::2], options.files[1::2]):
        pair(onnx, gguf, options.llama, options.tokens)
    return 0


if __name__ == "__main__":
    sys.exit(main())
