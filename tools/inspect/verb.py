"""``geoc inspect MODEL``."""

from __future__ import annotations

import json
import sys

from ..args import Arguments
from ..library import one_model, read_model
from ..terminal import has_colour
from .facts import facts_of
from .text import text_of


def inspect_verb(arguments: Arguments) -> int:
    """Print what is in a file or a folder; nothing is compiled, run or written."""
    source = one_model(arguments)
    found = facts_of(source, read_model(arguments, source))
    if arguments.get("json"):
        print(json.dumps(found))
    else:
        print(text_of(found, has_colour(sys.stdout), bool(arguments.get("verbose"))))
    return 0
