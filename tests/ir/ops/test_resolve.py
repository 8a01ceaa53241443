"""Interning, keys and revisions."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import timeit
from itertools import pairwise
from pathlib import Path

import pytest
from onnx import defs

from geoc.ir.errors import InvalidModel
from geoc.ir.ops import (
    Op,
    known_keys,
    known_opsets,
    op,
    resolve,
    resolve_key,
    revisions,
)
from geoc.ir.ops.revisions import BREAK_CLASS, BREAK_REASON, BREAKS, EARLY, NEEDS, SPELLING

from ...machine import slowness


def all_ops() -> list[Op]:
    found = []
    for key in known_keys():
        domain, _, name = key.rpartition("::")
        found += revisions(domain, name)
    return found


def test_the_same_meaning_is_the_same_object() -> None:
    assert resolve("", "Add", 13) is resolve("ai.onnx", "Add", 14) is op("Add")
    assert resolve("", "Add", 6) is not op("Add")
    assert resolve("com.microsoft", "Gelu") is op("com.microsoft::Gelu")


def test_one_signature_two_meanings() -> None:
    old, new = resolve("", "GroupNormalization", 20), resolve("", "GroupNormalization", 21)
    assert (old.key, old.revision, old.until) == ("GroupNormalization@18", 18, 21)
    assert (new.key, new.revision, new.until) == ("GroupNormalization", 21, None)
    assert resolve("", "Softmax", 12).key == "Softmax@1"


def test_every_opset_gives_the_version_that_onnx_gives() -> None:
    low, high = known_opsets("") or (0, 0)
    for schema in defs.get_all_schemas():
        if schema.domain:
            continue
        for opset in range(low, high + 1):
            try:
                expected = defs.get_schema(schema.name, opset).since_version
            except defs.SchemaError:
                if opset < EARLY.get(schema.name, 99):
                    with pytest.raises(InvalidModel, match=schema.name):
                        resolve("", schema.name, opset)
                continue
            found = resolve("", schema.name, opset).schema_at(opset)
            assert found is not None
            assert found.since == expected


def test_an_operator_that_comes_later_is_an_error_with_its_opset() -> None:
    with pytest.raises(InvalidModel, match=r"Gelu exists from opset 20.*imports opset 13"):
        resolve("", "Gelu", 13)
    # onnxruntime's own tools write this one into older models.
    assert resolve("", "LayerNormalization", 12) is op("LayerNormalization")


def test_keys_and_pickles_lead_back() -> None:
    for found in all_ops():
        assert resolve_key(found.key) is found
    for key in ("Upsample@9", "Softmax@1", "Relu", "my.domain::Thing", "::odd::name"):
        found = resolve_key(key)
        assert found.key == key
        assert pickle.loads(pickle.dumps(found)) is found
        assert copy.deepcopy([found])[0] is found
    with pytest.raises(InvalidModel, match="no revision"):
        resolve_key("Relu@3")


def test_without_a_schema_an_op_is_opaque() -> None:
    found = resolve("my.domain", "Thing", 7)
    assert found is resolve("my.domain", "Thing") is op("my.domain::Thing")
    assert found.is_opaque
    assert found.schema is None
    assert not found.pure
    assert not found.deterministic
    assert found.attr_kind("axis") is None
    assert found.attr_default("axis") is None


def test_revisions_partition_the_versions() -> None:
    for key in known_keys():
        domain, _, name = key.rpartition("::")
        chain = revisions(domain, name)
        assert all(a.until == b.revision for a, b in pairwise(chain))
        assert chain[-1].until is None
        assert tuple(found.revision for found in chain[1:]) == BREAKS.get(key, ())
        for found in chain:
            assert found.schemas
            assert found.revision == found.schemas[0].since
            assert found.base_key == key


def test_the_tables_name_what_exists() -> None:
    assert set(BREAKS) <= set(known_keys())
    assert set(NEEDS) <= set(known_keys())
    assert set(EARLY) <= set(known_keys())
    borders = {(key, version) for key, found in BREAKS.items() for version in found}
    assert set(BREAK_CLASS) == set(BREAK_REASON) == set(SPELLING) == borders
    for (key, version), steps in SPELLING.items():
        domain, _, name = key.rpartition("::")
        chain = revisions(domain, name)
        before = next(found for found in chain if found.until == version)
        after = next(found for found in chain if found.revision == version)
        assert before.schema is not None
        for kind, *rest in steps:
            if kind == "attr_to_input":
                assert rest[0] in before.schema.attributes
                assert after.schemas[0].inputs[rest[1]].name in (rest[0], rest[0].upper()) or (
                    rest[0] == "value"
                )
                assert rest[0] not in after.schemas[0].attributes
            elif kind in ("drop_attr", "rename_attr"):
                assert rest[0] in before.schema.attributes
                assert rest[0] not in after.schemas[0].attributes
            elif kind in ("set_attr", "count_outputs"):
                assert rest[0] not in before.schema.attributes
                assert rest[0] in after.schemas[0].attributes
            elif kind in ("old_default", "rename_value", "int_attr", "dtype_name"):
                assert rest[0] in before.schema.attributes
                assert rest[0] in after.schemas[0].attributes


def test_inside_a_revision_defaults_never_change() -> None:
    """An attribute left out means the same in every version that has it."""
    for found in all_ops():
        defaults: dict[str, object] = {}
        for schema in found.schemas:
            for name, spec in schema.attributes.items():
                assert defaults.setdefault(name, spec.default) == spec.default, (schema, name)
            assert set(schema.attributes) >= set(defaults), schema


def test_resolving_is_one_lookup() -> None:
    resolve("", "Relu", 13)
    runs = timeit.repeat(lambda: resolve("", "Relu", 13), number=10_000, repeat=20)
    assert min(runs) / 10_000 < 0.3e-6 * slowness()


def test_import_is_cheap_and_leaves_onnx_alone(tmp_path: Path) -> None:
    script = (
        "import sys, time, numpy; start = time.perf_counter(); import geoc.ir.ops;"
        "geoc.ir.ops.op('Conv'); print(time.perf_counter() - start);"
        "assert not {'onnx', 'onnxruntime', 'lark'} & set(sys.modules)"
    )
    # Compiled once into a cache of its own, whatever the surroundings say about bytecode.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    times = []
    for _ in range(6):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        times.append(float(done.stdout))
    assert min(times) < 40e-3  # 4 ms on an idle machine; importing onnx would make it 100
