"""Pack folders of photos and masks into two memory-mapped arrays, resized for training.

    python -m training.pack OUT DATA [DATA ...]

Each ``DATA`` folder holds ``images/``, ``masks/`` (same stem, PNG, white = subject), optionally ``backgrounds/``
(photos without a subject) and ``MANIFEST.csv`` (columns ``file`` and ``category``; without it all photos are of one
category). Pictures are stretched to a square, as the model sees them. ``OUT`` receives ``pixels.npy`` (n, S, S, 4)
uint8 with the mask as fourth channel, and ``rows.json`` with folder, category and stem of each row.
"""

import csv
import json
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageOps

SIDE = 352  # a tenth more than the model's 320, so that crops need no enlarging


def categories(folder: Path) -> dict[str, str]:
    """Return stem -> category of the subject, as the manifest names it."""
    manifest = folder / "MANIFEST.csv"
    if not manifest.exists():
        manifest = folder.parent / "MANIFEST.csv"
    if not manifest.exists():
        return {}
    with manifest.open(newline="") as lines:
        return {Path(row["file"]).stem: row["category"] for row in csv.DictReader(lines)}


def load(photo: Path, mask: Path | None, side: int = SIDE) -> np.ndarray:
    """Return one photo and its mask as (side, side, 4) uint8; no mask means no subject."""
    with Image.open(photo) as image:
        rgb = ImageOps.exif_transpose(image).convert("RGB").resize((side, side), Image.Resampling.BOX)
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[..., :3] = np.asarray(rgb)
    if mask is not None:
        with Image.open(mask) as image:
            pixels[..., 3] = np.asarray(image.convert("L").resize((side, side), Image.Resampling.BOX))
    return pixels


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(out: Path, data: tuple[Path, ...]) -> None:
    """Pack every DATA folder into OUT."""
    rows: list[tuple[Path, Path | None, str, str]] = []
    for folder in data:
        category = categories(folder)
        rows += [
            (photo, folder / "masks" / f"{photo.stem}.png", folder.name, category.get(photo.stem, "subject"))
            for photo in sorted((folder / "images").iterdir())
        ]
        if (folder / "backgrounds").exists():
            rows += [(photo, None, folder.name, "background") for photo in sorted((folder / "backgrounds").iterdir())]
    out.mkdir(parents=True, exist_ok=True)
    pixels = np.lib.format.open_memmap(out / "pixels.npy", "w+", np.uint8, (len(rows), SIDE, SIDE, 4))
    with click.progressbar(rows, label="packing") as bar:
        for i, (photo, mask, _, _) in enumerate(bar):
            pixels[i] = load(photo, mask)
    pixels.flush()
    index = [{"folder": folder, "category": category, "stem": photo.stem} for photo, _, folder, category in rows]
    (out / "rows.json").write_text(json.dumps(index))


if __name__ == "__main__":
    main()
