"""Make docs/images/gallery.jpg: ``python docs/gallery.py PHOTO PHOTO ...``, each before, blurred and cut out."""

import sys
from pathlib import Path

from PIL import Image

import gpublur

HEIGHT, GAP, WIDTH = 300, 6, 1800  # of a row, and of all of it in the end; pixels
OUT = Path(__file__).parent / "images" / "gallery.jpg"


def row(editor: gpublur.Editor, path: str) -> Image.Image:
    """Return a photo three times, side by side: worked on at full size, and only then reduced."""
    photo = Image.open(path).convert("RGB")
    made = [photo, editor.blur_background(photo, radius=0.02), editor.remove_background(photo, "white")]
    size = round(photo.width * HEIGHT / photo.height), HEIGHT
    out = Image.new("RGB", (3 * size[0] + 2 * GAP, HEIGHT), "white")
    for i, picture in enumerate(made):
        out.paste(picture.resize(size, Image.Resampling.LANCZOS), (i * (size[0] + GAP), 0))
    return out


def main(paths: list[str]) -> None:
    rows = [row(gpublur.Editor("cpu"), path) for path in paths]
    widths = [max(r.width for r in rows[i::2]) for i in range(2)]
    down = -(-len(rows) // 2)
    sheet = Image.new("RGB", (sum(widths) + 4 * GAP, down * (HEIGHT + GAP) - GAP), "white")
    for i, picture in enumerate(rows):
        sheet.paste(picture, ((i % 2) * (widths[0] + 4 * GAP), i // 2 * (HEIGHT + GAP)))
    sheet.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    sheet.save(OUT, quality=88)


if __name__ == "__main__":
    main(sys.argv[1:])
