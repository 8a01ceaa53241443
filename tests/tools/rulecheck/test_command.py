"""``geoc rulecheck`` as a process: exit codes, what it says, and the file with counterexamples."""

from __future__ import annotations

from pathlib import Path

from geoc.ir.text import parse_model
from geoc.ir.verify import verify

from ..conftest import Run

RIGHT = """
rule double_neg_of_mine {
  \"""-(-x) is x.\"""
  match   %y = Neg(Neg(%x))
  rewrite %y = %x
}
"""
WRONG = """
rule half_of_double {
  \"""x * 2 / 2, the wrong way round.\"""
  match   %y = Div(Mul(%x, 2.0), 2.0)
  rewrite %y = Mul(%x, 4.0)
}
"""
NEVER = """
rule of_two_ranks {
  \"""There is no such x.\"""
  match   %y = Relu(%x)
  where   rank(%x) == 2, rank(%x) == 3
  rewrite %y = %x
}
"""
PYTHON = '''
from geoc.ir.rewrite import native
from geoc.ir.rewrite.instances import instance_for
from geoc.ir.rewrite.python_rule import const, rule


@native
def of_my_table(w):
    """Ask for what nobody guesses."""
    return w.const.array().reshape(-1).tolist() == [3.0, 1.0, 4.0, 1.0, 5.0]


@instance_for("my_table")
def table(pick):
    rows = pick(1, 2, 7)
    return f"""
graph @main(%x: f32[{rows},5]) -> (%y) {{
  weight %w: f32[5] = [3, 1, 4, 1, 5]
  %y = Mul(%x, %w)
}}"""


@native
def less_one(w):
    """w - 1."""
    return w.const.array() - w.const.array().dtype.type(1)


@rule(expands=True)
class my_table:
    """x * w is x + x * (w - 1); one operator more, and it says so."""

    def match(p, x, w: const):
        return p.Mul(x, w)

    def where(w):
        return of_my_table(w)

    def rewrite(g, x, w):
        return g.Sub(x, g.Mul(g.Neg(x), less_one(w)))
'''


def test_right_rules(run_geoc: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.rules").write_text(RIGHT)
    done = run_geoc("rulecheck", "mine.rules", "--count", 3)
    assert done.returncode == 0, done.stderr
    assert "right   mine          double_neg_of_mine" in done.stdout
    assert "1 rules: 1 right;" in done.stdout
    quiet = run_geoc("rulecheck", "mine.rules", "--count", 3, "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_wrong_rule(run_geoc: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.rules").write_text(RIGHT + WRONG)
    done = run_geoc("rulecheck", "mine.rules", "-o", "wrong.gir")
    assert done.returncode == 1
    assert "wrong   mine          half_of_double" in done.stdout
    assert "mine.rules:8" in done.stdout
    assert "1 right, 1 wrong" in done.stdout
    text = (tmp_path / "wrong.gir").read_text()
    assert "# RUN: --passes=mine" in text and "# FEED: x=1" in text
    left, right = text.split("# ----\n")
    for half in (left, right):
        verify(parse_model(half))
    alone = run_geoc("rulecheck", "mine.rules", "--rule", "double*")
    assert alone.returncode == 0
    shown = run_geoc("rulecheck", "mine.rules", "--rule", "half_of_double")
    assert "Div(" in shown.stdout  # without -o the counterexample is on the screen


def test_a_rule_that_cannot_fire(run_geoc: Run, tmp_path: Path) -> None:
    (tmp_path / "never.rules").write_text(NEVER)
    done = run_geoc("rulecheck", "never.rules")
    assert done.returncode == 1
    assert "NOTHING" in done.stdout and "rank(%x)" in done.stdout
    assert "1 without an instance" in done.stdout


def test_python_rules_and_instances_of_ones_own(run_geoc: Run, tmp_path: Path) -> None:
    (tmp_path / "tables.py").write_text(PYTHON)
    done = run_geoc("rulecheck", "tables.py", "--count", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "tables.py").write_text(PYTHON.replace("@instance_for", "@native\ndef unused(): ...\n\n\n@instance_for").replace('"my_table"', '"other"'))
    done = run_geoc("rulecheck", "tables.py", "--count", 2)
    assert done.returncode == 1 and "no instance" in done.stdout and "of_my_table" in done.stdout
    (tmp_path / "tables.py").write_text(PYTHON.replace("g.Gemm", "g.Max").replace("g.Sub(x, g.Mul", "g.Add(x, g.Mul"))
    done = run_geoc("rulecheck", "tables.py", "--count", 2)
    assert done.returncode == 1 and "values" in done.stdout
    assert "[3.0, 1.0, 4.0, 1.0, 5.0]" in done.stdout


def test_bad_use(run_geoc: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.rules").write_text(RIGHT)
    (tmp_path / "broken.rules").write_text("rule {")
    for words, said in (
        (["none.rules"], "none.rules"),
        (["broken.rules"], "broken.rules"),
        (["model.onnx"], "rules are in .rules files or in .py files"),
        (["mine.rules", "--rule", "doubel*"], "no pass or rule is called"),
        (["mine.rules", "--count", "0"], "--count is at least 1"),
        (["mine.rules", "--seed", "-1"], "--seed takes no negative number"),
        (["mine.rules", "-o", "wrong.txt"], "suffix"),
        (["mine.rules", "--opset", "17"], "no option --opset"),
    ):
        done = run_geoc("rulecheck", *words)
        assert done.returncode == 2, words
        assert said in done.stderr and done.stderr.count("\n") == 1
        assert done.stdout == ""
