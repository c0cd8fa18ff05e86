"""What belongs to a photo beside its pixels: each fault that a user met, as the smallest file that has it."""

import io
import logging
import struct
import time
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

import gpublur
from gpublur import ImageFileError, InvalidArgument, PictureTooLarge, image_io
from gpublur.image_io import Photo, exif, isobmff, jpeg, tiff

MAKE, ARTIST, COPYRIGHT, GPS, MAKER_NOTE = 0x010F, 0x013B, 0x8298, 0x8825, 0x927C
RGB = np.random.default_rng(1).integers(0, 256, (24, 36, 3), np.uint8)
DEEP = RGB.astype(np.uint16) * 257 ^ 0x55
NAME = "© José Ñandú".encode()  # UTF-8, which EXIF's ASCII is not
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="1" dc:title="by the sea"/></x:xmpmeta>'
IPTC = b"\x1c\x02\x78\x00\x0aby the sea"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NOTE = bytes(range(256)) * 3


def saved(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def block(order="<", orientation=6, extra=()):
    """An EXIF block as cameras write it, with a maker's note, and GPS: its bytes are known to the last."""

    def value(kind, *values):
        form = {3: "H", 4: "I", 5: "II"}[kind]
        return (
            kind,
            len(values) if kind != 5 else 1,
            struct.pack(f"{order}{form * (1 if kind == 5 else len(values))}", *values),
        )

    details = {
        0x9003: (2, 20, b"2024:01:02 03:04:05\0"), MAKER_NOTE: (7, len(NOTE), NOTE), 0xA002: value(4, 36),
        0xA003: value(3, 24), 0x829A: value(5, 1, 250),
    }  # fmt: skip
    place = {1: (2, 2, b"N\0"), 2: (5, 3, struct.pack(f"{order}6I", 1, 1, 2, 1, 3, 1))}
    tags = {
        MAKE: (2, 6, b"Maker\0"), 0x0112: value(3, orientation), COPYRIGHT: (2, len(NAME) + 1, NAME + b"\0"),
        exif.EXIF_IFD: details, GPS: place,
    }  # fmt: skip
    tags |= dict(extra)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return exif.PREFIX + mark + struct.pack(f"{order}I", 8) + exif.write_tags(tags, order, 8)


def said(found, order="<"):
    """The tags of a block, flat."""
    tags = exif.tags_of(found, order)
    return {tag: value for tag, value in tags.items() if not isinstance(value, dict)} | {
        tag: value for inner in tags.values() if isinstance(inner, dict) for tag, value in inner.items()
    }


def round_trip(data, format=None):
    photo = image_io.decode(data)
    return photo, image_io.decode(image_io.encode(photo, format))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_exif_is_kept_byte_for_byte(format, order):
    """UTF-8 became question marks, and makers' notes moved."""
    given = block(order)
    source = saved(Image.fromarray(RGB), "JPEG", exif=given)
    if format == "HEIF":
        pytest.importorskip("pillow_heif")
    photo, again = round_trip(source, format)
    assert photo.pixels.shape == (36, 24, 3)  # turned
    want = said(given) | {0xA002: (4, 1, struct.pack("<I", 24)), 0xA003: (4, 1, struct.pack("<I", 36))}
    del want[0x0112]
    assert said(photo.exif) == want
    assert {tag: value for tag, value in said(again.exif).items() if tag not in (0x011A, 0x011B, 0x0128)} == want
    assert said(again.exif)[COPYRIGHT][2] == NAME + b"\0"
    if format not in ("TIFF", "HEIF"):
        assert again.exif == photo.exif
        assert photo.exif.index(NOTE) == given.index(NOTE)  # where the maker's software looks for it


@pytest.mark.parametrize("wild", [0x9999, 0x829A])
@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_one_wild_tag_does_not_cost_the_block(format, wild):
    """A count of 2^31 cost the date and the maker's note."""
    given = bytearray(block(extra={0x9999: (4, 1, bytes(4))}.items()))
    at = given.index(struct.pack("<H", wild))
    given[at + 4 : at + 8] = struct.pack("<I", 2**31)
    _, again = round_trip(saved(Image.fromarray(RGB), "JPEG", exif=bytes(given)), format)
    kept = said(again.exif)
    assert kept[0x9003][2] == b"2024:01:02 03:04:05\0"
    assert kept[MAKER_NOTE][2] == NOTE
    assert kept[1][2] == b"N\0"


def test_blocks_that_are_cut_anywhere_are_no_fault():
    whole = block()
    for cut in range(6, len(whole), 7):
        exif.cleaned(whole[:cut], 5, 4)
        assert exif.orientation_of(whole[:cut]) in (None, 6)
    pointing = bytearray(block())
    at = pointing.index(struct.pack("<HHI", exif.EXIF_IFD, 4, 1))
    pointing[at + 8 : at + 12] = struct.pack("<I", 8)  # at itself
    assert exif.tags_of(bytes(pointing), "<")
    exif.cleaned(bytes(pointing), 5, 4)


def test_exif_of_megabytes_is_dropped_at_once():
    """Rebuilding it took minutes of CPU time."""
    many = {tag: (5, 8000, bytes(64000)) for tag in range(0xC000, 0xC040)}
    png = saved(Image.fromarray(RGB), "PNG")
    body = block(extra=many.items())[6:]
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    before = time.process_time()
    photo = image_io.decode(png[:33] + chunk + png[33:])
    assert time.process_time() - before < 2
    assert photo.exif is None
    assert any("more than 64 kB" in note for note in photo.notes)


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded():
    """One of 334 kB took 30 seconds of CPU time."""
    data = saved(Image.fromarray(RGB[..., 0]), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    assert image_io.decode(data[:-2] + scan * 100 + data[-2:]).pixels.shape == (24, 36)
    with pytest.raises(ImageFileError, match="scans, more than the limit of 256"):
        image_io.decode(data[:-2] + scan * 300 + data[-2:])


def ratio(value):
    above, below = struct.unpack("<II", value[2])
    return above / below


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "BMP", "HEIF"])
def test_resolution_is_kept(format):
    """Print shops saw 72 dpi."""
    if format == "HEIF":
        pytest.importorskip("pillow_heif")
    for source in ("JPEG", "PNG", "TIFF", "BMP"):
        photo, again = round_trip(saved(Image.fromarray(RGB), source, dpi=(300, 200)), format)
        assert photo.dpi == pytest.approx((300, 200), abs=0.02)
        if format in ("WEBP", "AVIF", "HEIF"):
            kept = said(again.exif)
            assert [ratio(kept[tag]) for tag in (0x011A, 0x011B)] == pytest.approx((300, 200), abs=0.02)
        else:
            assert again.dpi == pytest.approx((300, 200), abs=0.02)


def test_a_tiff_without_a_resolution_gets_none():
    """It had one dot per inch, and a JPEG made of it said so."""
    picture = image_io.decode(tiff.write(Photo(RGB)))
    assert picture.dpi is None
    assert Image.open(io.BytesIO(image_io.encode(picture, "JPEG"))).info["jfif_unit"] == 0


def test_the_resolution_of_16_bit_png():
    again = image_io.decode(image_io.encode(Photo(DEEP, dpi=(300, 300))))
    assert again.dpi == pytest.approx((300, 300), abs=0.02)


def with_iptc(data):
    return data[:2] + jpeg.iptc_segment(IPTC) + data[2:]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_xmp_iptc_and_comment_are_kept_or_said(format):
    source = with_iptc(saved(Image.fromarray(RGB), "JPEG", xmp=XMP, comment=b"by the sea \xc3\xa9"))
    photo, again = round_trip(source, format)
    assert (photo.xmp, photo.iptc, photo.comment) == (XMP, IPTC, b"by the sea \xc3\xa9")
    assert again.xmp == XMP
    lost = "".join(image_io.losses(photo, format))
    for name, word in (("iptc", "IPTC"), ("comment", "comment")):
        assert (getattr(again, name) == getattr(photo, name)) != (word in lost), name


def test_an_orientation_that_xmp_alone_says_is_applied_once():
    photo = image_io.decode(saved(Image.fromarray(RGB), "JPEG", xmp=XMP.replace(b'ion="1"', b'ion="6"')))
    np.testing.assert_array_equal(photo.pixels.shape, (36, 24, 3))
    assert photo.xmp == XMP


def with_chunk(png, kind, body):
    return png[:33] + struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) + png[33:]


@pytest.mark.parametrize("bits", [8, 16])
def test_png_s_words_on_colours_are_kept_or_said(bits):
    """HDR came back washed out, without a word."""
    png = imagecodecs.png_encode(RGB if bits == 8 else DEEP)
    png = with_chunk(with_chunk(bytes(png), b"cICP", bytes((9, 16, 0, 1))), b"gAMA", struct.pack(">I", 100000))
    photo, again = round_trip(png)
    assert photo.colour == again.colour == {b"cICP": bytes((9, 16, 0, 1)), b"gAMA": struct.pack(">I", 100000)}
    assert image_io.losses(photo, "PNG") == []
    assert "PQ (HDR)" in image_io.losses(photo, "JPEG")[-1]
    plain = image_io.decode(with_chunk(bytes(png)[:33] + bytes(png)[33:], b"sRGB", b"\0"))
    assert "PQ" in "".join(image_io.losses(plain, "WEBP"))
    assert image_io.losses(Photo(RGB, colour={b"gAMA": struct.pack(">I", 45455)}), "JPEG") == []
    assert "gAMA" in image_io.losses(Photo(RGB, colour={b"gAMA": struct.pack(">I", 100000)}), "JPEG")[0]


def test_the_texts_of_a_png_are_kept_or_said():
    png = with_chunk(saved(Image.fromarray(RGB), "PNG"), b"tEXt", b"parameters\0a lighthouse, seed 7")
    png = with_chunk(png, b"iTXt", b"Title\0\0\0\0\0By the s\xc3\xa9a")
    photo, again = round_trip(png)
    assert len(photo.texts) == 2
    assert again.texts == photo.texts
    assert image_io.losses(photo, "JPEG") == ["JPEG has no room for PNG's texts"]
    assert Image.open(io.BytesIO(image_io.encode(photo))).text == {
        "parameters": "a lighthouse, seed 7",
        "Title": "By the séa",
    }


def cmyk_profile():
    """A profile of two tables: from CMYK to Lab, wrong on purpose: it knows a grey of 50 % alone."""
    curve = (
        struct.pack(">4sI", b"mft1", 0)
        + bytes((4, 3, 2, 0))
        + struct.pack(">9i", *[65536 if i % 4 == 0 else 0 for i in range(9)])
    )
    a2b = curve + bytes(range(256)) * 4 + bytes((128, 128, 128)) * 16 + bytes(range(256)) * 3
    white = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + white,
        b"A2B0": a2b,
        b"A2B1": a2b,
    }
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    size = at + len(body)
    head = (
        struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
        + bytes(12)
        + b"acsp"
        + bytes(28)
    )
    head += white
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_read_by_its_own_profile(format):
    """Colours differed by 17 of 255 on average."""
    image = Image.fromarray(RGB).convert("CMYK")
    photo = image_io.decode(
        saved(image, format, icc_profile=cmyk_profile(), **({"quality": 95} if format == "JPEG" else {}))
    )
    assert np.ptp(photo.pixels) <= 16  # grey all over, as that profile says
    assert 90 < photo.pixels.mean() < 140
    assert photo.icc is None
    assert "its CMYK colours became sRGB" in photo.notes
    image.info["icc_profile"] = cmyk_profile()
    result = gpublur.gaussian_blur(image, "1px")
    assert "icc_profile" not in result.info
    assert np.ptp(np.asarray(result)) <= 16


def test_what_stays_of_a_pil_image():
    """A phone's photo came back sideways, and no longer said so."""
    given = Image.open(io.BytesIO(saved(Image.fromarray(RGB), "JPEG", exif=block(), icc_profile=SRGB, dpi=(300, 300))))
    result = gpublur.gaussian_blur(given, "1px")
    assert result.size == (24, 36)
    assert (result.info["icc_profile"], result.info["dpi"]) == (SRGB, (300, 300))
    kept = Image.Exif()
    kept.load(result.info["exif"])
    assert 0x0112 not in kept
    assert kept[MAKE] == "Maker"


def test_a_closed_pil_image_is_our_error(tmp_path):
    (tmp_path / "a.png").write_bytes(saved(Image.fromarray(RGB), "PNG"))
    with Image.open(tmp_path / "a.png") as image:
        pass
    with pytest.raises(ImageFileError, match="image cannot be decoded"):
        gpublur.gaussian_blur(image)
    mask = np.ones((24, 36), bool)
    with pytest.raises(ImageFileError, match="mask cannot be decoded"):
        gpublur.blur_background(Image.fromarray(mask), mask=image)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_that_lacks_its_end_marker_alone_is_read_and_said(channels, progressive):
    pixels = RGB if channels == 3 else RGB[..., 0]
    whole = saved(Image.fromarray(np.ascontiguousarray(pixels)), "JPEG", progressive=progressive)
    want = image_io.decode(whole)
    for cut in (1, 2):
        photo = image_io.decode(whole[:-cut])
        np.testing.assert_array_equal(photo.pixels, want.pixels)
        assert photo.notes == ["its end marker is missing; the picture is whole"]
    assert want.notes == []


def frames_of(count=4):
    rng = np.random.default_rng(5)
    return list(np.repeat(np.repeat(rng.integers(0, 256, (count, 2, 3, 3), np.uint8), 10, 1), 10, 2))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_all_frames_are_worked_on(format, caplog):
    """An animation was cut to its first frame, without a word."""
    pages = frames_of()
    images = [Image.fromarray(page) for page in pages]
    options = {"lossless": True} if format == "WEBP" else {}
    options |= {} if format == "TIFF" else {"duration": [100, 200, 300, 400], "loop": 0}
    data = saved(images[0], format, save_all=True, append_images=images[1:], **options)
    photo = image_io.decode(data)
    assert len(photo.frames) == 3
    for page, got in zip(pages, (photo.pixels, *photo.frames), strict=True):
        error = np.abs(got[..., :3].astype(int) - page)
        assert error.mean() < (12 if format in ("GIF", "AVIF") else 1e-9)
    work = lambda pixels: 255 - pixels  # noqa: E731
    [outcome] = gpublur.process([data], work)
    assert outcome.error is None
    again = image_io.decode(outcome.value)
    assert again.format == ("PNG" if format == "GIF" else format)
    assert len(again.frames) == 3
    if format != "TIFF":
        assert list(again.durations) == [100, 200, 300, 400]
        assert again.loop == 0
    bytes_back = image_io.decode(gpublur.gaussian_blur(data, "1px"))
    assert len(bytes_back.frames) == 3
    found, info = gpublur.blur_background(photo, mask=np.ones((20, 30), bool), details=True)
    assert (len(found.frames), len(info)) == (3, 4)
    np.testing.assert_array_equal(found.frames[2], photo.frames[2])
    caplog.clear()
    gpublur.gaussian_blur(Image.open(io.BytesIO(data)))
    assert "frame 0 of 4 is used" in caplog.text


def test_a_mask_is_read_from_a_file_as_a_picture_is(tmp_path):
    """It was refused with the words that it may be one; and what `segment` gives for a photo was no mask of it."""
    pages = frames_of(3)
    photo = Photo(pages[0], frames=pages[1:])
    mattes = [np.full((20, 30), 255 * (i == 1), np.uint8) for i in range(3)]
    mask = Photo(mattes[0], frames=mattes[1:])
    path, editor, edit = tmp_path / "m.png", gpublur.Editor("cpu"), gpublur.Edit(blur=gpublur.BlurSpec(radius=0.05))
    gpublur.save(path, mask)
    for given in (mask, path, str(path), path.read_bytes()):
        blurred = editor.blur_background(photo, radius="1.5px", mask=given)
        for done in (blurred, editor.edit_photo(photo, edit, mask=given), gpublur.apply(photo, edit, mask=given)):
            kept = [(a == b).all() for a, b in zip((done.pixels, *done.frames), pages, strict=True)]
            assert kept == [False, True, False]
    [one, two] = editor.blur_background(pages[:2], mask=[mattes[1], Photo(mattes[1])])
    np.testing.assert_array_equal([one, two], pages[:2])
    with pytest.raises(InvalidArgument, match="mask has 3 masks for 2 frames"):
        editor.edit_photo(Photo(pages[0], frames=pages[1:2]), edit, mask=mask)


def test_frames_that_lose_bits_are_told_of():
    colours = image_io.decode(tiff.write(Photo(DEEP, "TIFF", frames=[DEEP])))
    assert (colours.bits, colours.notes) == (8, ["its frames or pages, of more than 8 bits, became 8-bit"])
    grey = image_io.decode(tiff.write(Photo(DEEP[..., 0], "TIFF", frames=[DEEP[..., 0]])))
    assert (grey.bits, grey.notes) == (16, [])


@pytest.mark.parametrize("format", ["PNG", "TIFF", "AVIF"])
def test_the_head_tells_of_more_than_8_bits(format):
    """A server set too little memory aside for an AVIF of 10 bits."""
    assert image_io.head(image_io.encode(Photo(DEEP), format)).deep
    assert not image_io.head(image_io.encode(Photo(RGB), format)).deep


def test_frames_that_are_refused(tmp_path):
    pages = [Image.fromarray(page) for page in frames_of()]
    path = tmp_path / "a.webp"
    path.write_bytes(saved(pages[0], "WEBP", save_all=True, append_images=pages[1:]))
    with pytest.raises(InvalidArgument, match=r"a\.webp' holds 4 pictures: give gpublur\.open"):
        gpublur.gaussian_blur(path)
    with pytest.raises(
        InvalidArgument, match=r"JPEG holds one picture, and here are 4: choose one of PNG, WEBP, TIFF, AVIF"
    ):
        image_io.encode(image_io.decode(path), "JPEG")
    with pytest.raises(PictureTooLarge, match=r"with the frames before, more than the limit of 0\.0015 million"):
        image_io.decode(path, max_pixels=1500)
    many = saved(
        Image.new("L", (1, 1)),
        "GIF",
        save_all=True,
        append_images=[Image.new("L", (1, 1), i % 2 * 255) for i in range(1100)],
    )
    with pytest.raises(PictureTooLarge, match="more than 1000 frames"):
        image_io.decode(many)


def test_an_edit_of_an_animation():
    frames = frames_of()
    photo = Photo(frames[0], "WEBP", frames=frames[1:], durations=[10] * 4, lossless=True)
    editor, edit, mask = (
        gpublur.Editor("cpu"),
        gpublur.Edit(remove=True, color="white").checked(),
        np.ones((20, 30), bool),
    )
    done = editor.edit_photo(photo, edit, mask=mask)
    np.testing.assert_array_equal(done.frames, frames[1:])
    with pytest.raises(PictureTooLarge, match="has 4 frames, more than the limit of 3"):
        editor.edit_photo(photo, edit, mask=mask, max_pixels=3_999_999)


def test_pages_of_several_sizes_and_their_thumbnails():
    pages = (RGB, RGB[:5, :7, 0], DEEP)
    photo = Photo(
        pages[0],
        "TIFF",
        frames=pages[1:],
        icc=SRGB,
        xmp=XMP,
        iptc=IPTC,
        dpi=(300, 300),
        exif=exif.cleaned(block(), 36, 24),
    )
    again = image_io.decode(tiff.write(photo))
    np.testing.assert_array_equal(again.pixels, RGB)
    np.testing.assert_array_equal(again.frames[0], RGB[:5, :7, 0])
    assert (again.icc, again.xmp, again.iptc, again.dpi) == (SRGB, XMP, IPTC, (300, 300))
    small = bytearray(tiff.write(Photo(RGB, "TIFF", frames=[RGB[::2, ::2]])))
    at = struct.unpack_from("<I", small, 4)[0]
    (count,) = struct.unpack_from("<H", small, at)
    (second,) = struct.unpack_from("<I", small, at + 2 + 12 * count)
    struct.pack_into("<HHII", small, second + 2 + 12 * 9, 254, 4, 1, 1)  # instead of the planar configuration
    with pytest.raises(InvalidArgument, match="PNG holds frames of one size, and here are 2: choose TIFF"):
        image_io.encode(again, "PNG")  # which Pillow pastes into the first one's corner
    photo = image_io.decode(bytes(small))
    assert len(photo.frames) == 0
    assert photo.notes == ["1 smaller pictures or masks of the same are left out"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_of_16_bits_and_both_orders(dtype, channels, order):
    """16-bit colour became 8-bit."""
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (24, 36, channels), dtype)
    pixels = pixels[..., 0] if channels == 1 else pixels
    kept = exif.cleaned(block(order), 36, 24)
    data = image_io.encode(Photo(pixels, "TIFF", exif=kept))
    assert data[:2] == (b"II" if order == "<" else b"MM")
    again = image_io.decode(data)
    np.testing.assert_array_equal(again.pixels, pixels)
    assert again.pixels.dtype == dtype
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data)).convert("L")).shape, (24, 36))
    assert said(again.exif) == said(kept)


def test_other_pictures_in_a_jpeg_are_said():
    """The gain map of a phone's photo was dropped without a word."""
    images = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    photo = image_io.decode(saved(images[0], "MPO", save_all=True, append_images=images[1:]))
    assert (photo.format, list(photo.notes)) == ("JPEG", ["the main one of its 2 pictures is used"])
    gain = XMP.replace(b"dc:title", b"hdrgm:Version")
    photo = image_io.decode(saved(images[0], "JPEG", xmp=gain))
    assert photo.xmp is None
    assert "gain map" in photo.notes[0]


def test_what_is_left_out_is_logged(tmp_path, caplog):
    path = tmp_path / "a.jpg"
    path.write_bytes(
        saved(Image.fromarray(RGB), "JPEG", xmp=XMP.replace(b"dc:title", b"hdrgm:Version"), comment=b"sea")
    )
    with caplog.at_level(logging.WARNING, "gpublur"):
        photo = gpublur.open(path)
        gpublur.save(tmp_path / "b.webp", photo)
    assert f"{path}: it has a gain map" in caplog.text
    assert f"{tmp_path}/b.webp: WEBP has no room for the comment" in caplog.text


def test_a_lossless_webp_stays_lossless():
    """Its subject, untouched, differed by 37 of 255."""
    for options in ({}, {"save_all": True, "append_images": [Image.fromarray(RGB[::-1])]}):
        photo, again = round_trip(saved(Image.fromarray(RGB), "WEBP", lossless=True, **options))
        assert photo.lossless
        np.testing.assert_array_equal(again.pixels, RGB)
    lossy = image_io.decode(saved(Image.fromarray(RGB), "WEBP"))
    assert not lossy.lossless
    assert (image_io.decode(image_io.encode(Photo(RGB), "WEBP")).pixels != RGB).any()
    clear = np.dstack([RGB, np.zeros((24, 36), np.uint8)])
    np.testing.assert_array_equal(image_io.decode(image_io.encode(Photo(clear), "WEBP", lossless=True)).pixels, clear)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_lossless_avif_of_every_depth(bits, alpha):
    pixels = np.random.default_rng(0).integers(0, 2**bits, (24, 36, 4 if alpha else 3), np.uint16)
    if bits == 8:
        photo = Photo(pixels.astype(np.uint8), "AVIF")
    else:
        photo = image_io.decode(bytes(imagecodecs.avif_encode(pixels, level=100, bitspersample=bits)))
        assert photo.bits == bits
        assert photo.pixels.max() > 65000
    photo.exif, photo.icc, photo.xmp = exif.cleaned(block(), 36, 24), SRGB, XMP
    data = image_io.encode(photo, lossless=True)
    assert isobmff.coding(data).bits == bits
    again = image_io.decode(data)
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    assert (again.exif, again.icc, again.xmp) == (photo.exif, SRGB, XMP)


def test_10_bit_avif_keeps_its_depth_and_its_colours():
    pixels = np.repeat(np.arange(1024, dtype=np.uint16)[None], 16, 0)
    data = imagecodecs.avif_encode(np.dstack([pixels] * 3), level=95, bitspersample=10, primaries=9, transfer=16)
    photo = image_io.decode(bytes(data))
    assert photo.colour == {b"cICP": bytes((9, 16, 0, 1))}
    again = image_io.decode(image_io.encode(photo))
    assert (again.bits, again.colour) == (10, photo.colour)
    assert len(np.unique(again.pixels)) > 300
    assert image_io.losses(photo, "AVIF") == []
    assert any("8 bits of its 10" in word for word in image_io.losses(photo, "JPEG"))
    assert image_io.encode(Photo(DEEP), "AVIF")


def test_chroma_is_as_fine_as_it_was():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = 255
    for source, format, fine in (("PNG", "AVIF", True), ("JPEG", "AVIF", False), ("AVIF", "AVIF", False)):
        options = {"subsampling": "4:2:0"} if source != "PNG" else {}
        photo = image_io.decode(saved(Image.fromarray(stripes), source, **options))
        assert photo.subsampled is not fine
        assert isobmff.coding(image_io.encode(photo, format)).subsampled is not fine
    full = image_io.decode(saved(Image.fromarray(stripes), "AVIF", subsampling="4:4:4"))
    assert not isobmff.coding(image_io.encode(full)).subsampled


def test_effort_and_lossless_are_checked():
    noise = np.random.default_rng(0).integers(0, 40, (60, 80, 3), np.uint8)
    for format in ("PNG", "WEBP"):
        sizes = [len(image_io.encode(Photo(noise), format, lossless=True, effort=effort)) for effort in (0, 9)]
        assert sizes[1] < sizes[0]
    with pytest.raises(InvalidArgument, match="effort=10 "):
        image_io.encode(Photo(noise), effort=10)
    with pytest.raises(InvalidArgument, match="JPEG cannot be so; choose one of PNG, WEBP, TIFF, AVIF"):
        image_io.encode(Photo(noise), "JPEG", lossless=True)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_untouched_subject_is_the_same_in_lossless_formats(format, dtype):
    if dtype == np.uint16 and format in ("WEBP", "AVIF"):
        pytest.skip(f"{format} has not 16 bits")
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 60, 3), dtype)
    subject = np.zeros((40, 60), bool)
    subject[10:30, 20:40] = True
    data = image_io.encode(Photo(pixels, format, lossless=True), lossless=True)
    result = gpublur.blur_background(image_io.decode(data), mask=subject)
    np.testing.assert_array_equal(
        image_io.decode(image_io.encode(result, lossless=True)).pixels[subject], pixels[subject]
    )


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_heif(mode, bits):
    """An iPhone's photos were passed over."""
    pillow_heif = pytest.importorskip("pillow_heif")
    y, x = np.mgrid[:64, :96]
    pixels = np.stack([y * 4, x * 2, x + y, 255 - y], -1).astype(np.uint8)
    pixels = pixels[..., 0] if mode == "L" else pixels[..., : len(mode)]
    if bits == 10:
        pixels = np.ascontiguousarray(pixels.astype(np.uint16) * 257)
    file = pillow_heif.from_bytes(
        mode + (";16" if bits == 10 else ""), (96, 64), np.ascontiguousarray(pixels).tobytes()
    )
    out = io.BytesIO()
    file.save(out, quality=95, chroma=444, exif=block(orientation=1), icc_profile=SRGB, xmp=XMP)
    photo = image_io.decode(out.getvalue())
    assert (photo.format, photo.bits, photo.subsampled) == ("HEIF", bits, mode == "L" and photo.subsampled)
    assert np.abs(photo.pixels.astype(float) - pixels).max() < 10 * (257 if bits == 10 else 1)
    again = image_io.decode(image_io.encode(photo))
    assert (again.format, again.bits, again.pixels.shape) == ("HEIF", bits, photo.pixels.shape)
    assert again.xmp == photo.xmp == XMP
    assert again.icc == photo.icc
    assert said(again.exif)[COPYRIGHT][2] == NAME + b"\0"
    assert np.abs(again.pixels.astype(float) - pixels).max() < 14 * (257 if bits == 10 else 1)


def test_a_heif_file_whose_items_have_no_names_is_refused():
    """The library that reads it would end the process."""
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_bytes("RGB", (96, 64), bytes(96 * 64 * 3)).save(out, exif=block(orientation=1))
    data = out.getvalue()
    assert image_io.decode(data).format == "HEIF"
    for broken in (data.replace(b"Exif\0", b"Exi\xff\0", 1), data.replace(b"hvc1\0", b"\xffvc1\0", 1)):
        assert broken != data
        with pytest.raises(ImageFileError, match="is not a picture"):
            image_io.decode(broken)


def test_heif_is_not_written_without_its_extra(monkeypatch):
    monkeypatch.setattr(image_io.formats, "HEIF_WRITER", "no_such_library")
    with pytest.raises(InvalidArgument, match=r"extra heif alone: pip install '.*\[heif\]'"):
        image_io.encode(Photo(RGB), "HEIF")
    assert image_io.fitting("HEIF", alpha=False) == "JPEG"
    assert image_io.fitting("HEIF", alpha=True) == "PNG"


def test_a_plug_in_of_the_program_is_used(monkeypatch):
    from PIL import ImageFile

    class Odd(ImageFile.ImageFile):
        format = "ODD"

        def _open(self):
            self._size, self._mode = (2, 1), "L"
            self.tile = [("raw", (0, 0, 2, 1), 4, "L")]

    Image.init()
    monkeypatch.setitem(Image.OPEN, "ODD", (Odd, lambda prefix: prefix.startswith(b"ODD!")))
    monkeypatch.setattr(Image, "ID", [*Image.ID, "ODD"])
    photo = image_io.decode(b"ODD!\x07\x09")
    assert (photo.format, photo.pixels.tolist()) == ("ODD", [[7, 9]])
    assert image_io.decode(gpublur.gaussian_blur(b"ODD!\x07\x09", 0.05)).format == "PNG"


@pytest.mark.parametrize("source", [None, 7, io.BytesIO(b"x"), ["a.jpg"]])
def test_process_refuses_what_is_no_file_in_words(source):
    [outcome] = gpublur.process([source], lambda pixels: pixels)
    assert isinstance(outcome.error, InvalidArgument)
    assert "give a path, or the bytes of a file" in str(outcome.error)
    with pytest.raises(InvalidArgument, match="give a path, or the bytes of a file"):
        gpublur.open(source)


def test_process_takes_buffers_and_refuses_broken_names_and_work():
    data = saved(Image.fromarray(RGB), "PNG")
    for source in (bytearray(data), memoryview(data)):
        [outcome] = gpublur.process([source], lambda pixels: pixels)
        assert outcome.error is None
        np.testing.assert_array_equal(gpublur.open(source).pixels, RGB)
    [outcome] = gpublur.process(["a\0b.jpg"], lambda pixels: pixels)
    assert isinstance(outcome.error, ImageFileError)
    for work, shape in (
        (lambda p: p[0, :, 0].copy(), r"\(36,\)"),
        (lambda p: p[..., :2], r"\(24, 36, 2\)"),
        (lambda p: p / 2, "float64"),
    ):
        [outcome] = gpublur.process([data], work)
        assert isinstance(outcome.error, InvalidArgument)
        with pytest.raises(InvalidArgument, match=shape):
            raise outcome.error
