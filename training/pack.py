"""Pack folders of photos and masks into two memory-mapped arrays, resized for training.

    python -m training.pack OUT DATA [DATA ...] [--masks FOLDER ...]

Each ``DATA`` folder holds ``images/``, ``masks/`` (same stem, PNG, white = subject), optionally ``backgrounds/``
(photos without a subject) and ``MANIFEST.csv`` (columns ``file`` and ``category``; without it all photos are of one
category). A mask of the same stem in a folder ``--masks``, as a teacher makes them, is taken instead; photos without
any mask, and those on which the teacher is in doubt, are left out. Pictures are stretched to a square, as the model
sees them. ``OUT`` receives ``pixels.npy`` (n, S, S, 4) uint8 with the mask as fourth channel, and ``rows.json`` with
folder, category and stem of each row.
"""

import csv
import json
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageOps

from .kinds import is_empty

SIDE = 448  # more than the model sees, so that crops need little enlarging
GREY = (0.15, 0.85)  # between these a mask says neither yes nor no
DOUBT = 0.6  # of what may be the subject: a mask of which so much is grey teaches nothing


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


def is_sure(mask: np.ndarray) -> bool:
    """Return whether a mask (h, w) uint8 shows a subject, most of it without doubt."""
    there, grey = (mask > 255 * GREY[0]).sum(), ((mask > 255 * GREY[0]) & (mask < 255 * GREY[1])).sum()
    return bool(grey < DOUBT * there and mask.max() > 127)


def found(folder: Path, taught: tuple[Path, ...]) -> list[tuple[Path, Path | None, str]]:
    """Return photo, mask and category of the photos of a folder; a photo without a subject has no mask."""
    category, rows, left_out = categories(folder), [], {"no mask": 0, "teacher in doubt": 0}
    for photo in sorted((folder / "images").iterdir()):
        name = category.get(photo.stem, "subject")
        masks = [path for part in (*taught, folder / "masks") if (path := part / f"{photo.stem}.png").exists()]
        if is_empty(name):
            rows.append((photo, None, "background"))
        elif not masks:
            left_out["no mask"] += 1
        elif masks[0].parent in taught and not is_sure(np.asarray(Image.open(masks[0]).convert("L"))):
            left_out["teacher in doubt"] += 1
        else:
            rows.append((photo, masks[0], name))
    if (folder / "backgrounds").exists():
        rows += [(photo, None, "background") for photo in sorted((folder / "backgrounds").iterdir())]
    click.echo(f"{folder.name}: {len(rows)} photos; left out: " + ", ".join(f"{k} {n}" for k, n in left_out.items()))
    return rows


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--masks", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(out: Path, data: tuple[Path, ...], masks: tuple[Path, ...]) -> None:
    """Pack every DATA folder into OUT."""
    rows = [(folder.name, *row) for folder in data for row in found(folder, masks)]
    out.mkdir(parents=True, exist_ok=True)
    pixels = np.lib.format.open_memmap(out / "pixels.npy", "w+", np.uint8, (len(rows), SIDE, SIDE, 4))
    with click.progressbar(rows, label="packing") as bar:
        for i, (_, photo, mask, _) in enumerate(bar):
            pixels[i] = load(photo, mask)
    pixels.flush()
    index = [{"folder": folder, "category": category, "stem": photo.stem} for folder, photo, _, category in rows]
    (out / "rows.json").write_text(json.dumps(index))


if __name__ == "__main__":
    main()
