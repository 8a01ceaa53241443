"""What two models differ in, matched by structure: names, the order of nodes and the layout of files do not matter.

    found = compare_models(before, after)
    found.same                       # True where nothing differs
    [change.kind for change in found.changes]
    found.matching.value_of(value)   # the value of `after` that corresponds to one of `before`, or None

`hashes` looks at nodes from both sides, `matching` finds which correspond, `changes` tells what is left.
"""

from .change import Change
from .changes import Difference, compare_models
from .matching import Matching, match_models

__all__ = ["Change", "Difference", "Matching", "compare_models", "match_models"]
