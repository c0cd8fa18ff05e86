"""What EXIF says of rights, kept alone, as EXIF and as XMP."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from gpublur import Edit, edits, image_io
from gpublur.image_io import Photo, rights

COPYRIGHT, COMMENT, MAKE, EXIF_IFD = 0x8298, 0x9286, 0x010F, 0x8769
NAMES = {"dc": "{http://purl.org/dc/elements/1.1/}rights", "exif": "{http://ns.adobe.com/exif/1.0/}UserComment"}


def block(copyright=None, comment=None):
    tags = Image.Exif()
    tags[MAKE] = "a camera"
    if copyright is not None:
        tags[COPYRIGHT] = copyright
    if comment is not None:
        tags.get_ifd(EXIF_IFD)[COMMENT] = comment
    return tags.tobytes()


def told(data):
    exif = Image.open(io.BytesIO(data)).getexif()
    return {tag: exif[tag] for tag in exif if tag != EXIF_IFD}, dict(exif.get_ifd(EXIF_IFD))


def in_xmp(packet):
    root = ElementTree.fromstring(packet)
    said = {
        key: [each.text for each in found.iter() if each.text]
        for key, name in NAMES.items()
        for found in root.iter(name)
    }
    return {key: text for key, (text,) in said.items()}


LITTLE = b"II" in block()[:8]  # the order of bytes that Pillow writes


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        (b"ASCII\0\0\0by <the> sea", "by <the> sea"),
        (b"UNICODE\0" + "am Meer ü".encode("utf_16_le" if LITTLE else "utf_16_be"), "am Meer ü"),
        (bytes(8) + b"plain\0", "plain"),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_rights_are_kept_alone(format, comment, text):
    pixels = np.full((8, 9, 3), 90, np.uint8)
    photo = Photo(pixels, format=format, exif=block("(c) Ann & Co", comment))
    for metadata, has_xmp in (("rights", False), ("rights+xmp", True)):
        prepared = edits.prepare(photo, Edit(metadata=metadata, format=format))
        data = image_io.encode(prepared)
        main, inner = told(data)
        assert main[COPYRIGHT] == "(c) Ann & Co"
        assert MAKE not in main
        assert bytes(inner[COMMENT]) == comment
        again = image_io.decode(data)
        assert (again.xmp is not None) == has_xmp
        if has_xmp:
            assert in_xmp(again.xmp) == {"dc": "(c) Ann & Co", "exif": text}


def test_where_nothing_is_said_nothing_is_kept():
    for given in (None, b"", b"Exif\0\0no block", block()):
        assert rights.subset(given) is None
        assert rights.as_xmp(given) is None
    assert rights.as_xmp(rights.subset(block("\0"))) is None
    photo = Photo(np.zeros((4, 4), np.uint8), exif=block(), xmp=b"<x/>")
    prepared = edits.prepare(photo, Edit(metadata="rights+xmp"))
    assert (prepared.exif, prepared.xmp) == (None, None)


def test_a_picture_keeps_its_own_profile():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    profile = profile[:16] + b"RGB " + profile[20:]
    photo = Photo(np.full((4, 4, 3), 9, np.uint8), icc=profile, exif=block("me"))
    assert edits.prepare(photo, Edit(srgb=False, metadata=False)).icc == profile
