"""The `geoc` command: reads its arguments, runs one verb, turns errors into one line.

Exit codes: 0 done, 1 compared and wrong or over a limit, 2 bad use or bad input (and a fault in geoc itself, which
says so).
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from ..ir.errors import GeocError, UsageError
from .args import VERBS, Arguments, read
from .terminal import has_colour

DONE, WRONG, BAD = 0, 1, 2
INTERRUPTED = 130  # what shells expect after Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. Nothing but the output of a verb goes to stdout.

    Without `argv` this is the process's own command line, and the process ends here.
    """
    if argv is not None:
        return _guarded(list(argv))
    # A compilation makes many objects and few cycles, and ends with the process: collecting them often, or
    # taking a graph apart at exit, would cost a fifth of the time on a small model.
    gc.set_threshold(200_000, 20, 100)  # as in rare_collector, for the rest of the work as well
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names from files may hold anything
            stream.reconfigure(errors="backslashreplace")
    code = _guarded(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _guarded(words: list[str]) -> int:
    debug = "--debug" in words
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough; what stays in the buffer must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (GeocError, OSError, MemoryError) as error:
        if debug:
            raise
        _say(f"error: {one_line(error)}")
        return BAD
    except Exception as error:
        if debug:
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())
        broken = getattr(error, "pass_name", "")
        around = f"; --skip {broken} goes around it" if broken else ""
        _say(f"error: {said} (this is a fault in geoc; --debug shows where{around})")
        return BAD


def _run(words: list[str]) -> int:
    if not words:
        from .help import help_text

        sys.stderr.write(help_text("compile").split("\n\n  when", 1)[0] + "\n\n  geoc --help lists all options\n")
        return BAD
    arguments = read(words)
    if arguments.get("tensorflow"):
        os.environ["GEOC_TENSORFLOW_PYTHON"] = arguments.get("tensorflow")  # whatever process reads the model
    if arguments.get("help"):
        from .help import help_text

        print(help_text(arguments.verb))
        return DONE
    if arguments.get("version"):
        from .versions import version_text

        print(version_text())
        return DONE
    return _verb(arguments.verb)(arguments)


# Where each verb lives: imported only when it is asked for, because start-up is counted in milliseconds.
_VERBS = {
    "dump": ".verbs.looking",
    "passes": ".verbs.looking",
    "rules": ".verbs.looking",
    "explain": ".verbs.explaining",
    "match": ".verbs.explaining",
    "targets": ".verbs.estimating",
    "estimate": ".verbs.estimating",
    "inspect": ".inspect.verb",
    "doctor": ".verbs.doctor",
    "profile": ".profile.verb",
    "bench": ".bench.verb",
    "rulecheck": ".rulecheck.verb",
    "quant-report": ".quantreport.verb",
    "diff": ".diff.verb",
    "compare": ".compare.verb",
    "distill": ".distill.verb",
    "view": ".view.verb",
    "bisect": ".bisect.verb",
    "reduce": ".reduce.verb",
    "tune": ".tune.verb",
}


def _verb(name: str) -> Callable[[Arguments], int]:
    if name == "compile":
        return compile_verb
    module = import_module(_VERBS[name], __package__)
    verb: Callable[[Arguments], int] = getattr(module, f"{name.replace('-', '_')}_verb")
    return verb


def compile_verb(arguments: Arguments) -> int:
    """``geoc MODEL``: compile and print the summary."""
    settings = settings_of(arguments)
    quiet = arguments.get("quiet", False)
    from .compiler import compile_settings

    report = compile_settings(settings, None if quiet else sys.stderr)
    if not quiet:
        print(report.summary(colour=has_colour(sys.stdout), verbose=bool(settings.verbose)))
    elif not report.ok:
        _say(f"{settings.path}: {report.failure}; nothing was written")
    return DONE if report.ok else WRONG


def settings_of(arguments: Arguments) -> Any:
    """The compilation that a command line asks for. Raises UsageError."""
    from .settings import Settings, converted

    if len(arguments.words) != 1:
        raise UsageError(
            "give one model to compile: geoc MODEL [options]"
            if not arguments.words
            else f"one model at a time, not {len(arguments.words)}: {' '.join(arguments.words)}"
        )
    values = {k: v for k, v in arguments.values.items() if k not in ("tensorflow", "quiet", "debug")}
    if "recipe" in values:
        from .recipes.recipe import find_recipe

        values = {**find_recipe(values["recipe"]).settled(values), **values}
    source = arguments.words[0]
    if arguments.verb == "compile":
        _check_is_model(source)
        _check_values(values)
        if "output" not in values:
            from .emitting import default_output

            values["output"] = default_output(source, values.get("target", "cpu"), values.get("emit", ()))
    return Settings(source=source, **converted(values))


def _check_is_model(source: str) -> None:
    """A first word that is no file and almost a verb was meant as that verb."""
    from difflib import get_close_matches

    if not os.path.exists(source) and not os.path.splitext(source)[1]:
        near = get_close_matches(source, VERBS, 1)
        if near:
            raise UsageError(f"no such file, and no such verb; did you mean `geoc {near[0]}`?", source=source)


def _check_values(values: dict[str, Any]) -> None:
    if not 0 <= values.get("level", 2) <= 3:
        raise UsageError(f"there is no -O{values['level']}; there are -O0, -O1, -O2 and -O3")
    if "level" in values and "passes" in values:
        raise UsageError("-O and --passes contradict each other; --passes '@O2,...' starts from a level")
    for key in ("bisect_limit", "seed"):
        if values.get(key, 0) < 0:
            raise UsageError(f"--{key.replace('_', '-')} takes no negative number")
    if values.get("threads", 1) < 1:
        raise UsageError("--threads takes a number from 1 on")


def one_line(error: BaseException) -> str:
    """FILE: PLACE: message, on one line."""
    if isinstance(error, GeocError):
        parts = [error.source, error.place, error.message]
    elif isinstance(error, OSError) and error.strerror:
        parts = [str(error.filename or ""), error.strerror]
    elif isinstance(error, MemoryError):
        parts = ["out of memory"]
    else:
        parts = [str(error)]
    return " ".join(": ".join(part for part in parts if part).split())


def _say(text: str) -> None:
    sys.stderr.write(f"geoc: {text}\n")
