"""The command as a process: exit codes, what goes where, errors on one line, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.ir.equal import difference
from geoc.ir.text import load_model
from geoc.lowering.targets import get_target
from geoc.passes.pipelines import level_items, parse
from geoc.tools.api import load

from .conftest import SOURCE, Run
from .toys import embedding, finish, relu_chain


def test_compiles_checks_and_sums_up(run_geoc: Run, chain_file: Path) -> None:
    done = run_geoc("chain.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("chain.onnx -> chain.geoc.onnx   target cpu (onnxruntime ")
    assert re.search(r"   -O2   \d+\.\d s$", lines[0])
    assert re.match(r"graph     \d+ -> \d+ nodes, [\d.]+ -> [\d.]+ MB, opset 17$", lines[1])
    assert any(re.match(r"accuracy  CHECKED  .* shapes 2x4 3x4$", line) for line in lines)
    assert "speed     NOT MEASURED" in lines
    again = lines[-1].removeprefix("again     ")
    assert shlex.split(again)[:2] == ["geoc", "chain.onnx"]
    onnx.checker.check_model(onnx.load(chain_file.with_name("chain.geoc.onnx")))


def test_the_again_line_does_the_same(run_geoc: Run, chain_file: Path) -> None:
    first = run_geoc("chain.onnx", "-O1", "-o", "a b.onnx", "--skip", "cse", "--seed", "7")
    data = (chain_file.parent / "a b.onnx").read_bytes()
    (chain_file.parent / "a b.onnx").unlink()
    again = shlex.split(first.stdout.splitlines()[-1].removeprefix("again     "))
    second = run_geoc(*again[1:])
    assert second.returncode == 0
    assert (chain_file.parent / "a b.onnx").read_bytes() == data


def test_no_check_says_so(run_geoc: Run, chain_file: Path) -> None:
    assert "accuracy  NOT CHECKED  --check=off" in run_geoc("chain.onnx", "--check=off").stdout


def test_level_3_says_that_it_is_2(run_geoc: Run, chain_file: Path) -> None:
    assert "-O3 is -O2 here" in run_geoc("chain.onnx", "-O3", "--check=off").stdout


def test_quiet_prints_nothing(run_geoc: Run, chain_file: Path) -> None:
    done = run_geoc("chain.onnx", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verbose_numbers_every_rewrite(run_geoc: Run, chain_file: Path, wrong_plugin: Path) -> None:
    done = run_geoc("chain.onnx", "-v", "--plugin", wrong_plugin, "--passes", "wrong", "--check=off",
                    "--bisect-limit", 2)  # fmt: skip
    assert done.stderr.splitlines() == [
        "BISECT: 1 run wrong - @ /relu_0",
        "BISECT: 2 run wrong - @ /relu_1",
    ]


def test_wrong_results_exit_1_and_write_nothing(run_geoc: Run, chain_file: Path, wrong_plugin: Path) -> None:
    text = wrong_plugin.read_text()
    wrong_plugin.write_text(text.replace("    fault", "    required: ClassVar[bool] = True\n    fault"))
    command = ["chain.onnx", "--plugin", "wrong_plugin.py", "--passes", "wrong", "-o", "out.onnx"]
    done = run_geoc(*command)
    assert done.returncode == 1
    assert re.search(r"^accuracy  WRONG  output 'y': error .* nothing was written$", done.stdout, re.M)
    quiet = run_geoc(*command, "-q")
    assert (quiet.returncode, quiet.stdout) == (1, "")
    assert quiet.stderr.startswith("geoc: chain.onnx: wrong: ") and quiet.stderr.count("\n") == 1
    assert not (chain_file.parent / "out.onnx").exists()


def bad_models(folder: Path) -> None:
    """Files that are no models, each named after what is wrong."""
    good = relu_chain().SerializeToString()
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "truncated.onnx").write_bytes(good[:-20])
    (folder / "text.onnx").write_bytes(b"hello, this is not a protobuf")
    (folder / "bad.gir").write_text('geoc 1\nopset "" 17\n\ngraph @main(%x: f32[2]) -> (%y: f32[2]) {\n  %y = = \n}\n')
    (folder / "bad.rules").write_text("rule a {\n  match %y = Nonsense(%x)\n}\n")
    (folder / "bad_plugin.py").write_text("x = 1\nx.y()\n")
    model = relu_chain()
    model.graph.node[0].input[0] = "ghost"
    (folder / "undefined.onnx").write_bytes(model.SerializeToString())
    (folder / "folder.onnx").mkdir()
    external = relu_chain()
    tensor = external.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="gone.bin")
    (folder / "external.onnx").write_bytes(external.SerializeToString())


BAD = [
    (["missing.onnx"], r"missing\.onnx: No such file"),
    (["empty.onnx"], r"empty\.onnx: .*empty"),
    (["truncated.onnx"], r"truncated\.onnx: "),
    (["text.onnx"], r"text\.onnx: "),
    (["folder.onnx"], r"folder\.onnx: a folder that is no model"),
    (["bad.gir"], r"bad\.gir: (line )?5"),
    (["undefined.onnx"], r"undefined\.onnx: .*ghost"),
    (["external.onnx"], r"gone\.bin"),
    (["chain.onnx", "--rules", "bad.rules"], r"bad\.rules: (line )?\d"),
    (["chain.onnx", "--rules", "none.rules"], r"none\.rules: No such file"),
    (["chain.onnx", "--plugin", "bad_plugin.py"], r"bad_plugin\.py: line 2: AttributeError"),
    (["chain.onnx", "--plugin", "none.py"], r"none\.py: No such file"),
    (["chain.onnx", "--passes", "dse"], r"--passes: column 1: there is no pass 'dse'; did you mean dce"),
    (["chain.onnx", "--passes", "dce,fold{x=1}"], r"--passes: column 5: pass fold has no option 'x'"),
    (["chain.onnx", "--passes", "dce,,fold"], r"--passes: column 5: expected the name"),
    (["chain.onnx", "--skip", "nothing_*"], r"--skip: no pass or rule is called 'nothing_\*'"),
    (["chain.onnx", "--only", "fols"], r"--only: .* did you mean fold"),
    (["chain.onnx", "--target", "cpi"], r"no target 'cpi'; did you mean cpu"),
    (["chain.onnx", "--shape", "x=1,2,3"], r"--shape: input 'x' has 2 dimensions, not 3"),
    (["chain.onnx", "--shape", "x=1,5"], r"--shape: input 'x' has the fixed size 4 at axis 1"),
    (["chain.onnx", "--shape", "M=3"], r"--shape: .*no input and no symbolic dimension 'M'.*symbols: N"),
    (["chain.onnx", "--shape", "N=3:2:1"], r"--shape: the range 3:2:1 is not in order"),
    (["chain.onnx", "--opset", "999"], r"999"),
    (["chain.onnx", "-o", "out.xml"], r"out\.xml: the suffix '\.xml' says nothing"),
    (["chain.onnx", "-o", "chain.onnx"], r"chain\.onnx: would overwrite the input"),
    (["chain.onnx", "-o", "./chain.onnx"], r"would overwrite the input"),
    (["chain.onnx", "-o", "link.onnx"], r"would overwrite the input"),
    (["chain.onnx", "-o", "no/where/out.onnx"], r"no/where: no such folder"),
    (["chain.onnx", "-o", "out.onnx", "--report", "no/where/r.json"], r"no/where"),
    (["chain.onnx", "--remarks", "no/r.jsonl"], r"no/r\.jsonl: No such file"),
    (["chain.onnx", "--chek=off"], r"unknown option --chek; did you mean --check"),
    (["dump", "chain.onnx", "-o", "x.onnx"], r"x\.onnx: dump writes text"),
    (["rules", "no_such_rule"], r"no pass or rule is called 'no_such_rule'"),
    (["explain"], r"give one model: geoc explain MODEL"),
    (["match", "chain.onnx"], r"give a rule or a pattern in quotes, and a model"),
    (["match", "nope", "chain.onnx"], r"RULE: there is no rule 'nope'"),
    (["match", "Softmx(%x)", "chain.onnx"], r"RULE: 1:1: unknown operator Softmx; did you mean Softmax"),
    (["explain", "chain.onnx", "--node", "nope"], r"--node: no node is at 'nope' in the model"),
    (["explain", "chain.onnx", "--rule", "nope"], r"--rule: there is no rule 'nope'"),
    (["targets", "a100x"], r"no target 'a100x'"),
]  # fmt: skip


@pytest.fixture(scope="module")
def bad_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    onnx.save(relu_chain(), folder / "chain.onnx")
    (folder / "link.onnx").symlink_to("chain.onnx")
    bad_models(folder)
    return folder


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_use_and_bad_input_get_one_line(
    words: list[str], message: str, bad_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from geoc.tools.cli import main

    monkeypatch.chdir(bad_folder)
    before = {path: path.stat().st_mtime_ns for path in bad_folder.rglob("*")}
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"geoc: error: [^\n]+\n", err), err
    assert re.search(message, err), err
    assert "Traceback" not in err and "fault in geoc" not in err
    assert {path: path.stat().st_mtime_ns for path in bad_folder.rglob("*")} == before


def test_errors_leave_the_process_with_2(run_geoc: Run) -> None:
    done = run_geoc("missing.onnx")
    assert done.returncode == 2
    assert done.stderr == "geoc: error: missing.onnx: No such file or directory\n"
    assert run_geoc().returncode == 2


def test_a_fault_in_a_pass_is_no_traceback(run_geoc: Run, chain_file: Path) -> None:
    (chain_file.parent / "p.py").write_text(
        "from geoc.passes.base import Pass\n"
        "class Bad(Pass):\n"
        "    name = 'bad'\n"
        "    def run(self, model, ctx):\n"
        "        return 1 / 0\n"
    )
    done = run_geoc("chain.onnx", "--plugin", "p.py", "--passes", "bad")
    assert done.returncode == 2
    assert done.stderr == (
        "geoc: error: BrokenPass: pass bad: ZeroDivisionError: division by zero "
        "(this is a fault in geoc; --debug shows where; --skip bad goes around it)\n"
    )
    debug = run_geoc("chain.onnx", "--plugin", "p.py", "--passes", "bad", "--debug")
    assert debug.returncode != 0 and "Traceback" in debug.stderr and "p.py" in debug.stderr


def test_a_full_disk_is_one_line_and_leaves_nothing(run_geoc: Run, chain_file: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    done = run_geoc("chain.onnx", "--check=off", "--remarks", "/dev/full")
    assert (done.returncode, done.stderr) == (2, "geoc: error: /dev/full: No space left on device\n")
    link = chain_file.parent / "full.gir"
    link.symlink_to("/dev/full")
    done = run_geoc("chain.onnx", "--check=off", "-o", "full.gir")
    assert done.returncode == 2
    assert re.fullmatch(r"geoc: error: .*No space left on device\n", done.stderr)
    assert sorted(p.name for p in chain_file.parent.iterdir()) == ["chain.onnx", "full.gir"]


def test_a_file_that_cannot_grow_leaves_nothing(chain_file: Path) -> None:
    """As on a full disk, the write of the model fails half-way."""
    resource = pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-m", "geoc", "chain.onnx", "--check=off", "-o", "out.onnx"],
        cwd=chain_file.parent,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", "GEOC_CACHE": os.devnull},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (2, "geoc: error: out.onnx: File too large\n")
    assert sorted(p.name for p in chain_file.parent.iterdir()) == ["chain.onnx"]


def test_what_is_read_is_never_written(run_geoc: Run, chain_file: Path) -> None:
    folder = chain_file.parent
    assert run_geoc("chain.onnx", "--check=off", "--dump-dir", "steps").returncode == 0
    (folder / "chain.json").write_bytes(chain_file.read_bytes())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for words in (
        ["chain.json", "--report", "chain.json"],
        ["chain.onnx", "--remarks", "chain.onnx"],
        ["steps/000_input.gir", "--dump-dir", "steps"],
        ["dump", "steps/000_input.gir", "-o", "steps/000_input.gir"],
    ):
        done = run_geoc(*words, *([] if words[0] == "dump" else ["-o", "out.onnx"]))
        assert done.returncode == 2 and "would overwrite the input" in done.stderr, done.stderr
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_read_only_folder_is_one_line(run_geoc: Run, chain_file: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = chain_file.parent / "locked"
    folder.mkdir(mode=0o555)
    done = run_geoc("chain.onnx", "--check=off", "-o", "locked/out.onnx")
    assert done.returncode == 2 and "Permission denied" in done.stderr and done.stderr.count("\n") == 1


def test_gir_and_back_is_the_same_model(run_geoc: Run, chain_file: Path) -> None:
    folder = chain_file.parent
    assert run_geoc("chain.onnx", "-O0", "-o", "chain.gir").returncode == 0
    assert run_geoc("chain.gir", "-O0", "-o", "back.onnx").returncode == 0
    assert difference(load(folder / "chain.onnx"), load(folder / "back.onnx")) is None
    dump = run_geoc("dump", "chain.onnx")
    assert dump.returncode == 0 and dump.stderr == ""
    assert "Relu" in dump.stdout
    assert run_geoc("dump", "chain.onnx", "-o", "dump.gir").stdout == ""
    assert difference(load_model(str(folder / "dump.gir")), load(folder / "chain.onnx")) is None


def test_passes_prints_what_passes_takes(run_geoc: Run, chain_file: Path) -> None:
    text = run_geoc("passes", "-O2", "--target", "cpu").stdout.strip()
    assert parse(text) == level_items(2, get_target("cpu").pipeline)
    again = run_geoc("passes", "--passes", text).stdout.strip()
    assert again == text
    first = run_geoc("chain.onnx", "-O2", "-o", "a.onnx", "--check=off")
    second = run_geoc("chain.onnx", "--passes", text, "-o", "b.onnx", "--check=off")
    assert first.returncode == second.returncode == 0
    written = [onnx.load(chain_file.parent / name) for name in ("a.onnx", "b.onnx")]
    for model in written:  # the metadata has the commands
        del model.metadata_props[:]
    assert written[0].SerializeToString() == written[1].SerializeToString()


def test_lists(run_geoc: Run) -> None:
    listed = run_geoc("passes").stdout
    for name in ("dce", "fold", "cse"):
        assert re.search(rf"^{name} +\w", listed, re.M)
    assert "Options:" in run_geoc("passes", "fold").stdout
    assert re.search(r"^cpu +onnxruntime +\w", run_geoc("targets").stdout, re.M)
    assert re.search(r"^fastest-cpu +either +\w", run_geoc("targets").stdout, re.M)
    assert re.search(r"^ +writes +onnx, gir, gguf, ort, run, triton; ONNX up to opset \d+", run_geoc("targets", "cpu").stdout, re.M)


RULES = '''
rule relu_twice {
  """Relu of Relu is Relu."""
  match   %y = Relu(Relu(%x))
  rewrite %y = Relu(%x)
}
'''


def double_relu(path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="/first"),
        helper.make_node("Relu", ["a"], ["b"], name="/second"),
        helper.make_node("Neg", ["b"], ["c"], name="/neg"),
        helper.make_node("Relu", ["c"], ["y"], name="/third"),
    ]
    onnx.save(finish(nodes, [("x", TensorProto.FLOAT, [4])], [("y", TensorProto.FLOAT, [4])]), path)


def test_capability_rows_are_listed_for_a_target_and_shown_by_name(run_geoc: Run, tmp_path: Path) -> None:
    assert "trt-limits" not in run_geoc("rules").stdout
    listed = run_geoc("rules", "--target", "a100").stdout
    assert re.search(r"^trt-limits +reduce_axes +The parser wants the axes", listed, re.MULTILINE)
    text = run_geoc("rules", "reduce_axes").stdout  # as a message names it, without the target
    assert text.startswith("# trt-limits: ") and text.endswith('  refuse "axes must be constant"\n}\n')
    mine = 'rule relu {\n  """Not here."""\n  match  %y = Relu(%x)\n  refuse "no"\n}\n'
    (tmp_path / "mine.rules").write_text(mine)
    onnx.save(relu_chain(), tmp_path / "m.onnx")
    assert "mine            relu" in run_geoc("rules", "--rules", "mine.rules").stdout
    checked = run_geoc("rulecheck", "mine.rules")
    assert checked.returncode == 0 and "1 rules: 0 right, 1 that refuse" in checked.stdout
    explained = run_geoc("explain", "m.onnx", "--rules", "mine.rules")
    assert explained.returncode == 0 and "mine.relu" not in explained.stdout


def test_user_rules_are_listed_run_traced_and_explained(run_geoc: Run, tmp_path: Path) -> None:
    double_relu(tmp_path / "m.onnx")
    (tmp_path / "mine.rules").write_text(RULES)
    listed = run_geoc("rules", "--rules", "mine.rules").stdout
    assert re.search(r"^mine +relu_twice +Relu of Relu is Relu\.", listed, re.M)
    text = run_geoc("rules", "--rules", "mine.rules", "relu_twice").stdout
    assert text == f"# mine: mine.rules:2\n{RULES.strip()}\n"
    done = run_geoc("m.onnx", "--rules", "mine.rules", "-O0", "-o", "o.onnx", "--dump-dir", "steps")
    assert "rewrites  1: mine.relu_twice 1" in done.stdout and "CHECKED" in done.stdout
    (line,) = (tmp_path / "steps" / "trace.jsonl").read_text().splitlines()
    trace = json.loads(line)
    assert (trace["pass"], trace["rule"], trace["at"]) == ("mine", "relu_twice", "mine.rules:2")
    assert sorted(loc for node in trace["before"] for loc in node["loc"]) == ["/first", "/second"]
    assert "Relu(" in trace["after"][0]
    assert sorted(p.name for p in (tmp_path / "steps").iterdir()) == ["000_input.gir", "001_mine.gir", "trace.jsonl"]
    explained = run_geoc("explain", "m.onnx", "--rules", "mine.rules", "--rule", "relu_twice", "-O0").stdout
    assert re.search(r"^matches  /second: Relu, Relu$", explained, re.M)
    assert re.search(r"^misses   /third: .*Neg", explained, re.M)
    at = run_geoc("explain", "m.onnx", "--rules", "mine.rules", "--rule", "relu_twice", "-O0", "--node", "/third")
    assert "matches" not in at.stdout and "misses   /third" in at.stdout
    skipped = run_geoc("m.onnx", "--rules", "mine.rules", "-O0", "-o", "o.onnx", "--skip", "relu_twice")
    assert "rewrites" not in skipped.stdout


def test_only_keeps_what_it_names(run_geoc: Run, tmp_path: Path) -> None:
    double_relu(tmp_path / "m.onnx")
    (tmp_path / "mine.rules").write_text(RULES)
    done = run_geoc("m.onnx", "--rules", "mine.rules", "--only", "relu_twice", "--check=off", "--time-passes")
    assert "rewrites  1: mine.relu_twice 1" in done.stdout
    assert " mine " in done.stderr and " cse " not in done.stderr


def test_looking_inside(run_geoc: Run, chain_file: Path) -> None:
    folder = chain_file.parent
    done = run_geoc("chain.onnx", "--time-passes", "--print-after", "*", "--remarks", "remarks.jsonl",
                    "--report", "report.json", "--dump-dir", "steps")  # fmt: skip
    assert done.returncode == 0
    assert re.search(r"^pass +calls +ms +nodes +rewrites$", done.stderr, re.M)
    report = json.loads((folder / "report.json").read_text())
    assert report["schema"] == 1 and report["ok"] is True
    assert report["accuracy"]["status"] == "CHECKED" and report["accuracy"]["shapes"] == ["2x4", "3x4"]
    assert report["speed"] == {"status": "NOT MEASURED"}
    assert report["pipeline"] == run_geoc("passes", "-O2").stdout.strip()
    assert report["timing"]["nodes_before"] == report["before"]["nodes"] == 9
    assert f"{report['before']['nodes']:,} -> {report['after']['nodes']:,} nodes" in done.stdout
    assert report["files"] == [str(folder / "chain.geoc.onnx")]
    assert report["after"]["bytes"] == os.path.getsize(folder / "chain.geoc.onnx")
    assert report["again"] in done.stdout
    remarks = [json.loads(line) for line in (folder / "remarks.jsonl").read_text().splitlines()]
    assert all(r["kind"] in ("applied", "missed", "refused") and r["pass"] for r in remarks)
    applied = sum(r["kind"] == "applied" for r in remarks)
    assert applied == sum(report["rewrites"].values())
    traced = (folder / "steps" / "trace.jsonl").read_text().splitlines()
    assert len(traced) <= applied
    for dump in (folder / "steps").glob("*.gir"):
        load_model(str(dump))


def test_shape_fixes_the_model(run_geoc: Run, tmp_path: Path) -> None:
    onnx.save(embedding(), tmp_path / "e.onnx")
    done = run_geoc("e.onnx", "--shape", "batch=4,seq=6", "-o", "f.onnx")
    assert done.returncode == 0 and "shapes 4x6" in done.stdout
    model = onnx.load(tmp_path / "f.onnx")
    dims = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input]
    assert dims == [[4, 6], [4, 6]]
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [4, 6, 3]
    ranged = run_geoc("e.onnx", "--shape", "batch=1:4:8", "-o", "g.onnx")
    assert "shapes 4x16 1x25" in ranged.stdout
    assert onnx.load(tmp_path / "g.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_opset_is_obeyed(run_geoc: Run, chain_file: Path) -> None:
    assert run_geoc("chain.onnx", "--opset", "21", "-o", "o.onnx").returncode == 0
    assert onnx.load(chain_file.parent / "o.onnx").opset_import[0].version == 21


def test_weights_beside_the_model(run_geoc: Run, tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = finish([node], [("x", TensorProto.FLOAT, [2, 64])], [("y", TensorProto.FLOAT, [2, 64])], [weight])
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    before = (tmp_path / "m.bin").read_bytes()
    for kind, files in (("reuse", ["r.onnx"]), ("copy", ["c.onnx", "c.onnx.data"]), ("inline", ["i.onnx"])):
        assert run_geoc("m.onnx", f"--weights={kind}", "-o", files[0]).returncode == 0
        assert all((tmp_path / name).exists() for name in files)
    assert (tmp_path / "i.onnx").stat().st_size > 64 * 64 * 4 > (tmp_path / "r.onnx").stat().st_size
    reused = run_geoc("m.onnx", "-o", "r.onnx", "--report", "r.json").stdout
    assert "note      needs the source's data: m.bin; --weights=copy writes its own" in reused
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["after"]["bytes"] == (tmp_path / "r.onnx").stat().st_size + len(before)
    assert [os.path.basename(path) for path in report["reused"]] == ["m.bin"]
    assert "needs the source" not in run_geoc("m.onnx", "-o", "c.onnx", "--weights=copy").stdout
    # The data file is input as well: an output that would replace it is refused.
    (tmp_path / "m.onnx.data").hardlink_to(tmp_path / "m.bin")
    refused = run_geoc("m.onnx", "--weights=copy", "-o", "m.onnx")
    assert refused.returncode == 2 and "overwrite" in refused.stderr
    os.rename(tmp_path / "m.onnx.data", tmp_path / "n.onnx.data")
    refused = run_geoc("m.onnx", "--weights=copy", "-o", "n.onnx")
    assert refused.returncode == 2 and "overwrite" in refused.stderr
    assert (tmp_path / "m.bin").read_bytes() == before


def test_colour_only_on_a_terminal(chain_file: Path) -> None:
    pty = pytest.importorskip("pty")

    def run(**env: str) -> str:
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "geoc", "chain.onnx", "--check=off"],
            cwd=chain_file.parent,
            env={**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "PYTHONPATH": str(SOURCE), **env},
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        process.wait(60)
        text = b""
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:
                break
            if not chunk:
                break
            text += chunk
        os.close(leader)
        return text.decode()

    assert "\x1b[" in run(TERM="xterm")
    assert "\x1b[" not in run(TERM="xterm", NO_COLOR="1")
    assert "\x1b[" not in run(TERM="dumb")


def test_a_closed_pipe_is_no_error(chain_file: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m geoc dump chain.onnx | head -c 10"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=chain_file.parent,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_control_c_is_one_line(chain_file: Path) -> None:
    (chain_file.parent / "slow.py").write_text(
        "import sys, time\nfrom geoc.passes.base import Pass\n"
        "class Slow(Pass):\n    name = 'slow'\n    def run(self, model, ctx):\n"
        "        print('running', flush=True)\n        time.sleep(30)\n        return False\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "geoc", "chain.onnx", "--plugin", "slow.py", "--passes", "slow", "--check=off"],
        cwd=chain_file.parent,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell makes what it runs in the background ignore the signal, and this suite may be that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None and process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "geoc: interrupted\n"
    assert not (chain_file.parent / "chain.geoc.onnx").exists()


def test_help_is_quick_and_needs_no_numpy(run_geoc: Run) -> None:
    script = (
        "import sys; from geoc.tools.cli import main; main(['--help']); "
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'lark', 'networkx', 'argparse', 'importlib.metadata'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    loaded = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert "geoc bert.onnx" in loaded.stdout
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        assert run_geoc("--help").returncode == 0
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.15


def test_compiling_unchecked_imports_nothing_heavy(chain_file: Path) -> None:
    script = (
        "import sys; from geoc.tools.cli import main; "
        "code = main(['chain.onnx', '--check=off', '-q']); "
        "heavy = {'onnx', 'onnxruntime', 'lark', 'networkx', 'argparse', 'importlib.metadata'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy or code else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    for _ in range(2):  # the first run may fill caches
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=chain_file.parent, env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr


def test_a_mistyped_verb_is_recognised(run_geoc: Run) -> None:
    done = run_geoc("pases")
    assert done.returncode == 2
    assert done.stderr == "geoc: error: pases: no such file, and no such verb; did you mean `geoc passes`?\n"
    assert "verb" not in run_geoc("pases.onnx").stderr


def test_a_type_that_no_operator_takes_is_bad_input(run_geoc: Run, tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.BOOL, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Erf", ["x"], ["y"], name="odd")], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "odd.onnx")
    done = run_geoc("odd.onnx", "-O0")
    assert done.returncode == 2
    assert done.stderr.startswith("geoc: error: odd.onnx: ") and done.stderr.count("\n") == 1
    assert "Erf" in done.stderr and "bool" in done.stderr
    assert not (tmp_path / "odd.geoc.onnx").exists()
