"""Mutated files through the decoder, in a process that may crash or hang: each is a picture or a typed error.

    python -m benchmarks.mutate --files 20000 --json benchmarks/results/MACHINE-mutations.json

The mutations are seeded: file 1234 of one run is file 1234 of the next. Tests try the first few hundred.
"""

from __future__ import annotations

import io
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from gpublur import image_io
from gpublur.bench import cpu
from gpublur.errors import GpuBlurError
from gpublur.image_io import Photo
from gpublur.server.worker import Died, Process

MAX_PIXELS = 1_000_000
HANG = 30.0  # seconds, after which a file is said to hang
SIZE = (40, 56)
WORDS = (
    b"\0",
    b"\xff",
    b"\x7f\xff",
    b"\x80\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\1",
    b"\xff\xff\xff\x7f",
)


def seeds() -> dict[str, bytes]:
    """Return small files of every format that is read, and of the kinds that each has."""
    random_pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 4), np.uint8)
    random_pixels[:20] //= 32  # smooth enough for runs and matches
    colour, grey = Image.fromarray(random_pixels[..., :3]), Image.fromarray(random_pixels[..., 0])
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8298] = 6, "a camera", "somebody"
    frames = {"save_all": True, "append_images": [colour.rotate(90), colour.rotate(180)]}
    files = {
        "JPEG": saved(colour, "JPEG", exif=exif, xmp=b"<x/>", comment=b"a comment"),
        "JPEG progressive": saved(colour, "JPEG", progressive=True, subsampling=0),
        "JPEG CMYK": saved(colour.convert("CMYK"), "JPEG"),
        "JPEG grey": saved(grey, "JPEG"),
        "MPO": saved(colour, "MPO", **frames),
        "PNG": saved(colour, "PNG", exif=exif, dpi=(300, 300)),
        "PNG palette": saved(colour.quantize(16), "PNG", transparency=3),
        "PNG 1 bit": saved(grey.convert("1"), "PNG"),
        "PNG animated": saved(colour, "PNG", **frames),
        "WebP": saved(colour, "WEBP", exif=exif, xmp=b"<x/>"),
        "WebP lossless": saved(Image.fromarray(random_pixels), "WEBP", lossless=True),
        "WebP animated": saved(colour, "WEBP", **frames),
        "AVIF": saved(colour, "AVIF", exif=exif),
        "AVIF animated": saved(colour, "AVIF", **frames),
        "BMP": saved(colour, "BMP"),
        "GIF": saved(colour.quantize(32), "GIF"),
        "GIF animated": saved(colour, "GIF", **frames),
        "TIFF of pages": saved(colour, "TIFF", compression="tiff_lzw", **frames),
    }
    for codec in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"):
        files[f"TIFF {codec}"] = saved(colour, "TIFF", compression=codec, exif=exif)
    files["TIFF group4"] = saved(grey.convert("1"), "TIFF", compression="group4")
    deep = Photo(np.ascontiguousarray(random_pixels[..., :3].astype(np.uint16) * 257))
    for format in ("PNG", "TIFF", "AVIF"):
        files[f"{format} 16 bits"] = image_io.encode(deep, format)
    if "HEIF" in image_io.writable():
        files["HEIF"] = image_io.encode(Photo(np.ascontiguousarray(random_pixels[..., :3])), "HEIF")
    return files


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    if "append_images" in options:
        options["append_images"] = [each.copy() for each in options["append_images"]]
    image.copy().save(file, format, **options)  # Pillow remembers in an image how it was saved before
    return file.getvalue()


def mutated(files: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """Return the mutated file of a number, and of which kind it was."""
    chance = random.Random(number)
    kinds = sorted(files)
    kind = kinds[number % len(kinds)]
    data = bytearray(files[kind])
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
        if data:
            mutate(data, files[chance.choice(kinds)], chance)
    return kind, bytes(data)


def mutate(data: bytearray, other: bytes, chance: random.Random) -> None:
    """Change a file in one place; what matters most stands at its beginning and end."""
    span = chance.choice((min(64, len(data)), min(600, len(data)), len(data)))
    at = chance.randrange(span) if chance.random() < 0.85 else len(data) - 1 - chance.randrange(span)
    some = chance.choice((1, 2, 4, 8, 40, 300))
    match chance.randrange(8):
        case 0:
            data[at] ^= 1 << chance.randrange(8)
        case 1:
            data[at] = chance.randrange(256)
        case 2:
            word = chance.choice(WORDS)
            data[at : at + len(word)] = word
        case 3:
            del data[at:]
        case 4:
            del data[at : at + some]
        case 5:
            data[at:at] = data[at : at + some] * chance.choice((1, 1, 2, 50))
        case 6:
            data[at:at] = bytes(chance.randrange(256) for _ in range(some))
        case 7:
            begin = chance.randrange(len(other))
            data[at : at + some] = other[begin : begin + some]


def tried(data: bytes) -> str:
    """Read a file as the server does, and write what was read; say what became of it."""
    try:
        photo = image_io.to_srgb(image_io.decode(data, max_pixels=MAX_PIXELS))
    except GpuBlurError:
        return "refused"
    assert 0 < photo.pixels.shape[0] * photo.pixels.shape[1] <= MAX_PIXELS
    image_io.encode(photo, "PNG")
    return "picture"


@dataclass
class Trial:
    """What became of many files."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    longest: float = 0.0

    def add(self, number: int, kind: str, outcome: str, seconds: float) -> None:
        self.longest = max(self.longest, seconds)
        self.outcomes[outcome if outcome in ("picture", "refused") else outcome.partition(":")[0]] += 1
        if outcome not in ("picture", "refused"):
            self.faults.append(f"{number} ({kind}): {outcome}")


def run(numbers: Iterator[int], files: dict[str, bytes]) -> Trial:
    """Try the files of these numbers in a process of their own, which is replaced when it ends."""
    trial, worker = Trial(), Process(1)
    worker.start()
    with ThreadPoolExecutor(1) as pool:
        for number in numbers:
            kind, data = mutated(files, number)
            begin = time.perf_counter()
            job = pool.submit(worker.ask, tried, (data,))
            try:
                outcome = job.result(HANG)
            except TimeoutError:
                outcome = "hang"
                worker.end()
            except Died:
                outcome = "crash"
            except Exception as error:
                outcome = f"untyped: {type(error).__name__}: {error}"
            trial.add(number, kind, outcome, time.perf_counter() - begin)
            if outcome in ("hang", "crash"):
                worker = Process(1)
                worker.start()
    worker.end()
    return trial


@click.command()
@click.option("--files", "count", default=20_000, show_default=True)
@click.option("--json", "written", type=click.Path(path_type=Path), help="Write the figures here.")
def main(count: int, written: Path | None) -> None:
    """Try mutated files, and fail where one crashes, hangs, or is no typed error."""
    files = seeds()
    begin = time.perf_counter()
    trial = run(iter(range(count)), files)
    figures = {
        "kind": "mutations", "cpu": cpu(), "threads": os.cpu_count(), "files": count, "seeds": len(files),
        "seconds": round(time.perf_counter() - begin), "outcomes": dict(trial.outcomes),
        "longest_seconds": round(trial.longest, 2), "faults": trial.faults[:100],
    }  # fmt: skip
    click.echo(json.dumps(figures, indent=1))
    if written:
        written.write_text(json.dumps(figures, indent=1) + "\n")
    if trial.faults:
        raise click.ClickException(f"{len(trial.faults)} files were neither pictures nor typed errors")


if __name__ == "__main__":
    main()
