"""What a .pt2 file says of itself: the version of torch that wrote it, and that of its schema."""

from __future__ import annotations

import json
import zipfile

from ..about import About


def about(path: str) -> About:
    """Of a file that `load_program` took. Raises OSError."""
    with zipfile.ZipFile(path) as archive:
        name = next((name for name in archive.namelist() if name.endswith("/models/model.json")), None)
        said = {} if name is None else json.loads(archive.read(name))
    schema, torch = said.get("schema_version", {}), said.get("torch_version")
    parts = [f"schema {schema['major']}.{schema['minor']}"] if schema else []
    return About(", ".join([*parts, f"torch {torch}"] if torch else parts))
