"""EXIF blocks, and the tags of TIFF files, which have the same form: changed where they must be, else left alone.

A block keeps its bytes and their places, on which makers' notes rely. What a TIFF file says all over is gathered into a
block, value by value: there no tag is understood beyond its place and length, so that none is lost or changed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

PREFIX = b"Exif\0\0"
MAX_BLOCK = 65_527  # bytes after the prefix: what a JPEG segment has room for; larger ones are attacks or mistakes
ORIENTATION = 0x0112
RESOLUTION = (0x011A, 0x011B, 0x0128)  # across, down, unit
# Tags that say how the old file stored its pixels, wrong in a new file, or that have a place of their own.
LAYOUT = frozenset((
    254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339,
    347, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675,
))  # fmt: skip
EXIF_IFD = 0x8769
POINTERS = frozenset((EXIF_IFD, 0x8825, 0xA005))  # to more tags: of the exposure, GPS, interoperability
SIDES = (0xA002, 0xA003)  # width and height, said once more
THUMBNAIL = (0x0201, 0x0202)  # its place and length
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes, by a value's kind
WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}  # bytes that change their order together
SHORT, LONG = 3, 4


class Entry(NamedTuple):
    """A tag where it stands in a block."""

    at: int  # of its 12 bytes
    tag: int
    kind: int
    length: int  # in values
    value: int  # where its value stands; beyond the block where the entry is wild


Order = Literal["<", ">"]
Value = tuple[int, int, bytes]  # kind, count, and the bytes
Tags = dict[int, "Value | Tags"]
ORDERS: dict[bytes, Order] = {b"II*\0": "<", b"MM\0*": ">"}


def byte_order(block: bytes | bytearray) -> Order | None:
    """Return how numbers are stored, as `struct` says it, or None for what is no block."""
    if len(block) < 8:
        return None
    return ORDERS.get(bytes(block[:4]))


def orientation_of(block: bytes) -> int | None:
    """Return the orientation, 1 to 8, that a block says; None where it says none."""
    body = block.removeprefix(PREFIX)
    order = byte_order(body)
    if order is None:
        return None
    (start,) = struct.unpack_from(f"{order}I", body, 4)
    said = [_number(body, order, entry) for entry in _entries(body, order, start) if entry.tag == ORIENTATION]
    return said[0] if said and said[0] in range(1, 9) else None


def cleaned(block: bytes, width: int, height: int) -> bytes | None:
    """Return a block without orientation, layout and thumbnail; None where nothing (readable) is left in it.

    Where it says the size of the picture, it says this one.
    """
    body = bytearray(block.removeprefix(PREFIX))
    order = byte_order(body)
    if order is None:
        return None
    (start,) = struct.unpack_from(f"{order}I", body, 4)
    tags = list(_entries(body, order, start))
    kept = [bytes(body[entry.at : entry.at + 12]) for entry in tags if entry.tag not in LAYOUT | {ORIENTATION}]
    if not kept:
        return None
    for entry in tags:
        if entry.tag == EXIF_IFD:
            _set_sides(body, order, _number(body, order, entry), (width, height))
    end = start + 2 + 12 * len(tags)
    _drop_thumbnail(body, order, end)
    table = struct.pack(f"{order}H", len(kept)) + b"".join(kept)
    body[start : end + 4] = table + bytes(end + 4 - start - len(table))  # the next table's place, 0, among these
    return PREFIX + bytes(body)


def _entries(body: bytes | bytearray, order: Order, start: int) -> Iterator[Entry]:
    if start + 2 > len(body):
        return
    (count,) = struct.unpack_from(f"{order}H", body, start)
    if start + 2 + 12 * count + 4 > len(body) + 4:  # some writers leave out the place of a next table
        return
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", body, at)
        fits = SIZES.get(kind, 1) * number <= 4
        yield Entry(at, tag, kind, number, at + 8 if fits else struct.unpack_from(f"{order}I", body, at + 8)[0])


def _number(body: bytes | bytearray, order: Order, entry: Entry) -> int:
    """Return the value of a tag that is a whole number; 0 for any other."""
    form = {1: "B", SHORT: "H", LONG: "I", 13: "I"}.get(entry.kind)
    return struct.unpack_from(f"{order}{form}", body, entry.at + 8)[0] if form and entry.length == 1 else 0


def _set_sides(body: bytearray, order: Order, start: int, sides: tuple[int, int]) -> None:
    """Write the size of the picture where a block says it."""
    for entry in _entries(body, order, start):
        if entry.tag in SIDES and start:
            struct.pack_into(f"{order}HII", body, entry.at + 2, LONG, 1, sides[SIDES.index(entry.tag)])


def _drop_thumbnail(body: bytearray, order: Order, end: int) -> None:
    """Take the small picture out, and the table behind that at ``end``, which says where it is."""
    if end + 4 > len(body):
        body.extend(bytes(4))
    (start,) = struct.unpack_from(f"{order}I", body, end)
    found = {entry.tag: _number(body, order, entry) for entry in _entries(body, order, start)} if start else {}
    place, length = (found.get(tag, 0) for tag in THUMBNAIL)
    if place and place + length <= len(body):
        body[place : place + length] = bytes(length)
        if place + length == len(body) and place > end + 4:
            del body[place:]


def gathered(file: bytes) -> bytes | None:
    """Return what the tags of a TIFF file say beside its pixels, as a block; None where that is nothing."""
    order = byte_order(file)
    if order is None:
        return None
    tags = read_tags(file, order, struct.unpack_from(f"{order}I", file, 4)[0])
    kept = {tag: value for tag, value in tags.items() if tag not in LAYOUT}
    if not kept:
        return None
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return PREFIX + mark + struct.pack(f"{order}I", 8) + write_tags(kept, order, 8)


def read_tags(file: bytes, order: Order, start: int, depth: int = 0) -> Tags:
    """Return the tags of a table whose values are within the file."""
    tags: Tags = {}
    for entry in _entries(file, order, start):
        size = SIZES.get(entry.kind, 0) * entry.length
        if entry.tag in POINTERS:
            if depth < 2 and (inner := read_tags(file, order, _number(file, order, entry), depth + 1)):
                tags[entry.tag] = inner
        elif 0 < size <= MAX_BLOCK and entry.value + size <= len(file):
            tags[entry.tag] = (entry.kind, entry.length, bytes(file[entry.value : entry.value + size]))
    return tags


def write_tags(tags: Tags, order: Order, start: int, following: int = 0) -> bytes:
    """Return a table to stand at ``start``, with its values behind it, and the place of a table that follows it."""
    table, values = struct.pack(f"{order}H", len(tags)), b""
    behind = start + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items(), key=lambda item: item[0]):
        at = behind + len(values)
        if isinstance(value, dict):
            table += struct.pack(f"{order}HHII", tag, LONG, 1, at)
            values += write_tags(value, order, at)
        else:
            kind, count, data = value
            if len(data) <= 4:
                table += struct.pack(f"{order}HHI", tag, kind, count) + data.ljust(4, b"\0")
                continue
            table += struct.pack(f"{order}HHII", tag, kind, count, at)
            values += data
        values += bytes(len(values) % 2)
    return table + struct.pack(f"{order}I", following) + values


def tags_of(block: bytes, order: Order) -> Tags:
    """Return the tags of a block, their values in another order of bytes."""
    body = block.removeprefix(PREFIX)
    own = byte_order(body)
    if own is None:
        return {}
    tags = read_tags(body, own, struct.unpack_from(f"{own}I", body, 4)[0])
    return tags if own == order else _swapped(tags)


def _swapped(tags: Tags) -> Tags:
    return {
        tag: _swapped(value)
        if isinstance(value, dict)
        else (*value[:2], np.frombuffer(value[2], f"u{WORDS.get(value[0], 1)}").byteswap().tobytes())
        for tag, value in tags.items()
    }


def resolution(dpi: tuple[float, float], order: Order = "<") -> Tags:
    """Return the tags that say pixels per inch."""
    across, down = (struct.pack(f"{order}II", round(value * 1000), 1000) for value in dpi)
    return {
        RESOLUTION[0]: (5, 1, across), RESOLUTION[1]: (5, 1, down),
        RESOLUTION[2]: (SHORT, 1, struct.pack(f"{order}H", 2)),
    }  # fmt: skip


def of_resolution(dpi: tuple[float, float]) -> bytes:
    """Return a block that says pixels per inch alone, for formats that have no other place for it."""
    return PREFIX + b"II*\0" + struct.pack("<I", 8) + write_tags(resolution(dpi), "<", 8)
