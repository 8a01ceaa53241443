"""Made-up pictures: pages with lines of letters on them.

Models that look at pictures give almost nothing for noise: a text detector finds no text, a table reader no table,
and what is left of their outputs (a sigmoid of -12) is rounding. On a page they do what they were trained for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SMALLEST = 16  # height and width in pixels from which on a tensor may be a picture
CHANNELS = (1, 3)
PAPER, INK = 1.0, -0.6  # as pixels stand after the usual normalization with mean and deviation
GRAIN = 0.02  # standard deviation of the noise in every pixel
GLYPH_ROWS, GLYPH_COLUMNS = 5, 3


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of the channels if `shape` can be a batch of pictures: 1 of [N, C, H, W], 3 of [N, H, W, C]."""
    if len(shape) != 4:
        return None
    for channel, height, width in ((1, 2, 3), (3, 1, 2)):
        if shape[channel] in CHANNELS and min(shape[height], shape[width]) >= SMALLEST:
            return channel
    return None


def pages(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """A batch of pictures, values around 0; `shape` as `channel_axis` takes it."""
    axis = channel_axis(shape)
    assert axis is not None
    height, width = (shape[2], shape[3]) if axis == 1 else (shape[1], shape[2])
    grey = np.stack([_page(height, width, rng) for _ in range(shape[0])])
    pixels = np.repeat(np.expand_dims(grey, axis), shape[axis], axis)
    return pixels + GRAIN * rng.standard_normal(shape)


def _page(height: int, width: int, rng: np.random.Generator) -> Any:
    """Lines of words, each word two to six random glyphs, on paper that is lit unevenly."""
    rows, columns = np.mgrid[0:height, 0:width]
    page = PAPER + 0.1 * np.sin(3 * columns / width + rng.random()) + 0.1 * rows / height
    letter = min(24, max(2 * GLYPH_ROWS, height // 5))  # pixels from the top of a letter to its foot
    for top in range(letter // 3, height, letter + letter // 2):
        left = int(rng.integers(1, letter))
        while left < width:
            for _ in range(int(rng.integers(2, 7))):
                glyph = _glyph(letter, rng)[: height - top, : max(0, width - left)]
                spot = page[top : top + glyph.shape[0], left : left + glyph.shape[1]]
                spot[glyph] = INK
                left += letter // 2 + 1
            left += letter
    return page


def _glyph(letter: int, rng: np.random.Generator) -> Any:
    """True where there is ink, about [letter, letter / 2]."""
    strokes = rng.random((GLYPH_ROWS, GLYPH_COLUMNS)) < 0.5
    return strokes.repeat(letter // GLYPH_ROWS, 0).repeat(max(1, letter // 2 // GLYPH_COLUMNS), 1)
