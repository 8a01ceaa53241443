"""Recipe files: what they mean beside the command line, and one clear line for what they cannot mean."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import geoc
from geoc.ir.errors import UsageError
from geoc.passes.pipelines import names, parse
from geoc.tools.args import read
from geoc.tools.cli import main, settings_of
from geoc.tools.metric import Drop
from geoc.tools.recipes.amounts import amount_text, read_bytes
from geoc.tools.recipes.recipe import find_recipe, shipped

from .models import network, ops, samples, weights

TEXT = """
description = "Mine"
level = 3
precision = "int8"
goal = "size"
max-error = "5%"
max-drop = "1%"
skip = ["gemm"]
max-size = "3MB"
"""


def settings(tmp_path: Path, text: str, words: str = "") -> object:
    (tmp_path / "mine.toml").write_text(text)
    return settings_of(read(["m.onnx", "--recipe", str(tmp_path / "mine.toml"), *words.split()]))


def test_what_the_command_line_says_wins(tmp_path: Path) -> None:
    found = settings(tmp_path, TEXT)
    assert (found.level, found.precision, found.goal, found.max_error) == (3, "int8", "size", 0.05)  # type: ignore[attr-defined]
    assert found.skip == ("gemm",) and found.max_size == 3_000_000  # type: ignore[attr-defined]
    found = settings(tmp_path, TEXT, "-O2 --precision=int4 --goal=cost --skip=cse --max-size=1MiB")
    assert (found.level, found.precision, found.goal, found.skip) == (2, "int4", "cost", ("cse",))  # type: ignore[attr-defined]
    assert found.max_size == 2**20 and found.max_error == 0.05  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "error", "drop"),
    [
        ("", 0.05, None),
        ("--metric=m.py:f", None, Drop(0.01, True)),
        ("--max-error=2%", 0.02, None),
        ("--metric=m.py:f --max-drop=0.3", None, Drop(0.3)),
        ("--metric=m.py:f --max-error=2%", 0.02, None),
    ],
)
def test_one_budget_stands_for_the_other(words: str, error: float | None, drop: Drop | None, tmp_path: Path) -> None:
    found = settings(tmp_path, TEXT, words)
    assert (found.max_error, found.max_drop) == (error, drop)  # type: ignore[attr-defined]


def test_the_command_that_it_prints_means_the_same(tmp_path: Path) -> None:
    first = settings(tmp_path, TEXT, "--max-memory=50MB --goal=latency -o out.onnx")
    again = settings_of(read(shlex.split(first.command())[1:]))  # type: ignore[attr-defined]
    assert again == first and "--recipe=" in first.command()  # type: ignore[attr-defined]
    assert "--max-size=3MB" in first.command() and "--max-memory=50MB" in first.command()  # type: ignore[attr-defined]


def test_files_lie_beside_it(tmp_path: Path) -> None:
    text = 'description = "x"\nmetric = "m.py:f"\nrules = "r.rules"\ncalib = "/data/c.npz"\n'
    found = settings(tmp_path, text)
    assert found.metric == str(tmp_path / "m.py:f") and found.rules == (str(tmp_path / "r.rules"),)  # type: ignore[attr-defined]
    assert found.calib == "/data/c.npz"  # type: ignore[attr-defined]


BAD = [
    ('description = "x"\nprecison = "int8"\n', "line 2", "a recipe has no 'precison'; did you mean precision?"),
    ('description = "x"\nmax_error = "1%"\n', "line 2", "did you mean max-error?"),
    ('description = "x"\n\nlevel = "3"\n', "line 3", "level is a whole number, not text '3'"),
    ('description = "x"\nlevel = 4\n', "line 2", "level = 4 is not 0 or more, up to 3"),
    ('description = "x"\nmeasure = false\n', "line 2", "measure is true, or is left out; not true or false"),
    ('description = "x"\ngoal = "speed"\n', "line 2", "goal is one of latency, throughput, size, cost; not 'speed'"),
    ('description = "x"\nprecision = "int9"\n', "line 2", "no precision 'int9'; did you mean int8?"),
    ('description = "x"\nprecision = 8\n', "line 2", "no precision '8'"),
    ('description = "x"\nmax-error = "half"\n', "line 2", "max-error takes an error such as 1% or 0.01, not 'half'"),
    ('description = "x"\nmax-size = "10 parsecs"\n', "line 2", "max-size takes an amount of bytes"),
    ('description = "x"\nskip = 3\n', "line 2", "skip is text or a list of texts, not the number 3"),
    ('description = "x"\noutput = "o.onnx"\n', "line 2", "a recipe has no 'output'"),
    ('level = 2\n', "", "says no description"),
    ('description = "x"\npasses = "prune"\n', "line 2", "passes is a list of texts and tables, not text 'prune'"),
    ('description = "x"\npasses = [3]\n', "line 2", "passes holds texts and tables, not the number 3"),
    ('description = "x"\npasses = ["prune{left=}"]\n', "line 2", "expected a value"),
    ('description = "x"\npasses = ["@O2,prune"]\n', "line 2", "@O2 has no place here"),
    ('description = "x"\npasses = [{ left = 0.5 }]\n', "line 2", "a table of passes names one"),
    ('description = "x"\npasses = [{ pass = "prune", before = "a", after = "b" }]\n', "line 2", "before or after names one pass"),
    ('description = "x"\npasses = ["prun{left=0.5}"]\n', "line 2", "there is no pass 'prun'; did you mean prune"),
    ('description = "x"\npasses = ["prune{lft=0.5}"]\n', "line 2", "pass prune has no option 'lft'; did you mean left?"),
    ('description = "x"\npasses = [{ pass = "prune", left = 0.5, before = "gem" }]\n', "line 2", "before = 'gem' names no pass of the pipeline; did you mean gemm?"),
    ('description = "x"\n\n[[form]]\npasses = []\n\n[[form]]\nname = "a"\npass = []\n', "line 8", "form has no 'pass'; did you mean passes?"),
    ('description = "x"\n[[form]]\nprecision = "fp17"\n', "line 3", "no precision 'fp17'"),
    ('description = "x"\nform = 3\n', "line 2", "form is a list of tables"),
    ('description = "x\n', "", "is no TOML: "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), BAD, ids=[message for _, _, message in BAD])
def test_what_it_cannot_mean_is_one_line_with_its_place(
    text: str, line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, path, out = network(tmp_path / "m.onnx"), tmp_path / "mine.toml", tmp_path / "o.onnx"
    path.write_text(text)
    assert main([str(source), "--recipe", str(path), "-o", str(out), "--check=off"]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and str(path) in said and "\n" not in said and not out.exists()
    assert not line or f"{path}: {line}: " in said


def test_names_that_there_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(network(tmp_path / "m.onnx"))
    assert main([source, "--recipe=edgy"]) == 2
    assert "--recipe: no recipe 'edgy'; did you mean edge?" in capsys.readouterr().err
    assert main([source, "--recipe=fastest"]) == 2
    assert "there are edge, latency, llm, throughput, and files that end in .toml" in capsys.readouterr().err
    assert main([source, f"--recipe={tmp_path / 'none.toml'}"]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main([source, "--recipe=edge"]) == 2  # on a CPU, where integers need samples
    assert "w8a8 needs samples to measure on: --calib" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx"}


@pytest.mark.parametrize("name", shipped())
def test_those_that_are_shipped(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passes", name]) == 0
    text = capsys.readouterr().out
    assert text.strip() == find_recipe(name).text.strip()
    for target in ("cpu", "a100", "openvino-cpu"):
        assert main(["passes", "--recipe", name, "--target", target]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines and all(parse(line) for line in lines)  # each is what --passes takes
    assert main(["passes"]) == 0
    assert f"\n{name:<16}{find_recipe(name).description}\n" in capsys.readouterr().out


def pipeline(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(f'description = "x"\n{text}')
    assert main(["passes", "--recipe", str(path)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return line


def test_where_passes_go_and_whose_options_they_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def order(line: str) -> list[str]:
        return [step.name for step in names(parse(line))]

    assert main(["passes", "-O2"]) == 0
    plain = order(capsys.readouterr().out.strip())
    found = order(pipeline(tmp_path, 'passes = ["sparsify{share=0.5}"]\n', capsys))
    assert [name for name in found if name != "sparsify"] == plain
    assert plain.index("ort-forms") < len(plain) and found.index("attention") < found.index("sparsify") < found.index("ort-forms")
    found = order(pipeline(tmp_path, 'passes = [{ pass = "sparsify", share = 0.5, after = "gemm" }]\n', capsys))
    assert found[found.index("sparsify") - 1] == "gemm"
    line = pipeline(tmp_path, 'precision = "int8"\npasses = ["quantize{method=entropy}"]\n', capsys)
    (step,) = (step for step in names(parse(line)) if step.name == "quantize")
    assert dict(step.options)["method"] == "entropy" and dict(step.options)["rounding"] == "gptq"


def test_its_passes_run_and_are_counted(tmp_path: Path) -> None:
    source, data, made = network(tmp_path / "m.onnx"), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"
    path = tmp_path / "mine.toml"
    path.write_text('description = "Half"\npasses = ["prune{neurons=0.5}"]\n')
    report = geoc.compile(source, made, recipe=path, calib=data)
    assert report.ok and weights(made) == {"up": 64 * 128, "down": 128 * 64}
    assert report.recipe["name"] == "mine" and report.recipe["steps"] == ["prune"] and report.rewrites["prune"] == 1
    text = report.summary()
    assert "recipe    mine: Half" in text and "rewrites: prune 1" in text and "tried     prune{neurons=0.5}: " in text
    assert f"--recipe={path}" in report.again


def test_passes_of_the_command_line_stand_for_its_own(tmp_path: Path) -> None:
    source, made = network(tmp_path / "m.onnx"), tmp_path / "o.onnx"
    path = tmp_path / "mine.toml"
    path.write_text('description = "Half"\npasses = ["prune{neurons=0.5}"]\n')
    report = geoc.compile(source, made, recipe=path, passes="@O1")
    assert report.ok and weights(made)["up"] == 64 * 256 and not report.tried
    assert "the passes of recipe mine are left out: --passes says what runs" in report.notes


def test_options_alone_mean_what_they_do_elsewhere(tmp_path: Path) -> None:
    source, data = network(tmp_path / "m.onnx"), samples(tmp_path / "s.npz")
    path = tmp_path / "mine.toml"
    path.write_text('description = "x"\nprecision = "int8"\nmax-error = 0.5\n')
    mine = geoc.compile(source, tmp_path / "a.onnx", recipe=path, calib=data)
    plain = geoc.compile(source, tmp_path / "b.onnx", precision="int8", max_error=0.5, calib=data)
    assert mine.pipeline == plain.pipeline and mine.precision == "w8a8" and not mine.tried
    assert mine.recipe["options"] == {"precision": "int8", "max_error": "0.5"}


@pytest.mark.parametrize(("name", "op"), [("edge", "MatMulIntegerToFloat"), ("llm", "MatMulNBits"), ("latency", "MatMul")])
def test_without_a_comparison_precision_alone_is_ordered(name: str, op: str, tmp_path: Path) -> None:
    source, data, made = network(tmp_path / "m.onnx"), samples(tmp_path / "s.npz"), tmp_path / "o.onnx"
    report = geoc.compile(source, made, recipe=name, calib=data, check="off")
    assert report.accuracy.status == "NOT CHECKED" and op in ops(made) and not report.tried
    assert 64 * 256 in weights(made).values() or op == "MatMulNBits"  # no layer is smaller
    assert any(r.what == f"recipe {name}" and "nothing is compared" in r.why for r in report.refused)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("10MB", 10**7), ("1.5 GB", 1_500_000_000), ("512KiB", 2**19), ("3kb", 3000), ("7", 7), ("2MiB", 2**21), (".5MB", 500_000)],
)
def test_amounts(text: str, amount: int) -> None:
    assert read_bytes(text, "--max-size") == amount and read_bytes(amount_text(amount), "--max-size") == amount


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "0", "0.1B", "10 M", "10MBs", "nan", "inf", "1e6"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(UsageError, match="takes an amount of bytes such as 10MB"):
        read_bytes(text, "--max-size")
