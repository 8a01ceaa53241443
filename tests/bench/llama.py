"""Tokens per second and the time to the first one: llama.cpp, and decoders with a cache in onnxruntime.

    python tests/bench/llama.py MODEL.gguf NAME=MODEL.onnx ... --llama VENV/bin/python [--threads 2 1] [--docs docs/gguf.md]

A prompt of 128 tokens, then 64 more, greedily, batch 1. Each model is loaded in a process of its own, that of llama.cpp under the
Python of `--llama`, which has llama-cpp-python; in each round every process does it once, in another order, and the others wait.
The median over rounds counts. With one thread its own time is taken, which other work on the machine hardly moves; with more the clock on the
wall, which needs a machine with nothing else to do. The ONNX models are made by `geoc SOURCE.onnx ... -o MODEL.onnx`, or are a
source itself. Rounds end with `--seconds` at the latest. `--docs`: the page whose table between the marks of this
script is written anew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

PROMPT, NEW = 128, 64
PAUSE = 0.1  # seconds in which threads that wait for work by spinning give up
BEGIN, END = "<!-- tests/bench/llama.py -->", "<!-- end -->"
Record = dict[str, Any]


def prompt(vocabulary: int) -> list[int]:
    """Made-up tokens; what they are costs nothing."""
    return [int(token) for token in np.random.default_rng(0).integers(100, vocabulary, PROMPT)]


# In the processes


class Llama:
    """llama.cpp by its C interface: all of the prompt in one batch, logits of the last token alone.

    `how`: "flash" or "plain" attention, both of which are measured; "exact" is plain, with a cache of f32 instead of f16.
    """

    def __init__(self, path: str, threads: int, how: str) -> None:
        import ctypes

        import llama_cpp as api

        self.api, self.ctypes = api, ctypes
        silent = api.llama_log_callback(lambda level, text, data: None)
        self.kept = silent
        api.llama_log_set(silent, ctypes.c_void_p(0))
        self.model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
        assert self.model, f"llama.cpp does not load {path}"
        params = api.llama_context_default_params()
        params.n_ctx = PROMPT + NEW + 64
        params.n_batch = params.n_ubatch = PROMPT
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = 1 if how == "flash" else 0
        params.no_perf = True
        if how == "exact":
            params.type_k = params.type_v = 0  # GGML_TYPE_F32
        self.context = api.llama_init_from_model(self.model, params)
        self.version = f"llama-cpp-python {api.__version__}"
        self.vocabulary = api.llama_model_get_vocab(self.model)
        self.size = api.llama_vocab_n_tokens(self.vocabulary)

    @property
    def has_vocabulary(self) -> bool:
        return bool(self.api.llama_vocab_type(self.vocabulary))

    def tokens_of(self, text: str) -> list[int]:
        """By llama.cpp's own tokenizer."""
        data = text.encode()
        room = (self.api.llama_token * (len(data) + 8))()
        count = self.api.llama_tokenize(self.vocabulary, data, len(data), room, len(room), True, False)
        return list(room[:count])

    def begin(self) -> None:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def logits(self, tokens: list[int]) -> np.ndarray:
        """Of the last of the new tokens; a view."""
        array = (self.api.llama_token * len(tokens))(*tokens)
        failed = self.api.llama_decode(self.context, self.api.llama_batch_get_one(array, len(tokens)))
        assert not failed, f"llama_decode: {failed}"
        return np.ctypeslib.as_array(self.api.llama_get_logits_ith(self.context, -1), (self.size,))

    def step(self, tokens: list[int]) -> int:
        return int(self.logits(tokens).argmax())


class Onnx:
    """onnxruntime by the loop of `geoc bench`: what each step returns is the next one's past."""

    def __init__(self, path: str, threads: int, how: str) -> None:
        import onnxruntime

        from geoc.tools.running.contender import InOnnxruntime
        from geoc.tools.running.sessions import fast_session

        self.path = path
        self.running = InOnnxruntime(fast_session(path, threads))
        self.version = f"onnxruntime {onnxruntime.__version__}"
        self.size = int(self.running.session.get_outputs()[0].shape[-1])
        self.decoder: Any = None

    def begin(self) -> None:
        if self.decoder is None:  # not part of loading: only this loop needs to know what the inputs mean
            import geoc
            from geoc.tools.bench.decoding import plan_of

            plan = plan_of(geoc.load(self.path))
            assert plan is not None, f"{self.path} has no caches"
            self.decoder = plan.decoder(self.running, 1)
        self.decoder.clear()
        self.decoder.past = 0

    def logits(self, tokens: list[int]) -> np.ndarray:
        """Of the last of the new tokens."""
        feeds = self.decoder.plan.feeds(np.array([tokens]), self.decoder.past)
        feeds = {name: array for name, array in feeds.items() if name in self.running.inputs}
        self.decoder.past += len(tokens)
        last: np.ndarray = self.decoder.run(feeds)[0, -1]
        return last

    def step(self, tokens: list[int]) -> int:
        return int(self.logits(tokens).argmax())


def work(kind: str, path: str, threads: int) -> None:
    """Load, say so, and for each line that comes in answer with one measurement."""
    begun = time.perf_counter()
    name, _, how = kind.partition(":")
    model: Any = (Llama if name == "llama" else Onnx)(path, threads, how)
    say({"load": time.perf_counter() - begun, "version": model.version})
    ids = prompt(model.size)
    clock = time.thread_time if threads == 1 else time.perf_counter
    for _ in sys.stdin:
        model.begin()
        begun = clock()
        tokens = [model.step(ids)]
        first = clock() - begun
        each = []
        while len(tokens) < NEW:
            begun = clock()
            tokens.append(model.step(tokens[-1:]))
            each.append(clock() - begun)
        say({"first": first, "each": sum(each) / len(each), "middle": median(each), "tokens": tokens})


def say(record: Record) -> None:
    print(json.dumps(record), flush=True)


# The one that asks


class Worker:
    def __init__(self, python: str, kind: str, path: Path, threads: int) -> None:
        command = [python, __file__, "--worker", kind, str(path), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.loaded = self.answer()
        self.records: list[Record] = []

    def answer(self) -> Record:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                found: Record = json.loads(line)
                return found
        raise RuntimeError(f"{self.process.args!r} ended")

    def measure(self, keep: bool) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        record = self.answer()
        if keep:
            self.records.append(record)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def middle(self, key: str) -> float:
        return median(record[key] for record in self.records)


def measured(models: dict[str, tuple[str, str, Path]], threads: int, rounds: int, seconds: float) -> dict[str, Worker]:
    """Every model in turn, `rounds` times behind one that does not count; models as (python, kind, path)."""
    begun = time.perf_counter()
    workers = {name: Worker(python, kind, path, threads) for name, (python, kind, path) in models.items()}
    random = np.random.default_rng(0)
    for number in range(rounds + 1):
        if number > 1 and (time.perf_counter() - begun) * (number + 1) / number > seconds:
            break
        for name in random.permutation(list(workers)):
            time.sleep(PAUSE)
            workers[name].measure(number > 0)
    for worker in workers.values():
        worker.close()
    return workers


def row(name: str, path: Path, threads: int, worker: Worker, base: Worker) -> str:
    size = sum(file.stat().st_size for file in (path, Path(f"{path}.data")) if file.exists())
    each, first = worker.middle("each"), worker.middle("first")
    rate, quick = base.middle("each") / each, base.middle("first") / first
    return f"| {name} | {threads} | {size / 1e6:.1f} | {1 / each:.1f} ({rate:.2f}) | {first * 1e3:.0f} ms ({quick:.2f}) |"


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("gguf", type=Path)
    parser.add_argument("models", nargs="*", metavar="NAME=MODEL.onnx")
    parser.add_argument("--llama", required=True, metavar="PYTHON")
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=600, help="how long a number of threads may take")
    parser.add_argument("--docs", type=Path)
    options = parser.parse_args()
    models = {
        "llama.cpp": (options.llama, "llama:plain", options.gguf),
        "llama.cpp, flash attention": (options.llama, "llama:flash", options.gguf),
    }
    for text in options.models:
        name, _, path = text.partition("=")
        models[name] = (sys.executable, "onnx", Path(path))
    lines = ["| | threads | MB | tokens a second (times as many) | the first one (times as soon) |", "|---|---|---|---|---|"]
    for threads in options.threads:
        workers = measured(models, threads, options.rounds, options.seconds)
        for name, worker in workers.items():
            lines.append(row(name, models[name][2], threads, worker, workers["llama.cpp"]))
            loaded = f"loaded in {worker.loaded['load']:.2f} s, {worker.loaded['version']}, {len(worker.records)} rounds"
            print(f"{lines[-1]} {1 / worker.middle('middle'):.1f} by the median token, {loaded}", flush=True)
    table = "\n".join(lines)
    if options.docs:
        text = options.docs.read_text()
        before, _, rest = text.partition(BEGIN)
        options.docs.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
