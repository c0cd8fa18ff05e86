"""AVIF and HEIF files are made of boxes: what a few of them say, and metadata put into the AVIF files that we write."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from . import exif
from .photo import Photo

PRIMARIES_OF_SRGB, TRANSFER_OF_SRGB, UNSPECIFIED = 1, 13, 2
FIXED = 4  # bytes of version and flags, in some boxes


class Coding(NamedTuple):
    """How the pixels of an AVIF file are stored."""

    bits: int
    grey: bool
    subsampled: bool
    colours: bytes | None  # as PNG's cICP says them; None where they are those of sRGB


def coding(file: bytes) -> Coding:
    """Return how the first picture of an AVIF file is stored."""
    head = file[: file.find(b"mdat") if b"mdat" in file else None]
    at = head.find(b"av1C")
    flags = head[at + 6] if 0 <= at < len(head) - 6 else 0
    bits = (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    at = head.find(b"colrnclx")
    colours = None
    if 0 <= at <= len(head) - 15:
        primaries, transfer = struct.unpack_from(">HH", head, at + 8)
        if primaries not in (PRIMARIES_OF_SRGB, UNSPECIFIED) or transfer not in (TRANSFER_OF_SRGB, UNSPECIFIED, 1):
            colours = bytes((primaries & 255, transfer & 255, 0, 1))
    grey = bool(flags & 0x10)
    return Coding(bits, grey, bool(flags & 0x0C) and not grey, colours)


def box(kind: bytes, *bodies: bytes) -> bytes:
    """Return a box."""
    body = b"".join(bodies)
    return struct.pack(">I", len(body) + 8) + kind + body


def boxes(data: bytes, at: int = 0) -> dict[bytes, bytes]:
    """Return the bodies of the boxes in a body, by their kinds, in their order."""
    found = {}
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        found[data[at + 4 : at + 8]] = data[at + 8 : at + size]
        at += max(size, 8)
    return found


def names_are_text(file: bytes) -> bool:
    """Return whether what a HEIF file calls its items can be read as text: where not, pi-heif 1.4 ends the process.

    They are looked for wherever they may stand, for what it takes for one box, we might take for another.
    """
    items = (body[10 if body[:1] == b"\3" else 8 :] for body in _found(file, b"infe"))  # past numbers, of two lengths
    kinds = (body[FIXED:].partition(b"\0")[0] for body in _found(file, b"auxC"))
    return all(name.isascii() for names in (items, kinds) for name in names)


def _found(file: bytes, kind: bytes) -> Iterator[bytes]:
    """Yield the body of whatever looks like a box of a kind."""
    at = file.find(kind)
    while at >= 0:
        size = int.from_bytes(file[max(at - 4, 0) : at], "big")
        if 12 <= size < 2**16 and file[at + 4 : at + 5] <= b"\3":
            yield file[at + 4 : at - 4 + size]
        at = file.find(kind, at + 4)


def with_metadata(file: bytes, photo: Photo) -> bytes:
    """Return an AVIF file of one picture, as imagecodecs writes it, with a photo's profile, EXIF and XMP.

    Each of the latter two becomes an item behind the others, in a box at the end.
    """
    items = []
    if photo.exif is not None:
        items.append((b"Exif", b"", bytes(4) + photo.exif.removeprefix(exif.PREFIX)))
    if photo.xmp is not None:
        items.append((b"mime", b"application/rdf+xml\0", photo.xmp))
    if not items and photo.icc is None:
        return file
    top = boxes(file)
    meta = boxes(top[b"meta"], FIXED)
    images = struct.unpack_from(">H", meta[b"iinf"], FIXED)[0]
    if photo.icc is not None:
        meta[b"iprp"] = _with_profile(meta[b"iprp"], photo.icc, images)
    names, links = meta[b"iinf"][FIXED + 2 :], b""
    for number, (kind, about, _) in enumerate(items, images + 1):
        names += box(b"infe", struct.pack(">IHH", 2 << 24, number, 0), kind, b"\0", about)
        links += box(b"cdsc", struct.pack(">HHH", number, 1, 1))
    count = images + len(items)
    meta[b"iinf"] = bytes(FIXED) + struct.pack(">H", count) + names
    if links:
        meta[b"iref"] = meta.get(b"iref", bytes(FIXED)) + links
    places, body = meta.pop(b"iloc"), b"".join(data for _, _, data in items)

    def assembled(moved: int, end: int) -> bytes:
        located = {b"iloc": _with_places(places, moved, end, [len(data) for _, _, data in items])}
        return box(b"meta", bytes(FIXED), *(box(kind, inner) for kind, inner in (meta | located).items()))

    moved = len(assembled(0, 0)) - len(top[b"meta"]) - 8
    top[b"meta"] = assembled(moved, len(file) + moved + 8)[8:]
    return b"".join(box(kind, inner) for kind, inner in top.items()) + (box(b"mdat", body) if items else b"")


def _with_profile(properties: bytes, icc: bytes, images: int) -> bytes:
    """Add a profile to the properties of the first picture."""
    both = boxes(properties)
    count, at = 0, 0
    while at + 8 <= len(both[b"ipco"]):
        at += struct.unpack_from(">I", both[b"ipco"], at)[0]
        count += 1
    shared = both[b"ipco"] + box(b"colr", b"prof", icc)
    assigned = bytearray(both[b"ipma"])  # version and flags, count of items; item, count of its properties, these
    assert struct.unpack_from(">II", assigned) == (0, images)
    assigned[FIXED + 4 + 2] += 1
    end = FIXED + 4 + 3 + assigned[FIXED + 4 + 2] - 1
    assigned[end:end] = bytes((count + 1,))
    return box(b"ipco", shared) + box(b"ipma", bytes(assigned))


def _with_places(places: bytes, moved: int, end: int, lengths: list[int]) -> bytes:
    """Return where items are: the old ones ``moved`` on, new ones one after the other from ``end`` on."""
    # Version 0, places and lengths of 4 bytes: (item, 0, 1 extent, place, length) for each.
    (count,) = struct.unpack_from(">H", places, FIXED + 2)
    rows = [list(struct.unpack_from(">HHHII", places, FIXED + 4 + 14 * i)) for i in range(count)]
    for row in rows:
        row[3] += moved
    for length in lengths:
        rows.append([len(rows) + 1, 0, 1, end, length])
        end += length
    head = places[: FIXED + 2] + struct.pack(">H", len(rows))
    return head + b"".join(struct.pack(">HHHII", *row) for row in rows)
