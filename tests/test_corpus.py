"""Some 300 files, of every format, with everything that belongs to a photo, through the command line and the library.

What must be kept is compared field by field, and what cannot be kept must be said.
"""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageCms
from test_cli import FakeEditor, run
from test_metadata import IPTC, XMP, block, said, with_iptc

import gpublur
from gpublur import api, image_io
from gpublur.image_io import Photo

H, W = 24, 36
Y, X = np.mgrid[:H, :W]
SMOOTH = np.stack([Y * 9, X * 6, 255 - Y * 5, 128 + X * 3], -1).astype(np.uint8)  # lossy formats keep it nearly
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDE = SRGB[:-1] + b"\x01"  # another one: its bytes are what is looked at
PROFILES = {"none": None, "srgb": SRGB, "other": WIDE}
MODES = {"L": 0, "RGB": slice(3), "RGBA": slice(4)}
EXIF_IN = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
LOSSLESS = ("PNG", "TIFF", "BMP")


class Case(NamedTuple):
    """A file and what was put into it."""

    name: str
    data: bytes
    upright: np.ndarray
    format: str
    icc: bytes | None
    exif: bytes | None
    bits: int
    dpi: bool
    texts: bool


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The picture that a viewer shows of stored pixels, said another way than in the package."""
    method = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
              7: "TRANSVERSE", 8: "ROTATE_90"}.get(orientation)  # fmt: skip
    index = np.arange(H * W).reshape(H, W).astype(np.int32)
    image = Image.fromarray(index)
    order = np.asarray(image.transpose(Image.Transpose[method]) if method else image)
    return pixels.reshape(H * W, -1)[order].reshape(*order.shape, *pixels.shape[2:])


def cases() -> Iterator[Case]:
    formats = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP"]
    for format, orientation, profile in itertools.product(formats, range(1, 9), PROFILES):
        if format == "BMP" and (orientation > 1 or profile != "none"):
            continue
        yield written(format, orientation, profile, "RGB", 8, texts=orientation % 2 == 0)
    for format, mode, profile in itertools.product(formats, MODES, PROFILES):
        if mode != "RGB" and (mode == "L" or image_io.FORMATS[format].alpha) and (format != "BMP" or profile == "none"):
            for orientation in (1, 3, 5, 8) if format in EXIF_IN else (1,):
                yield written(format, orientation, profile, mode, 8, texts=False)
    for format, mode, orientation in itertools.product(("PNG", "TIFF"), MODES, range(1, 9)):
        yield written(format, orientation, "none" if mode == "L" else "srgb", mode, 16, texts=False)
    for mode, bits, profile in itertools.product(MODES, (10, 12), ("none", "srgb")):
        yield written("AVIF", 1, profile, mode, bits, texts=True)
    if "HEIF" in image_io.writable():
        for mode, bits, profile in itertools.product(MODES, (8, 10), PROFILES):
            yield written("HEIF", 1, profile, mode, bits, texts=True)


def written(format: str, orientation: int, profile: str, mode: str, bits: int, *, texts: bool) -> Case:
    pixels = np.ascontiguousarray(SMOOTH[..., MODES[mode]])
    if bits > 8:
        pixels = pixels.astype(np.uint16) * 257
    icc = PROFILES[profile] if mode != "L" else None
    order = "<" if orientation < 5 else ">"
    exif = block(order, orientation) if format in EXIF_IN or format == "HEIF" else None
    dpi = format in ("JPEG", "PNG", "TIFF", "BMP") and bits == 8
    name = f"{format}-{orientation}-{profile}-{mode}-{bits}{image_io.FORMATS[format].suffixes[0]}"
    if format == "AVIF" and orientation > 1:
        exif = b""  # its boxes say the orientation; Pillow puts that there, and writes a block anew
    if bits == 8 and format != "HEIF" and (format != "AVIF" or orientation > 1):
        known = {"icc_profile": icc, "exif": exif if format != "TIFF" else None, "dpi": (300, 300) if dpi else None}
        known |= {"xmp": XMP if texts and format in ("JPEG", "WEBP", "AVIF") else None}
        known |= {"comment": b"by the sea" if texts and format == "JPEG" else None}
        known |= {"quality": 95} if format in ("JPEG", "AVIF") else {"lossless": True}
        known |= {"subsampling": "4:4:4"} if format in ("JPEG", "AVIF") and mode != "L" else {}
        known |= {"speed": 10, "exif": block(order, orientation)} if format == "AVIF" else {}
        out = io.BytesIO()
        if format == "TIFF":
            data = image_io.encode(
                Photo(pixels, format, icc=icc, exif=exif, dpi=(300, 300), xmp=XMP if texts else None)
            )
        else:
            Image.fromarray(pixels).save(
                out, format, **{key: value for key, value in known.items() if value is not None}
            )
            data = out.getvalue()
        data = with_iptc(data) if texts and format == "JPEG" else data
    else:
        photo = Photo(pixels, format, icc=icc, exif=exif, bits=bits, xmp=XMP if texts else None)
        photo.exif = exif and image_io.exif.cleaned(exif, W, H) if format == "AVIF" else exif
        data = image_io.encode(photo, jpeg_quality=95)
    return Case(name, data, turned(pixels, orientation), format, icc, exif or None, bits, dpi, texts)


def check(case: Case, photo: Photo, work: str) -> None:
    """Compare every field of a result with what went in."""
    assert photo.format == case.format, work
    want = case.upright.astype(int)
    if case.format == "WEBP" and want.ndim == 2:  # which knows no grey
        want = np.dstack([want] * 3)
    if work == "inverted":
        want = np.iinfo(case.upright.dtype).max - want
    scale = 257 if case.upright.dtype == np.uint16 else 1
    error = np.abs(photo.pixels.astype(int) - want)
    lossless = case.format in LOSSLESS or photo.lossless
    assert photo.pixels.shape == want.shape
    assert error.max() <= (0 if lossless else 14 * scale)
    assert (photo.bits, photo.pixels.dtype) == (case.bits, case.upright.dtype)
    assert photo.icc == case.icc
    if case.exif is not None:
        original, kept = said(case.exif), said(photo.exif or b"")
        assert 0x0112 not in kept
        for tag in set(original) - {0x0112, 0xA002, 0xA003}:
            assert kept[tag] == original[tag], hex(tag)
        sides = [int.from_bytes(kept[tag][2], "little") for tag in (0xA003, 0xA002)]
        assert sides == list(case.upright.shape[:2])
    if case.dpi:
        assert photo.dpi == pytest.approx((300, 300), abs=0.02)
    if case.texts and case.format not in ("PNG", "BMP"):
        assert photo.xmp == XMP
    if case.texts and case.format == "JPEG":
        assert (photo.iptc, photo.comment) == (IPTC, b"by the sea")


@pytest.fixture(scope="module")
def corpus() -> list[Case]:
    return list(cases())


def test_there_are_many(corpus: list[Case]) -> None:
    assert 240 <= len(corpus) <= 320
    assert len({case.name for case in corpus}) == len(corpus)


def test_the_library_keeps_everything(corpus: list[Case]) -> None:
    nothing = lambda pixels: pixels  # noqa: E731
    sources = [case.data for case in corpus]
    for case, outcome in zip(corpus, gpublur.process(sources, nothing, jpeg_quality=95), strict=True):
        assert outcome.error is None, case.name
        check(case, image_io.decode(case.data), "read")
        check(case, image_io.decode(outcome.value), "through")


def test_an_editor_keeps_everything(corpus: list[Case]) -> None:
    editor = gpublur.Editor("cpu")
    for case in corpus[::7]:
        result = editor.blur_background(case.data, mask=np.ones(case.upright.shape[:2], bool))
        check(case, image_io.decode(result), "through")


def test_the_command_line_keeps_everything(corpus: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "Editor", FakeEditor)
    (tmp_path / "in").mkdir()
    for case in corpus:
        (tmp_path / "in" / case.name).write_bytes(case.data)
    result = run("blur", tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(case.name for case in corpus)
    for case in corpus:
        check(case, image_io.decode(tmp_path / "out" / case.name), "inverted")
    assert [line for line in result.stderr.splitlines() if ": " in line] == []  # nothing was lost
