"""Pictures of pages for the documentation: `docs/pictures/view*.png` and `report.png`, taken in headless Chromium.

    python tests/bench/page_pictures.py [FOLDER]

Shows models of ~/.cache/geoc-models ($GEOC_MODELS) where they are: what is missing keeps its old picture.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.browser import Browser

ROOT = Path(__file__).parents[2]
MODELS = Path(os.environ.get("GEOC_MODELS", Path.home() / ".cache/geoc-models"))
WIDTH, HEIGHT = 1360, 820

SHOTS: dict[str, tuple[str, str, bool, str]] = {
    # picture: page, address, dark, script
    "view": ("bert", "", False, ""),
    "view-node": ("bert", "node=/m/encoder/layer.0/attention/self/query/MatMul", True, ""),
    "view-steps": ("steps", "", False, "PAGE.chooseRewrite(DATA.graphs.flatMap((g) => g.rewrites).find((w) => w.rule === 'attention'))"),
    "view-pair": ("pair", "", False, "PAGE.choose(PAGE.right.graph.records.find((r) => r.op === 'Attention'))"),
    "view-branches": ("silero", "", False, ""),
    "view-smollm2": ("smollm2", "", False, ""),
    "report": ("report", "", False, ""),
}
"""What is shown of which page."""


def geoc(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "geoc", *map(str, words), "-q"], check=True, cwd=ROOT)


def pages(folder: Path) -> dict[str, Path]:
    """Write the pages that can be written."""
    found: dict[str, Path] = {}

    def add(name: str, *sources: Path) -> None:
        found[name] = folder / f"{name}.html"
        geoc("view", *sources, "-o", found[name])

    bert = MODELS / "bert-4l-ts.onnx"
    if bert.is_file():
        geoc(bert, "--check=off", "-o", folder / "bert.geoc.onnx", "--dump-dir", folder / "steps")
        report, samples = folder / "report.html", ("--precision", "int8", "--calib", "random", "--cache", "off", "--measure")
        geoc(bert, *samples, "-o", folder / "bert.int8.onnx", "--report", report)
        found["report"] = report
        add("bert", bert)
        add("steps", folder / "steps")
        add("pair", bert, folder / "bert.geoc.onnx")
    for name, file in (("silero", "silero-vad-v6.onnx"), ("smollm2", "smollm2-135m-past-real-dynamo.onnx")):
        if (MODELS / file).is_file():
            add(name, MODELS / file)
    return found


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = pages(Path(folder))
        with Browser() as browser:
            for name, (page_name, fragment, dark, script) in SHOTS.items():
                if page_name not in found:
                    print(f"{name}: no model for it")
                    continue
                page = browser.open(found[page_name], fragment, WIDTH, HEIGHT, dark)
                page.until("document.documentElement.dataset.ready || Boolean(document.querySelector('main.report'))")
                time.sleep(0.4)
                if script:
                    page.js(script)
                    time.sleep(0.4)
                (target / f"{name}.png").write_bytes(page.picture())
                page.close()
                print(target / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures")
