"""Samples of the user: what is taken, what is refused and in which words, what is held back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geoc.ir.errors import UsageError
from geoc.ir.text import parse_model
from geoc.tools.calibration.samples import open_samples

ONE = 'geoc 1\nopset "" 21\n\ngraph @main(%x: f32[B,3]) -> (%y) {\n  %y = Neg(%x)\n}\n'
TWO = 'geoc 1\nopset "" 21\n\ngraph @main(%ids: i64[B,S], %mask: f32[B,S]) -> (%y) {\n  %y = Neg(%mask)\n}\n'


def rows(number: int) -> np.ndarray:
    return np.full((2, 3), number, np.float32)


def test_numbered_arrays_come_in_the_order_of_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **{f"x/{i}": rows(i) for i in (10, 2, 0, 1)})
    found = [feeds["x"][0, 0] for feeds in open_samples(str(tmp_path / "data.npz"), parse_model(ONE))]
    assert found == [0, 1, 2, 10]


def test_one_in_five_is_held_back_and_never_measured_on(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **{f"x/{i}": rows(i) for i in range(11)})
    samples = open_samples(str(tmp_path / "data.npz"), parse_model(ONE))
    held = {feeds["x"][0, 0] for feeds in samples.held_back()}
    measured = {feeds["x"][0, 0] for feeds in samples.calibration()}
    assert held == {4, 9}
    assert measured == set(range(11)) - held


def test_few_samples_are_all_measured_on(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **{f"x/{i}": rows(i) for i in range(3)})
    samples = open_samples(str(tmp_path / "data.npz"), parse_model(ONE))
    assert len(list(samples.calibration())) == 3
    assert not list(samples.held_back())


def test_a_folder_has_a_sample_in_each_file(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", rows(1))
    np.savez(tmp_path / "a.npz", x=rows(0))
    (tmp_path / "notes.txt").write_text("not a sample")
    assert [f["x"][0, 0] for f in open_samples(str(tmp_path), parse_model(ONE))] == [0, 1]


def test_a_function_is_called_for_each_walk(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        "import numpy as np\ndef feeds():\n    for i in range(2):\n"
        "        yield {'ids': np.full((1, 4), i), 'mask': np.ones((1, 4))}\n"
    )
    samples = open_samples(f"{tmp_path / 'data.py'}:feeds", parse_model(TWO))
    for _ in range(2):
        found = list(samples)
        assert [f["ids"][0, 0] for f in found] == [0, 1]
        assert found[0]["mask"].dtype == np.float32


def test_the_digest_is_of_the_data_alone(tmp_path: Path) -> None:
    model = parse_model(ONE)
    np.savez(tmp_path / "data.npz", **{"x/0": rows(0), "x/1": rows(1)})
    (tmp_path / "folder").mkdir()
    for number in range(2):
        np.save(tmp_path / "folder" / f"{number}.npy", rows(number))
    first = open_samples(str(tmp_path / "data.npz"), model).digest()
    assert first == open_samples(str(tmp_path / "folder"), model).digest()
    np.save(tmp_path / "folder" / "1.npy", rows(2))
    assert first != open_samples(str(tmp_path / "folder"), model).digest()


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x/0": rows(0).astype(np.int32)}, "sample 0 has int32 for x, which takes float32"),
        ({"x/0": rows(0)[:, :2]}, "sample 0 has shape 2x2 for x, which is Bx3"),
        ({"x/0": rows(0), "x/1": rows(np.nan)}, "sample 1 has NaN in x"),
        ({"x/0": rows(np.inf)}, "sample 0 has infinity in x"),
        ({"z/0": rows(0)}, "sample 0 lacks x; it has z"),
        ({"x/0": rows(0), "z/0": rows(0)}, "sample 0 has z, which the model does not take; its inputs: x"),
        ({"x/0": rows(0), "x": rows(0)}, "has arrays with numbers"),
        ({}, "holds no samples"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(UsageError) as caught:
        list(open_samples(str(tmp_path / "data.npz"), parse_model(ONE)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("nothing.npz", "no file or folder nothing.npz"),
        ("nothing.py:feeds", "no file nothing.py"),
        ("data.py:other", "has no function 'other'; it has feeds"),
        ("data.py", "data.py:FUNCTION names a function"),
        ("data.csv", "takes an .npz, a folder"),
        ("broken.npz", "cannot be read"),
    ],
)
def test_other_places_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.py").write_text("def feeds():\n    yield 1\n")
    (tmp_path / "data.csv").write_text("1,2")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UsageError) as caught:
        list(open_samples(text, parse_model(ONE)))
    assert message in str(caught.value)


def test_one_array_is_not_enough_for_two_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", rows(0))
    with pytest.raises(UsageError, match=r"is one array, and the model has 2 inputs: ids, mask"):
        list(open_samples(str(tmp_path), parse_model(TWO)))
