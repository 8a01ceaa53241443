"""Small vocabularies for tiny decoders, and what llama.cpp makes of texts with them (tokens.json beside this file).

    write(path, CASES["llama"], vocabulary=byte_level("qwen2"))

python tests/frontends/gguf/vocabulary.py    # writes tokens.json; needs tokenizers and llama-cpp-python (made with 0.3.36)
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("tokens.json")
CONTROL, OWN = 3, 4
# Those of two kinds are whole texts of their own: one that models steer by, one that people add.
ADDED = [("<|begin|>", CONTROL), ("<|end|>", CONTROL), ("<tool>", OWN)]
WAYS = ("gpt-2", "smollm", "llama-bpe", "qwen2", "gpt-4o", "tekken", "deepseek-coder")
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "In 1969 it cost 12345.67 dollars, or 3 %; x2 = y1 + 10",
    "  leading,   inner and trailing spaces  ",
    "tabs\tand\nlines\n\n\n  of code:\r\n    if (a[0] != b) { return -1; }",
    "We'll say IT'S done, I'VE SEEN it, they'd've come.",
    "camelCaseWords HTTPServer iPhone XMLHttpRequest",
    "Caf\u00e9 na\u00efve \u00fcber Stra\u00dfe \u0420\u0443\u0441\u0441\u043a\u0438\u0439 \u0442\u0435\u043a\u0441\u0442",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01 \u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4",
    "emoji \U0001f600\U0001f680 and symbols \u20ac\u00a3 <= => ... --",
    "<|begin|>user\nhello<|end|> <tool>call</tool>",
    "",
    " ",
    "\n",
    "a",
]


def byte_level(pre: str, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Metadata of a byte-level BPE whose texts are parted in the way `pre`."""
    known = known or json.loads(FILE.read_text("utf-8"))
    merges = known["merges"]
    words = [*known["bytes"], *("".join(merge.split(" ")) for merge in merges)]
    tokens = [*words, *(token for token, _ in ADDED)]
    return {
        "model": "gpt2", "pre": pre, "tokens": tokens, "merges": merges,
        "token_type": [1] * len(words) + [kind for _, kind in ADDED],
        "bos_token_id": len(words), "eos_token_id": len(words) + 1, "add_bos_token": False,
    }  # fmt: skip


def pieces(known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Metadata of a BPE of SentencePiece, with the bytes of what has no piece."""
    known = known or json.loads(FILE.read_text("utf-8"))
    first = [("<unk>", 0.0, 2), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), *((f"<0x{i:02X}>", 0.0, 6) for i in range(256))]
    rest = [(piece, -float(place), 1) for place, piece in enumerate(known["pieces"])]
    tokens = [*first, *rest, *((token, -1000.0, kind) for token, kind in ADDED)]
    return {
        "model": "llama", "pre": "default", "tokens": [token for token, _, _ in tokens],
        "scores": [score for _, score, _ in tokens], "token_type": [kind for _, _, kind in tokens],
        "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0,
    }  # fmt: skip


def _trained() -> dict[str, Any]:
    """Merges of the texts here, of many words in one, so that ways of parting make a difference."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    text = ["\n".join(TEXTS[:9]) * 3, *TEXTS[:9]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())

    def learned(way: Any, size: int, alphabet: list[str]) -> dict[str, Any]:
        tokenizer = tokenizers.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = way
        tokenizer.train_from_iterator(text, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
        found: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
        return found

    of_bytes = learned(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), 256 + 300, letters)
    of_pieces = learned(pre_tokenizers.Metaspace(), 300, [])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in of_bytes["merges"]]
    order = sorted(of_pieces["vocab"], key=of_pieces["vocab"].get)
    made = ["".join(merge) if isinstance(merge, list) else merge.replace(" ", "") for merge in of_pieces["merges"]]
    return {"bytes": letters, "merges": merges, "pieces": [*made, *(piece for piece in order if piece not in made)]}


def _of_llama_cpp(vocabulary: dict[str, Any], folder: Path) -> list[list[int]]:
    import llama_cpp
    from tiny import CASES, write

    write(folder / "tiny.gguf", CASES["llama"], vocabulary=vocabulary)
    llama = llama_cpp.Llama(str(folder / "tiny.gguf"), vocab_only=True, verbose=False)
    return [llama.tokenize(text.encode(), add_bos=False, special=True) for text in TEXTS]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    found = _trained()
    with tempfile.TemporaryDirectory() as folder:
        kinds = {**{way: byte_level(way, found) for way in WAYS}, "pieces": pieces(found)}
        found["expected"] = {name: _of_llama_cpp(each, Path(folder)) for name, each in kinds.items()}
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.items() if key != "expected"]
    rows = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found["expected"].items()]
    FILE.write_text("{\n" + ",\n".join([*lines, '"expected": {\n' + ",\n".join(rows) + "\n}"]) + "\n}\n", "utf-8")
