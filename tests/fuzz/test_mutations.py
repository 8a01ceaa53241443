"""Ten thousand damaged models: each is refused in one line, or is a model like any other.

In a process of its own, where each mutant has five seconds and all of them two gigabytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = os.path.join(os.path.dirname(__file__), "mutate.py")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_models(seed: int) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, str(seed), "2500"], capture_output=True, text=True, timeout=600
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert not found["failures"], json.dumps(found["failures"], indent=1)
    # The mutations are such that much is refused and much is not.
    assert found["reached"]["refused"] > 1000 and found["reached"]["written"] > 200
    assert sum(found["reached"].values()) == 2500
