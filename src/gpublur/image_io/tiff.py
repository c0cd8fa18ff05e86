"""TIFF files, uncompressed: 8 and 16 bits, pages, and every tag that a photo brings."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from . import exif
from .exif import LONG, SHORT, Order, Tags
from .photo import Photo

BYTES, BYTE = 7, 1
XMP, IPTC, ICC = 700, 33723, 34675
MAX_FILE = 2**32 - 2**20  # bytes that its 32-bit places reach, with room for tags


def write(photo: Photo) -> bytes:
    """Return a file with a photo's pixels, frames and metadata; the latter stand with the first page.

    Raises
    ------
    ValueError
        It would be longer than its places can say.
    """
    pages = (photo.pixels, *photo.frames)
    if sum(page.nbytes for page in pages) > MAX_FILE:
        raise ValueError("more than 4 GB")
    body = (photo.exif or b"").removeprefix(exif.PREFIX)
    order = exif.byte_order(body) or "<"  # of the block, whose values then stay as they are
    file = [(b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)]
    at = 8
    for number, page in enumerate(pages):
        own = _metadata(photo, order) if number == 0 else {}
        tags = own | _layout(page, order, 0)
        size = len(exif.write_tags(tags, order, at))
        start = at + size
        end = start + page.nbytes + page.nbytes % 2
        last = number == len(pages) - 1
        file += [
            exif.write_tags(own | _layout(page, order, start), order, at, 0 if last else end),
            np.ascontiguousarray(page, page.dtype.newbyteorder(order)).tobytes(),
            bytes(page.nbytes % 2),
        ]
        at = end
    return b"".join(file)


def _layout(page: NDArray[np.uint8 | np.uint16], order: Order, start: int) -> Tags:
    """Return the tags that say how pixels are stored: in one strip that begins at ``start``."""
    channels = 1 if page.ndim == 2 else page.shape[2]

    def short(*values: int) -> tuple[int, int, bytes]:
        return SHORT, len(values), struct.pack(f"{order}{len(values)}H", *values)

    def long(value: int) -> tuple[int, int, bytes]:
        return LONG, 1, struct.pack(f"{order}I", value)

    tags: Tags = {
        256: long(page.shape[1]), 257: long(page.shape[0]), 258: short(*[8 * page.itemsize] * channels),
        259: short(1), 262: short(1 if channels == 1 else 2), 273: long(start), 277: short(channels),
        278: long(page.shape[0]), 279: long(page.nbytes), 284: short(1),
    }  # fmt: skip
    return tags | ({338: short(2)} if channels == 4 else {})  # straight alpha


def _metadata(photo: Photo, order: Order) -> Tags:
    tags = exif.tags_of(photo.exif, order) if photo.exif is not None else {}
    if photo.dpi is not None:
        tags |= exif.resolution(photo.dpi, order)
    blobs = ((XMP, BYTE, photo.xmp), (IPTC, BYTES, photo.iptc), (ICC, BYTES, photo.icc))
    return tags | {tag: (kind, len(data), data) for tag, kind, data in blobs if data is not None}
