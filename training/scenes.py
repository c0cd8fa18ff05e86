"""Scenes of two subjects of known kinds, put together from packed photos: do words keep the right one?"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from PIL import Image

from .kinds import KINDS, kind_of


class Scene(NamedTuple):
    """A photo (S, S, 3) uint8 and two subjects on it: their kinds and masks (S, S), True where they are seen."""

    photo: np.ndarray
    kinds: tuple[str, str]
    masks: tuple[np.ndarray, np.ndarray]


def generate(pictures: list[tuple[str, np.ndarray]], number: int, seed: int) -> list[Scene]:
    """Return scenes of two subjects side by side on a background that is none of the training's.

    Parameters
    ----------
    pictures : list of (category, (S, S, 4) uint8)
        Photos with masks; those of category "background" are behind, those of no known kind are not used.
    number, seed : int
        How many, and which. Every pair of kinds is as frequent as any other.
    """
    rng = np.random.default_rng(seed)
    behind = [pixels for category, pixels in pictures if category == "background"]
    by_kind: dict[str, list[np.ndarray]] = {}
    for category, pixels in pictures:
        kind = kind_of(category)
        if kind is not None:
            by_kind.setdefault(KINDS[kind], []).append(pixels)
    pairs = list(combinations(sorted(by_kind), 2))
    scenes = []
    for i in range(number):
        pair = pairs[i % len(pairs)]
        photo = behind[rng.integers(len(behind))][..., :3].astype(float)
        masks = []
        for kind, left in zip(pair, rng.permutation([0.0, 0.5]), strict=True):
            alpha, colour = placed(by_kind[kind][rng.integers(len(by_kind[kind]))], left, rng)
            photo += alpha[..., None] * (colour - photo)
            masks = [mask & (alpha < 0.5) for mask in masks] + [alpha > 0.5]
        scenes.append(Scene(photo.round().astype(np.uint8), pair, (masks[0], masks[1])))
    return scenes


def placed(pixels: np.ndarray, left: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a subject's alpha and colour on an empty canvas, cropped to its bounds and fitted into a half of it."""
    side = len(pixels)
    rows, columns = np.nonzero(pixels[..., 3] > 127)
    crop = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = min(0.5 * side / crop.shape[1], side / crop.shape[0]) * rng.uniform(0.75, 1.0)
    width, height = max(1, int(crop.shape[1] * scale)), max(1, int(crop.shape[0] * scale))
    small = np.asarray(Image.fromarray(crop, "RGBA").resize((width, height), Image.Resampling.BILINEAR))
    x = int(left * side + rng.uniform(0, 0.5 * side - width))
    y = int(rng.uniform(0, side - height))
    canvas = np.zeros((side, side, 4), np.uint8)
    canvas[y : y + height, x : x + width] = small
    return canvas[..., 3] / 255, canvas[..., :3].astype(float)
