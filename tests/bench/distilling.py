"""What a teacher gives a student with a quarter of its numbers: handwritten digits, over seeds.

    python tests/bench/distilling.py [SEEDS]

Prints the table of docs/distill.md: accuracy on 500 digits that no model has seen. *Alone*: the student trained by the
classes of what is labelled, by `--alpha 1` (the epoch chosen on a fifth that is held back) and in plain torch on all of it, at the
step that is best on the test itself, which flatters. *Taught*: `geoc distill` on all digits, labelled or not.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
LABELLED = (60, 200, 1297)
EPOCHS = 8


def helper() -> Any:
    """The digits and classifiers of the tests."""
    spec = importlib.util.spec_from_file_location("digits", ROOT / "tests/tools/distill/digits.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(seeds: int) -> None:
    import onnxruntime
    import torch

    from geoc.tools.distill.settings import Settings
    from geoc.tools.distill.verb import distill
    from geoc.tools.progress import Progress

    torch.set_num_threads(1)
    d = helper()
    folder = Path(tempfile.mkdtemp())
    teacher, student, data, out = (str(folder / name) for name in ("t.onnx", "s.onnx", "d.npz", "o.onnx"))

    def run(x: Any, y: Any, count: int | None, test: tuple[Any, Any], **options: Any) -> float:
        d.samples(Path(data), x, y, labelled=count)
        report = distill(Settings(teacher, student, data, out, lr=1e-2, **options), Progress(None))
        session = onnxruntime.InferenceSession(out if report.ok else student, providers=["CPUExecutionProvider"])
        return float((session.run(None, {"x": test[0]})[0].argmax(1) == test[1]).mean())

    print("| labelled | teacher | alone, --alpha 1 | alone, best step on the test | taught without classes | taught with classes |")
    print("|---|---|---|---|---|---|")
    for labelled in LABELLED:
        rows = []
        for seed in range(seeds):
            x, y, *test = d.digits(seed)
            whole = d.train(d.layers(48, seed), x, y, 300)
            d.save(whole, Path(teacher))
            d.save(d.layers(12, 100 + seed), Path(student))
            reached: list[float] = []
            alone = d.layers(12, 100 + seed)
            d.train(alone, x[:labelled], y[:labelled], 600, watch=lambda r=reached, a=alone, t=test: r.append(d.accuracy(a, *t)))
            steps = EPOCHS * len(x) // labelled  # as many samples as with the teacher
            rows.append((
                d.accuracy(whole, *test),
                run(x[:labelled], y[:labelled], None, test, labels="label", alpha=1.0, epochs=steps, seed=seed),
                max(reached),
                run(x, None, None, test, epochs=EPOCHS, seed=seed),
                run(x, y, labelled, test, labels="label", alpha=0.1, epochs=EPOCHS, seed=seed),
            ))  # fmt: skip
        cells = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(np.mean(rows, 0), np.std(rows, 0))]
        print(f"| {labelled} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
