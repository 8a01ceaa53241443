"""The parsers of the text form: kept between runs, whatever state the cache folder is in; one per thread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from geoc.ir.equal import structural_hash
from geoc.ir.text import load_model

BLOCK = Path(__file__).with_name("block.gir")
PARSE = f"from geoc.ir.text import load_model; print(len(load_model({str(BLOCK)!r}).graph))"


def run(code: str, cache: str) -> str:
    environment = {**os.environ, "GEOC_CACHE": cache, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_cache_is_written_used_and_survives_damage(tmp_path: Path) -> None:
    assert run(PARSE, str(tmp_path)) == "3"
    files = sorted(tmp_path.rglob("*lark*"))
    assert [f.name.split("-")[0] for f in files] == ["gir.lark", "statement.lark"]
    before = [f.read_bytes() for f in files]
    assert run(PARSE, str(tmp_path)) == "3"
    assert [f.read_bytes() for f in files] == before
    for file, data in zip(files, before):
        file.write_bytes(data[: len(data) // 2])
    assert run(PARSE, str(tmp_path)) == "3"
    # Made anew (the order of sets in a pickle differs from run to run, its size hardly).
    assert all(f.stat().st_size > 0.9 * len(data) for f, data in zip(files, before))
    assert sorted(tmp_path.rglob("*lark*")) == files


def test_without_a_place_for_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(PARSE, str(tmp_path / "file" / "below")) == "3"
    assert run(PARSE, "") == "3"


def test_printing_does_not_load_the_parser() -> None:
    code = "import sys; from geoc.ir.text import print_model; print('lark' in sys.modules)"
    assert run(code, "") == "False"


def test_threads_parse_side_by_side() -> None:
    wanted = {p: structural_hash(load_model(p)) for p in BLOCK.parent.glob("*.gir")}
    wrong: list[str] = []

    def work() -> None:
        for _ in range(10):
            for path, digest in wanted.items():
                if structural_hash(load_model(path)) != digest:
                    wrong.append(path.name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
