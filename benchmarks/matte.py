"""How near the matte comes to the true one, before and after refinement, on photos with masks of your own.

    python -m benchmarks.matte FOLDER --megapixels 12

FOLDER holds images/KIND_NAME.jpg and masks/KIND_NAME.png, where white is the subject. Two coarse masks of each photo
are refined: the model's, and the true mask as a perfect network of 320 x 320 with an output stride of 4 would give it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gpublur import Editor

from .table import row

Floats = NDArray[np.float32]

BAND = 0.01  # half-width of the band around the true edge, of the diagonal
SEARCH = 0.03  # within which an edge of the matte belongs to it
SOFT = (0.02, 0.98)  # a true alpha in between is edge as well
SIGMA = 1.4 / 800  # of the gradient, of the diagonal, never less than 1.4 pixels


class Errors(NamedTuple):
    """What is wrong with a matte; 0 for the true one."""

    boundary: float  # mean |alpha - true| in the band, in %
    distance: float  # mean distance of the matte's edge from the true one, in thousandths of the diagonal
    gradient: float  # mean squared difference of the gradients' lengths in the band, per sigma, in %
    sad: float  # sum of |alpha - true|, in % of the picture


class Truth:
    """A true alpha (H, W) and what is measured against it."""

    def __init__(self, alpha: Floats) -> None:
        self.alpha, self.diagonal = alpha, math.hypot(*alpha.shape)
        self.distance = distance(alpha >= 0.5) / self.diagonal
        self.band = (self.distance <= BAND) | ((alpha > SOFT[0]) & (alpha < SOFT[1]))
        self.gradient = gradient(alpha, self.diagonal)

    def errors(self, alpha: Floats) -> Errors:
        """Return the errors of a matte (H, W)."""
        error = np.abs(alpha - self.alpha)
        along = edge(alpha >= 0.5) & (self.distance <= SEARCH)
        slope = (gradient(alpha, self.diagonal) - self.gradient)[self.band]
        far = self.distance[along].mean() if along.any() else SEARCH
        return Errors(100 * error[self.band].mean(), 1e3 * far, 100 * np.square(slope).mean(), 100 * error.mean())


def distance(inside: NDArray[np.bool_]) -> Floats:
    """Return the distance of each pixel's centre from the edge between what is inside and outside, in pixels."""
    sides = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 5) for side in (inside, ~inside))
    return np.maximum(*sides) - 0.5


def edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where the pixel above or to the left is on the other side."""
    out = np.zeros(inside.shape, bool)
    out[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    out[1:] |= inside[1:] != inside[:-1]
    return out


def gradient(alpha: Floats, diagonal: float) -> Floats:
    """Return the length of the gradient, by derivatives of a gaussian, per sigma."""
    sigma = max(1.4, SIGMA * diagonal)
    x = np.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1)
    smooth = np.exp(-0.5 * (x / sigma) ** 2)
    smooth /= smooth.sum()
    slope = x * smooth / (x * x * smooth).sum()
    across, down = (cv2.sepFilter2D(alpha, cv2.CV_32F, a, b) for a, b in ((slope, smooth), (smooth, slope)))
    return sigma * np.hypot(across, down)


def coarsened(alpha: Floats) -> Floats:
    """Return the true mask as a network with 80 x 80 outputs, enlarged to 320 x 320, would give it at best."""
    small = np.asarray(Image.fromarray(alpha).resize((80, 80), Image.Resampling.BOX))
    small = cv2.GaussianBlur(small, (0, 0), 0.7)
    return np.asarray(Image.fromarray(small).resize((320, 320), Image.Resampling.BILINEAR)).clip(0, 1)


def pairs(folder: Path, megapixels: float | None) -> Iterator[tuple[str, NDArray[np.uint8], Floats]]:
    """Yield kind, photo (H, W, 3) and true alpha (H, W); enlarged, a mask of two values stays one."""
    for path in sorted((folder / "images").iterdir()):
        with Image.open(path) as photo, Image.open(folder / "masks" / f"{path.stem}.png") as mask:
            photo, mask = photo.convert("RGB"), mask.convert("L")
            hard = np.isin(np.asarray(mask), (0, 255)).all()
            if megapixels:
                scale = math.sqrt(megapixels * 1e6 / (photo.width * photo.height))
                size = (round(photo.width * scale), round(photo.height * scale))
                photo, mask = photo.resize(size, Image.Resampling.LANCZOS), mask.resize(size, Image.Resampling.BICUBIC)
            alpha = np.asarray(mask, np.float32) / 255
            yield path.stem.partition("_")[0], np.asarray(photo), np.round(alpha) if hard else alpha


def measure(folder: Path, megapixels: float | None, model: Any) -> dict[tuple[str, str], list[tuple[Errors, Errors]]]:
    """Return for each coarse mask and kind of photo the errors before and after refinement."""
    found: dict[tuple[str, str], list[tuple[Errors, Errors]]] = {}
    network, given = Editor("cpu", model), Editor("cpu", lambda photo: coarse)
    for kind, photo, alpha in pairs(folder, megapixels):
        truth, coarse = Truth(alpha), coarsened(alpha)
        for name, editor in (("model's", network), ("true, coarsened", given)):
            before, after = (truth.errors(editor.segment(photo, refine=refine)) for refine in (False, True))
            found.setdefault((name, kind), []).append((before, after))
    return found


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--megapixels", type=float, help="Enlarge the photos to this. Default: as they are.")
@click.option("--model", default="general", show_default=True, help="Whose masks are refined.")
def main(folder: Path, megapixels: float | None, model: str) -> None:
    """Print a Markdown table: for each coarse mask and kind the mean errors before and after, and their ratio."""
    click.echo(row(["coarse mask", "kind", "photos", *Errors._fields]))
    click.echo(row(["---", "---", *["--:"] * (1 + len(Errors._fields))]))
    for (name, kind), errors in sorted(measure(folder, megapixels, model).items()):
        before, after = np.mean(errors, axis=0)
        cells = (f"{b:.2f} -> {a:.2f} ({a / b:.2f})" for b, a in zip(before, after, strict=True))
        click.echo(row([name, kind, str(len(errors)), *cells]))


if __name__ == "__main__":
    main()
