"""Passes by name: built-in, installed, from plugins and rule files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from geoc.ir.errors import GeocError, UsageError
from geoc.passes.base import Pass
from geoc.passes.manager import Repeat
from geoc.passes.pipelines import LEVELS, level_items, names, parse
from geoc.passes.registry import BUILT_IN, RULE_SETS, Registry, match_names, options_of
from geoc.passes.rulepass import RulePass


def test_every_built_in_name_is_a_documented_pass() -> None:
    registry = Registry()
    for name in (*BUILT_IN, *RULE_SETS):
        cls = registry.find(name)
        assert issubclass(cls, Pass) and cls.name == name
        assert (cls.__doc__ or "").strip(), name
        assert cls() == cls()
        if issubclass(cls, RulePass):
            assert cls().rule_names()
            for rule in cls().rule_names():
                assert cls().rule_origin(rule).startswith(cls.source + ":")


def test_every_level_resolves() -> None:
    registry = Registry()
    for level in LEVELS:
        steps = registry.resolve(level_items(level))
        assert len(steps) == len(level_items(level))
    known = set(registry.names())
    assert {step.name for step in names(level_items(3))} <= known


def test_options_reach_the_pass() -> None:
    registry = Registry()
    group, fold = registry.resolve(parse("repeat(3){dce,cse},fold{max_bytes=5}"))
    assert isinstance(group, Repeat) and group.limit == 3 and [s.name for s in group.steps] == ["dce", "cse"]
    assert options_of(type(fold))["max_bytes"] != 5
    assert getattr(fold, "max_bytes") == 5  # noqa: B009


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dse", r"column 1: there is no pass 'dse'; did you mean dce"),
        ("dce, fold{max_bite=1}", r"column 6: pass fold has no option 'max_bite'; did you mean max_bytes\?"),
        ("fold{max_bytes=many}", r"option max_bytes of pass fold is a whole number .*not many"),
        ("fold{max_bytes=true}", r"is a whole number .*not true"),
        ("fold{max_bytes=1.5}", r"is a whole number .*not 1.5"),
    ],
)
def test_wrong_names_and_options(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Registry().resolve(parse(text))


def test_plugin_passes_and_natives(tmp_path: Path) -> None:
    plugin = tmp_path / "my-plugin.py"
    plugin.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from geoc.ir.rewrite import native\n"
        "from geoc.passes.base import Pass\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Pass):\n"
        '    """Does nothing."""\n'
        "    name: ClassVar[str] = 'mine'\n"
        "    factor: float = 1.0\n"
        "    def run(self, model, ctx):\n"
        "        return False\n"
        "@native\n"
        "def halved_for_registry_test(c: float) -> float:\n"
        "    return c / 2\n"
    )
    rules = tmp_path / "half.rules"
    rules.write_text(
        "# Halves.\n\nrule half {\n"
        '  """x * c * 0.5 is x * (c/2)."""\n'
        "  match   %y = Mul(Mul(%x, $c), 0.5)\n"
        "  rewrite %y = Mul(%x, halved_for_registry_test($c))\n}\n"
    )
    registry = Registry()
    registry.add_user_code([str(plugin)], [str(rules)])
    assert registry.added_rules == ["half"]
    (mine, half) = registry.resolve(parse("mine{factor=2},half"))
    assert options_of(type(mine)) == {"factor": 1.0} and vars(mine) == {"factor": 2.0}
    assert half.rule_names() == ("half",) and half.rule_origin("half") == f"{rules}:3"
    assert type(half).__doc__ == "Halves."
    assert "mine" not in Registry().names()  # nothing is shared between two registries
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.rules", "my-plugin.py"]


RULE = '''
from geoc.ir.rewrite.python_rule import rule

@rule()
class ReluTwice:
    """Relu of Relu is Relu."""

    def match(p, x):
        return p.Relu(p.Relu(x))

    def rewrite(g, x):
        return g.op("Relu", x)
'''


def test_python_rules_of_a_plugin_are_one_pass(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(RULE)
    registry = Registry()
    assert registry.load_plugin(str(plugin)) == ["mine"] == registry.added_rules
    cls = registry.find("mine")
    assert cls().rule_names() == ("relu_twice",)
    assert cls().rule_origin("relu_twice").startswith(f"{plugin}:")
    plugin.write_text("x = 1\n")
    with pytest.raises(UsageError, match="defines no Pass"):
        Registry().load_plugin(str(plugin))


def test_names_cannot_be_taken_twice(tmp_path: Path) -> None:
    text = "from geoc.passes.base import Pass\nclass A(Pass):\n    '''A.'''\n    name = {!r}\n"
    for index, name in enumerate(("dce", "identity", "repeat")):
        plugin = tmp_path / f"p{index}.py"
        plugin.write_text(text.format(name))
        with pytest.raises(UsageError, match="already there"):
            Registry().load_plugin(str(plugin))
    (tmp_path / "nameless.py").write_text(text.format(""))
    with pytest.raises(UsageError, match="has no name"):
        Registry().load_plugin(str(tmp_path / "nameless.py"))


@pytest.mark.parametrize(
    ("source", "place"),
    [("x = (", "line 1"), ("\n\n1 / 0\n", "line 3"), ("def f():\n    raise KeyError('k')\nf()\n", "line 2")],
)
def test_a_failing_plugin_is_one_error_with_its_line(source: str, place: str, tmp_path: Path) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(source)
    with pytest.raises(UsageError) as caught:
        Registry().load_plugin(str(plugin))
    assert (caught.value.source, caught.value.place) == (str(plugin), place)


def test_a_wrong_rule_file_is_an_error_at_once(tmp_path: Path) -> None:
    rules = tmp_path / "bad.rules"
    rules.write_text("rule a {\n  match %y = Relu(%x)\n  rewrite %y = %x\n}\n")  # no docstring
    with pytest.raises(GeocError, match=r"bad\.rules"):
        Registry().add_rules(str(rules))
    with pytest.raises(FileNotFoundError):
        Registry().add_rules(str(tmp_path / "none.rules"))


def test_installed_packages_offer_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_passes.py").write_text(
        "from geoc.passes.base import Pass\nclass Theirs(Pass):\n    '''Theirs.'''\n    name = 'theirs'\n"
        "not_a_pass = 3\n"
    )
    info = tmp_path / "their_passes-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-passes\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[geoc.passes]\ntheirs = their_passes:Theirs\nwrong = their_passes:not_a_pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry()
    assert {"theirs", "wrong"} <= set(registry.names())
    assert "theirs" not in registry.names(installed=False)
    assert registry.find("theirs").__doc__ == "Theirs."
    with pytest.raises(UsageError, match="not a Pass class"):
        registry.find("wrong")


def test_known_names_do_not_look_packages_up() -> None:
    script = (
        "import sys; from geoc.passes.registry import Registry; Registry().find('dce'); "
        "sys.exit('importlib.metadata' in sys.modules)"
    )
    import geoc

    folder = str(Path(geoc.__file__).parents[1])
    assert subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": folder}).returncode == 0


def test_globs() -> None:
    known = ["fold", "dce", "conv_mul", "conv_add"]
    assert match_names(["conv_*", "dce"], known, "--skip") == {"dce", "conv_mul", "conv_add"}
    with pytest.raises(UsageError, match="no pass or rule is called 'conv'; did you mean"):
        match_names(["conv"], ["conv_a", "dce"], "--only")
