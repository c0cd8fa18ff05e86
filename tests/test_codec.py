"""Bytes to pixels and back: what must survive, and what must be refused."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from gpublur import image_io
from gpublur.errors import ImageFileError, InvalidArgument
from gpublur.image_io import Photo

ORIENTATION, MAKE, EXIF_IFD, IFD1, WIDTH, HEIGHT = 0x0112, 0x010F, 0x8769, -1, 0xA002, 0xA003
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]
RGB8 = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
DEEP = np.random.default_rng(2).integers(0, 65536, (6, 9, 4), dtype=np.uint16)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def exif(orientation: int = 1) -> bytes:
    block = Image.Exif()
    block[ORIENTATION], block[MAKE] = orientation, "Maker"
    block[EXIF_IFD] = {WIDTH: 9, HEIGHT: 6, 0x9003: "2024:01:02 03:04:05"}
    return block.tobytes()


def read_exif(data: bytes) -> Image.Exif:
    block = Image.Exif()
    block.load(data)
    return block


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png[:33] + chunk + png[33:]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(orientation: int, format: str) -> None:
    data = saved(Image.fromarray(RGB8), format, exif=exif(orientation))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    photo = image_io.decode(data)
    np.testing.assert_array_equal(photo.pixels, upright)
    assert photo.pixels.flags.c_contiguous
    assert photo.pixels.flags.writeable
    again = image_io.decode(image_io.encode(photo))
    np.testing.assert_array_equal(again.pixels, upright)
    block = read_exif(again.exif)
    assert ORIENTATION not in block
    assert block[MAKE] == "Maker"
    details = block.get_ifd(EXIF_IFD)
    assert (details[HEIGHT], details[WIDTH]) == upright.shape[:2]
    assert details[0x9003] == "2024:01:02 03:04:05"


def test_orientation_of_a_16_bit_png() -> None:
    data = image_io.encode(Photo(DEEP, exif=exif(6)))
    np.testing.assert_array_equal(image_io.decode(data).pixels, np.rot90(DEEP, -1))


def test_an_impossible_orientation_is_ignored() -> None:
    assert image_io.decode(saved(Image.fromarray(RGB8), "JPEG", exif=exif(11))).pixels.shape == RGB8.shape


def test_broken_exif_does_not_cost_the_photo() -> None:
    photo = image_io.decode(saved(Image.fromarray(RGB8), "JPEG", exif=b"Exif\0\0this is no EXIF block"))
    assert photo.pixels.shape == RGB8.shape
    assert photo.exif is None


def test_the_thumbnail_is_left_out() -> None:
    thumbnail = saved(Image.fromarray(RGB8), "JPEG")
    # One entry (Make) in IFD0, then IFD1 with the thumbnail's place and length.
    ifd0 = struct.pack("<HHHI4sI", 1, MAKE, 2, 4, b"Abc\0", 26)
    ifd1 = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + ifd0 + ifd1 + thumbnail
    assert read_exif(block).get_ifd(IFD1)  # the test's own block has one
    kept = image_io.decode(saved(Image.fromarray(RGB8), "JPEG", exif=block)).exif
    assert read_exif(kept)[MAKE] == "Abc"
    assert not read_exif(kept).get_ifd(IFD1)
    assert thumbnail not in kept


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_profile_and_exif_survive(format: str) -> None:
    data = saved(Image.fromarray(RGB8), format, icc_profile=SRGB, exif=exif())
    photo = image_io.decode(data)
    again = image_io.decode(image_io.encode(photo))
    assert photo.format == again.format == format
    assert photo.icc == again.icc == SRGB
    assert read_exif(again.exif)[MAKE] == "Maker"


def test_profile_and_exif_survive_in_a_16_bit_png() -> None:
    photo = Photo(DEEP[..., :3], "PNG", SRGB, exif())
    again = image_io.decode(image_io.encode(photo))
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    assert again.icc == SRGB
    assert read_exif(again.exif)[MAKE] == "Maker"


def test_a_profile_for_other_channels_is_dropped() -> None:
    assert Photo(RGB8, icc=GREY).icc is None
    assert Photo(RGB8[..., 0], icc=GREY).icc == GREY
    assert Photo(RGB8[..., 0], icc=SRGB).icc is None
    cmyk = Image.fromarray(RGB8).convert("CMYK")
    photo = image_io.decode(saved(cmyk, "TIFF", icc_profile=SRGB[:16] + b"CMYK" + SRGB[20:]))
    assert photo.icc is None
    np.testing.assert_array_equal(photo.pixels, RGB8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_png_stays_16_bit(channels: int) -> None:
    pixels = DEEP[..., 0] if channels == 1 else DEEP[..., :channels]
    data = imagecodecs.png_encode(np.ascontiguousarray(pixels))
    photo = image_io.decode(data)
    assert photo.pixels.dtype == np.uint16
    np.testing.assert_array_equal(photo.pixels, pixels)
    again = image_io.encode(photo)
    assert again[24] == 16
    np.testing.assert_array_equal(imagecodecs.png_decode(again), pixels)


def test_16_bit_grey_with_alpha_becomes_rgba() -> None:
    data = imagecodecs.png_encode(np.ascontiguousarray(DEEP[..., :2]))
    np.testing.assert_array_equal(image_io.decode(data).pixels, DEEP[..., [0, 0, 0, 1]])


def test_16_bit_grey_tiff_stays_16_bit() -> None:
    photo = image_io.decode(image_io.encode(Photo(DEEP[..., 0], "TIFF")))
    assert photo.pixels.dtype == np.uint16
    np.testing.assert_array_equal(photo.pixels, DEEP[..., 0])


def test_16_bits_are_rounded_where_the_format_has_8() -> None:
    values = np.array([[0, 128, 129, 257, 65535 - 129, 65535 - 128, 65535]], np.uint16)
    data = image_io.encode(Photo(np.stack([values] * 3, -1)), "BMP")
    np.testing.assert_array_equal(image_io.decode(data).pixels[..., 0], [[0, 0, 1, 1, 254, 255, 255]])


def test_palette_grey_alpha_and_one_bit() -> None:
    colours = Image.fromarray(RGB8)
    palette = colours.quantize(256)
    np.testing.assert_array_equal(image_io.decode(saved(palette, "PNG")).pixels, np.asarray(palette.convert("RGB")))
    grey_alpha = Image.merge("LA", [Image.fromarray(RGB8[..., 0]), Image.fromarray(RGB8[..., 1])])
    np.testing.assert_array_equal(image_io.decode(saved(grey_alpha, "PNG")).pixels, RGB8[..., [0, 0, 0, 1]])
    one_bit = image_io.decode(saved(colours.convert("1"), "PNG")).pixels
    assert one_bit.shape == RGB8.shape[:2]
    assert set(np.unique(one_bit)) == {0, 255}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_transparent_colour_of_a_png_becomes_alpha(channels: int, bits: int) -> None:
    pixels = (np.arange(24).reshape(2, 4, 3) * (1 if bits == 8 else 1000)).astype(f"uint{bits}")
    pixels = np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels)
    png = with_chunk(imagecodecs.png_encode(pixels), b"tRNS", pixels[:1, 1].astype(">u2").tobytes())
    alpha = image_io.decode(png).pixels[..., 3]
    expected = np.full((2, 4), 2**bits - 1)
    expected[0, 1] = 0
    np.testing.assert_array_equal(alpha, expected)


def test_of_an_animation_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    for format in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)
        photo = image_io.decode(data)
        assert tuple(photo.pixels[0, 0, :3]) == (255, 0, 0), format


def test_a_multi_picture_jpeg_is_a_jpeg() -> None:
    frames = [Image.fromarray(RGB8), Image.fromarray(RGB8[::-1])]
    assert image_io.decode(saved(frames[0], "MPO", save_all=True, append_images=frames[1:])).format == "JPEG"


def test_jpeg_keeps_the_picture() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = 255  # red and black columns: chroma subsampling would mix them
    error = image_io.decode(image_io.encode(Photo(stripes), "JPEG")).pixels.astype(int) - stripes
    assert np.abs(error).max() < 16


def test_quality_changes_a_jpeg_and_is_checked() -> None:
    assert len(image_io.encode(Photo(RGB8), "JPEG", jpeg_quality=20)) < len(image_io.encode(Photo(RGB8), "JPEG"))
    with pytest.raises(InvalidArgument, match="jpeg_quality=0 "):
        image_io.encode(Photo(RGB8), "JPEG", jpeg_quality=0)


@pytest.mark.parametrize("format", ["JPEG", "BMP"])
def test_transparency_needs_a_format_that_holds_it(format: str) -> None:
    with pytest.raises(InvalidArgument, match=r"transparency.*PNG, WEBP, TIFF, AVIF.*--color"):
        image_io.encode(Photo(np.zeros((2, 2, 4), np.uint8)), format)


def test_formats_that_are_not_written() -> None:
    with pytest.raises(InvalidArgument, match="format='GIF'"):
        image_io.encode(Photo(RGB8), "GIF")
    with pytest.raises(ImageFileError, match="cannot be written as WEBP"):
        image_io.encode(Photo(np.zeros((1, 16384), np.uint8)), "WEBP")


def test_format_of() -> None:
    assert image_io.format_of(Path("a.JPG")) == "JPEG"
    assert image_io.format_of(Path("dir.png/a.tif")) == "TIFF"
    with pytest.raises(InvalidArgument, match=r"a\.txt"):
        image_io.format_of(Path("a.txt"))


def bad_pictures() -> dict[str, bytes]:
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    jpeg, png = image_io.encode(Photo(noise), "JPEG"), image_io.encode(Photo(noise))
    deep = image_io.encode(Photo(noise.astype(np.uint16) * 257))
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    return {
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "header.jpg": jpeg[:20],
        "truncated.png": png[: len(png) // 2],
        "flipped.png": bytes(flipped),
        "truncated16.png": deep[: len(deep) // 2],
        "truncated.webp": image_io.encode(Photo(noise), "WEBP")[:200],
        "truncated.tif": image_io.encode(Photo(noise), "TIFF")[:200],
        "truncated.avif": image_io.encode(Photo(noise), "AVIF")[:200],
        "text.jpg": b"This is no picture.\n",
        "empty.jpg": b"",
        "float.tif": saved(Image.new("F", (4, 4)), "TIFF"),
    }


@pytest.mark.parametrize("name", bad_pictures())
def test_bad_files_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(bad_pictures()[name])
    with pytest.raises(ImageFileError, match=rf"{name}: .+"):
        image_io.decode(path)


def test_an_empty_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageFileError, match=r"empty\.jpg: is empty"):
        image_io.decode(tmp_path / "empty.jpg")


def test_a_fresh_process_reads_every_format(tmp_path: Path) -> None:
    for format in image_io.WRITTEN:  # here Pillow has loaded all its readers; there it has none
        (tmp_path / format).write_bytes(image_io.encode(Photo(RGB8), format))
    code = "import pathlib, sys; from gpublur import image_io as io; "
    code += "[io.decode(p) for p in pathlib.Path(sys.argv[1]).iterdir()]"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_unreadable_paths(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.jpg", tmp_path):
        with pytest.raises(ImageFileError, match=rf"{path}: cannot be read: \w+"):
            image_io.decode(path)


def test_a_bomb_is_refused_before_it_is_decompressed() -> None:
    claimed = with_size(image_io.encode(Photo(RGB8)), 50_000, 50_000)
    with pytest.raises(ImageFileError, match=r"50000 x 50000 pixels, more than the limit of 250 million"):
        image_io.decode(claimed)
    with pytest.raises(ImageFileError, match="9 x 6 pixels"):
        image_io.decode(image_io.encode(Photo(RGB8)), max_pixels=53)
    assert image_io.decode(image_io.encode(Photo(RGB8)), max_pixels=54).pixels.shape == RGB8.shape


def test_our_limit_replaces_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert image_io.decode(image_io.encode(Photo(RGB8))).pixels.shape == RGB8.shape


def with_size(png: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **options)
    return out.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {}, {"progressive": True}, {"subsampling": "4:2:0", "quality": 60}, {"subsampling": "4:2:2"},
        {"restart_marker_rows": 2}, {"keep_rgb": True}, {"optimize": True, "quality": 100},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_every_jpeg_has_pillows_pixels(monkeypatch: pytest.MonkeyPatch, channels: int, options: dict[str, Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (45, 67, 3), np.uint8)[..., slice(None) if channels == 3 else 0]
    data = jpeg(np.ascontiguousarray(pixels), **options)
    want = np.asarray(Image.open(io.BytesIO(data)))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("Pillow decoded it"))
    np.testing.assert_array_equal(image_io.decode(data).pixels, want)


def test_a_jpeg_without_its_end_is_no_picture_wherever_it_is_cut() -> None:
    """Its thumbnail has an end of its own, and the faster decoder would fill up the rest with grey."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    exif = Image.Exif()
    exif[0x9286] = b"\xff\xd9" + jpeg(pixels[:8, :8])
    whole = jpeg(pixels, exif=exif)
    assert image_io.decode(whole).pixels.shape == pixels.shape
    assert image_io.decode(whole + b"\xff\xd8 more behind it").pixels.shape == pixels.shape
    start = whole.rindex(b"\xff\xda")
    for cut in (start + 20, (start + len(whole)) // 2, len(whole) - 20):
        with pytest.raises(ImageFileError, match="truncated"):
            image_io.decode(whole[:cut])


@pytest.mark.parametrize(
    ("given", "name"), [("jpeg", "JPEG"), ("jpg", "JPEG"), (".jpg", "JPEG"), ("Png", "PNG"), ("TIF", "TIFF")]
)
def test_formats_in_any_case_and_by_suffix(given: str, name: str) -> None:
    assert image_io.written(given, alpha=False) == name
    assert image_io.decode(image_io.encode(Photo(np.zeros((2, 3), np.uint8)), given)).format == name


@pytest.mark.parametrize("given", ["gif", "jgp", "", ".", None, 3])
def test_formats_that_are_none(given: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"format=.* is not one of 'JPEG', 'PNG'"):
        image_io.written(given, alpha=False)
