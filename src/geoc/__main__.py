"""``python -m geoc``: the command."""

from __future__ import annotations

import sys

from geoc.tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
