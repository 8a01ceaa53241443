"""Native functions: plain Python that rules call by name where text does not reach.

    @native
    def sdpa_scale(op: str | None, s: float | None) -> float | None:
        \"\"\"The scale of attention; op and s are None where the pattern had none.\"\"\"
        return 1.0 if s is None else s if op == "Mul" else 1.0 / s

A native is pure: it changes nothing and its answer depends on its arguments alone. It receives what the rule
passes (`Value`, numbers, strings, dimensions, tuples, element types; None for what is absent)
and returns a value, None for "no match", or `ABSENT` for an operand or attribute to be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ..errors import UsageError

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)

_natives: dict[str, Function] = {}


def native(function: F) -> F:
    """Register a function under its own name. Raises UsageError when another one has that name.

    Called with parts of a pattern, inside an `@rule` class, it gives the call as a part of the rule.
    """
    name = function.__name__
    known = _natives.get(name)
    if known is not None and _home(known) != _home(function):
        raise UsageError(
            f"native {name!r} is defined twice: in {_home(known)[0]} and in {_home(function)[0]}"
        )
    _natives[name] = function

    def call(*args: Any, **options: Any) -> Any:
        if any(isinstance(arg, Traced) for arg in args):
            from .python_rule import invoke

            return invoke(name, args)
        return function(*args, **options)

    call.__name__ = name
    call.__doc__ = function.__doc__
    call.__module__ = function.__module__
    call.__wrapped__ = function  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


class Memo(dict[Any, Any]):
    """What natives found out about values, for as long as rules run; nothing is kept outside of a run.

    Rewrites keep what values hold, so an answer about that stays true; it may name values that are gone since.
    """

    __slots__ = ()

    def keep(self, key: Any, answer: Any) -> Any:
        """Remember an answer, and give it back."""
        if _running:
            self[key] = answer
        return answer


_memos: list[Memo] = []
_running: list[object] = []


def memo() -> Memo:
    """A memory that is emptied when the outermost run of rules ends."""
    made = Memo()
    _memos.append(made)
    return made


def begin_run() -> None:
    """Rules begin to run: memories are kept."""
    _running.append(None)


def end_run() -> None:
    """Rules have run: memories are emptied."""
    _running.pop()
    if not _running:
        for each in _memos:
            each.clear()


class Traced:
    """Base of the symbolic values which an `@rule` class is called with."""

    __slots__ = ()


def _home(function: Function) -> tuple[str, str]:
    return function.__module__, function.__qualname__


class Natives(Mapping[str, Function]):
    """All registered natives, as they are at the time of each look-up."""

    def __getitem__(self, name: str) -> Function:
        return _natives[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_natives)

    def __len__(self) -> int:
        return len(_natives)


NATIVES = Natives()


def arity(function: Function) -> tuple[int, int | None]:
    """Fewest and most positional arguments of a plain function; None for no limit."""
    function = getattr(function, "__wrapped__", function)
    code: Any = function.__code__
    most: int | None = code.co_argcount
    fewest = code.co_argcount - len(getattr(function, "__defaults__", None) or ())
    if code.co_flags & 0x04:  # *args
        most = None
    return fewest, most
