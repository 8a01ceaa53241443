"""The search itself, on models where it is known what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from geoc.tools.comparing.blame import MAX_SKIPPED, first_bad

from ..conftest import Run
from ..toys import relu_chain

QUIET_PASS = '''
from dataclasses import dataclass
from typing import ClassVar

from geoc.ir.builder import Builder
from geoc.ir.ops import op
from geoc.passes.base import Pass


@dataclass(frozen=True)
class Quiet(Pass):
    """Relu becomes Neg, and nobody is asked."""

    name: ClassVar[str] = "quiet"

    def run(self, model, ctx):
        changed = False
        for node in list(model.graph.index.get(op("Relu"), ())):
            if "/relu_2" in node.loc:
                node.output.replace_with(Builder(model.graph, node, node.loc).op("Neg", node.inputs[0]))
                model.graph.erase(node)
                changed = True
        return changed
'''

OVER_ANOTHER = QUIET_PASS.replace("Relu", "Max").replace('"quiet"', '"over"').replace("Quiet", "Over") + '''

@dataclass(frozen=True)
class Harmless(Pass):
    """Relu becomes Max with 0, which is the same."""

    name: ClassVar[str] = "harmless"

    def run(self, model, ctx):
        changed = False
        for node in list(model.graph.index.get(op("Relu"), ())):
            if ctx.allow(self.name, "", node):
                build = Builder(model.graph, node, node.loc)
                node.output.replace_with(build.op("Max", node.inputs[0], build.const(0.0, node.inputs[0].dtype)))
                model.graph.erase(node)
                changed = True
        return changed
'''

CRASHING_PASS = '''
from dataclasses import dataclass
from typing import ClassVar

from geoc.ir.ops import op
from geoc.passes.base import Pass


@dataclass(frozen=True)
class Crashing(Pass):
    """Fails at the third Relu."""

    name: ClassVar[str] = "crashing"

    def run(self, model, ctx):
        for node in list(model.graph.index.get(op("Relu"), ())):
            if ctx.allow(self.name, "", node) and "/relu_2" in node.loc:
                raise IndexError("list index out of range")
        return False
'''


@pytest.mark.parametrize("bad", [1, 2, 57, 99, 100])
def test_first_bad_finds_every_place(bad: int) -> None:
    asked: list[int] = []

    def is_good(number: int) -> bool:
        asked.append(number)
        return number < bad

    assert first_bad(is_good, 0, 100) == (bad - 1, bad)
    assert len(asked) == len(set(asked)) <= 7 and not {0, 100} & set(asked)


@pytest.mark.parametrize("skipped", [{50}, {49, 50, 51}, set(range(40, 60)), {57}, {56, 57}])
def test_what_cannot_be_judged_is_gone_around(skipped: set[int]) -> None:
    good, bad = first_bad(lambda n: None if n in skipped else n < 57, 0, 100)
    assert good < 57 <= bad
    assert set(range(good + 1, bad)) <= skipped
    assert good == max(n for n in range(57) if n not in skipped)
    assert bad == min(n for n in range(57, 101) if n not in skipped)


def test_it_gives_up_where_nothing_can_be_judged() -> None:
    asked: list[int] = []
    assert first_bad(lambda n: asked.append(n), 0, 10_000) == (0, 10_000)
    assert len(asked) == MAX_SKIPPED + 1


def test_nothing_is_wrong(run_geoc: Run, chain_file: Path) -> None:
    done = run_geoc("bisect", chain_file)
    assert done.returncode == 0 and "nothing is wrong with all" in done.stdout


def test_the_one_wrong_rewrite_is_confirmed(run_geoc: Run, chain_file: Path, wrong_plugin: Path) -> None:
    """The pass changes every Relu and errs at one: all but that one are right, the one is not."""
    done = run_geoc("bisect", chain_file, "--plugin", wrong_plugin, "--passes", "wrong", "--json")
    found = json.loads(done.stdout)
    assert (found["status"], found["bad"], found["good"], found["total"]) == ("rewrite", 3, 2, 4)
    assert found["source"] == ["/relu_2"] and found["alone"]["kind"] == "good" and found["without_rule"] is None
    assert "Relu(" in found["before"] and "Max(" in found["after"]
    assert found["local"]["largest"] == pytest.approx(1.0, abs=0.2)
    assert found["at"].startswith(str(wrong_plugin))


def test_a_pass_that_asks_nobody_is_found_as_a_pass(run_geoc: Run, chain_file: Path, tmp_path: Path) -> None:
    (tmp_path / "quiet.py").write_text(QUIET_PASS)
    done = run_geoc("bisect", chain_file, "--plugin", "quiet.py", "--passes", "quiet,dce", "--json")
    found = json.loads(done.stdout)
    assert (found["status"], found["pass"], found["rule"]) == ("pass", "quiet", "")
    assert found["alone"]["kind"] == "good" and "Neg(" in found["after"] and "Relu(" in found["before"]


def test_a_pass_that_goes_wrong_over_a_right_rewrite_is_found(run_geoc: Run, chain_file: Path, tmp_path: Path) -> None:
    """Without the third rewrite of `harmless` all is right; what is wrong is what `over` makes of it, unasked."""
    (tmp_path / "over.py").write_text(OVER_ANOTHER)
    words = ("--plugin", "over.py", "--passes", "harmless,dce,over", "--json")
    found = json.loads(run_geoc("bisect", chain_file, *words).stdout)
    assert (found["status"], found["pass"], found["rule"]) == ("pass", "over", "")
    assert "Max(" in found["before"] and "Neg(" in found["after"] and found["alone"]["kind"] == "good"
    assert any("rewrite 3" in note and "harmless" in note for note in found["notes"])
    reduced = json.loads(run_geoc("reduce", chain_file, *words, "-o", "small.gir").stdout)
    assert reduced["nodes_after"] == 1 and reduced["right_without"] == "harmless"
    assert run_geoc("bisect", "small.gir", *words).returncode == 1


def test_a_compilation_that_fails_is_bisected_too(run_geoc: Run, chain_file: Path, tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING_PASS)
    words = ("--plugin", "crashing.py", "--passes", "crashing", "--json")
    found = json.loads(run_geoc("bisect", chain_file, *words, "--test", "crash").stdout)
    assert found["outcome"]["kind"] == "crash crashing" and found["bad"] == 3
    done = run_geoc("reduce", chain_file, *words, "--test", "crash", "-o", "small.gir")
    assert json.loads(done.stdout)["nodes_after"] == 1, done.stderr
    assert "Relu(" in (tmp_path / "small.gir").read_text()


def test_a_command_is_a_test(run_geoc: Run, chain_file: Path, wrong_plugin: Path, tmp_path: Path) -> None:
    """It looks for Max in the file; 0 good, 125 cannot say, 1 bad."""
    script = tmp_path / "look.py"
    script.write_text(
        "import sys, onnx\n"
        "ops = [n.op_type for n in onnx.load(sys.argv[1]).graph.node]\n"
        "sys.exit(0 if ops.count('Max') < 2 else 125 if ops.count('Max') == 2 else 1)\n"
    )
    python = f"{__import__('sys').executable} {script} {{}}"
    words = ("--plugin", wrong_plugin, "--passes", "wrong", "--json", "--test")
    found = json.loads(run_geoc("bisect", chain_file, *words, python).stdout)
    assert (found["good"], found["bad"]) == (1, 3) and len(found["suspects"]) == 2
    assert found["outcome"]["kind"] == "exit 1"
    missing = run_geoc("bisect", chain_file, *words, "no-such-command-here")
    assert missing.returncode == 2 and "--test" in missing.stderr


def test_a_test_that_changes_its_mind_is_an_error(run_geoc: Run, chain_file: Path, tmp_path: Path) -> None:
    script = tmp_path / "moody.sh"
    script.write_text("test -e seen && rm seen && exit 1\ntouch seen\n")
    done = run_geoc("bisect", chain_file, "--test", f"cd {tmp_path}; sh moody.sh #")
    assert done.returncode == 2 and "not steady" in done.stderr


def test_wrong_without_any_pass(run_geoc: Run, chain_file: Path) -> None:
    done = run_geoc("bisect", chain_file, "--test", "false #")
    assert done.returncode == 1 and "wrong without any pass" in done.stdout


def test_openvino_runs_what_is_compiled_for_it(run_geoc: Run, chain_file: Path, wrong_plugin: Path) -> None:
    pytest.importorskip("openvino")
    done = run_geoc("bisect", chain_file, "--test", "openvino")
    assert done.returncode == 2 and "--target=openvino-cpu" in done.stderr
    words = ("--plugin", wrong_plugin, "--passes", "wrong,@O1", "--target=openvino-cpu", "--test", "openvino", "--json")
    found = json.loads(run_geoc("bisect", chain_file, *words).stdout)
    assert (found["pass"], found["bad"]) == ("wrong", 3)
    assert run_geoc("bisect", chain_file, "--target=openvino-cpu", "--test", "openvino").returncode == 0


def test_bad_use(run_geoc: Run, chain_file: Path) -> None:
    for words, said in (
        (("bisect",), "give one model"), (("bisect", chain_file, "-o", "x.onnx"), "-o FILE.gir"),
        (("reduce", chain_file, "--time", "soon"), "--time"), (("bisect", chain_file, "--time", "2m"), "no option --time"),
        (("bisect", chain_file, "--target", "fastest-cpu"), "name one"),
    ):  # fmt: skip
        done = run_geoc(*words)
        assert done.returncode == 2 and said in done.stderr, done.stderr


def test_it_ends_when_it_has_to(run_geoc: Run, tmp_path: Path, wrong_plugin: Path) -> None:
    """What there is when it is over is a model that fails."""
    onnx.save(relu_chain(40), tmp_path / "long.onnx")
    words = ("--plugin", wrong_plugin, "--passes", "wrong")
    done = run_geoc("reduce", "long.onnx", *words, "--time", "0.01s", "--json", "-o", "small.onnx")
    found = json.loads(done.stdout)
    assert found["ended"] == "the time was over" and found["nodes_after"] == found["nodes_before"]
    assert run_geoc("bisect", "small.onnx", *words).returncode == 1
