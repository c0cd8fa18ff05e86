"""Errors of every quality against the float64 reference, on your own photos.

    python -m benchmarks.accuracy PHOTO... --side 1280

Each photo is reduced to SIDE pixels, a soft ellipse is the subject; errors are before rounding, in 1/255.
"""

import sys
from pathlib import Path

import click
import numpy as np
from PIL import Image

from gpublur import Editor
from gpublur.types import Mode

from .scene import rim

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import reference

THRESHOLD = (0.6, 0.95)


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--side", default=1280, help="Longer side of the reduced photo, in pixels.")
@click.option("--mode", "modes", multiple=True, default=("gaussian", "bokeh"), help="Of these blurs alone.")
def main(photos: tuple[Path, ...], side: int, modes: tuple[Mode, ...]) -> None:
    """Print a Markdown table: photo, mode, highlights, radius, and for each quality the largest error and PSNR."""
    editor = Editor("cpu")
    click.echo("| photo | mode | highlights | radius | exact: LSB, dB | high: LSB, dB | fast: LSB, dB |")
    click.echo("|---|---|---|---|---|---|---|")
    for path in photos:
        with Image.open(path) as image:
            image.thumbnail((side, side), Image.Resampling.BOX)
            picture = np.asarray(image.convert("RGB"), np.float32) / 255
        alpha = rim(*picture.shape[:2])
        for mode in modes:
            for highlights in (0.0, 0.5):
                for radius in (0.002, 0.005, 0.01, 0.016, 0.03, 0.05):
                    want = reference.blur_background(picture, alpha, mode, radius, highlights, THRESHOLD, True)
                    cells = []
                    for quality in ("exact", "high", "fast"):
                        got = editor.blur_background(
                            picture,
                            mode,
                            radius,
                            highlights=highlights,
                            highlight_threshold=THRESHOLD,
                            quality=quality,
                            mask=alpha,
                        )
                        cells.append(f"{reference.max_lsb(got, want):.3f}, {reference.psnr(got, want):.0f}")
                    click.echo(f"| {path.name} | {mode} | {highlights} | {radius} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
