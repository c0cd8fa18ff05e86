"""What is done to one picture, in a process or thread of the crew: bytes in, bytes out."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import edits, geometry, image_io
from ..errors import ImageFileError, InvalidArgument, PictureTooLarge
from ..image_io import FORMATS, Photo
from ..types import Edit, MaskInfo
from .batcher import Editors

MEDIA = {name: f"image/{name.lower()}" for name in FORMATS} | {edits.ARCHIVE: "application/zip"}
# Memory for each pixel, from the file to the result: at most 39 were measured of 8 bits (lens), 58 of 16-bit RGBA.
BYTES, BYTES_DEEP = 40, 60

editors: Editors | None = None  # this process' own


class Picture(NamedTuple):
    """What an answer tells of a picture."""

    format: str
    width: int
    height: int

    @classmethod
    def of(cls, photo: Photo, format: str) -> Picture:
        return cls(format, photo.pixels.shape[1], photo.pixels.shape[0])

    @property
    def media_type(self) -> str:
        return MEDIA[self.format]


class Edited(NamedTuple):
    data: bytes
    made: Picture
    given: Picture
    info: MaskInfo | None


class Limits(NamedTuple):
    """How large a picture and a result may be."""

    pixels: int
    side: int


class Needs(NamedTuple):
    """More memory is needed than was at hand: so many bytes. Nothing was decoded."""

    bytes: int


def prepare_process(device: str, model: Any, text_model: Any) -> None:
    """Load everything that `edit` uses."""
    global editors  # noqa: PLW0603
    editors = Editors(device, model, text_model)
    editors.warmup()


def edit(data: bytes, edit: Edit, limits: Limits, room: int) -> Edited | Needs:
    """Return the edited picture."""
    assert editors is not None
    found = read(data, edit, limits, room)
    if isinstance(found, Needs):
        return found
    photo, given = found
    [done] = editors.work([(photo, edit)], limits.pixels)
    if isinstance(done, Exception):
        raise done
    return Edited(*written(done.photo, edit), given, done.info)


def read(data: bytes, edit: Edit, limits: Limits, room: int) -> tuple[Photo, Picture] | Needs:
    """Return the decoded picture, unless that takes more memory than the ``room`` there is."""
    needed, pixels = cost(data, edit, limits)
    if needed > room:
        return Needs(needed)
    photo = image_io.decode(data, max_pixels=pixels)
    return edits.prepare(photo, edit), Picture.of(photo, photo.format)


def cost(data: bytes, edit: Edit, limits: Limits) -> tuple[int, int]:
    """Return how many bytes an edit takes, by the head of its picture, and how many pixels it may have for that.

    No bytes where it is no picture, as `decode` will say. Frames are taken to be as large as the first.

    Raises
    ------
    PictureTooLarge
        One side is longer than allowed.
    InvalidArgument
        So it is for the background, or that has too many pixels.
    """
    try:
        head = image_io.head(data)
    except ImageFileError:
        return 0, limits.pixels
    size = (head.height, head.width)
    if max(size) > limits.side:
        raise PictureTooLarge(f"is {size[1]} x {size[0]} pixels; no side may have more than {limits.side}")
    made = geometry.frame(size, size, edit.resize).canvas if edit.resize else size
    own = head.frames * head.height * head.width
    allowed = min(own, limits.pixels) if head.frames > 1 else limits.pixels
    pixels = min(max(own, made[0] * made[1]), limits.pixels)
    return pixels * (BYTES_DEEP if head.deep else BYTES) + BYTES * behind(edit, limits), allowed


def behind(edit: Edit, limits: Limits) -> int:
    """Return how many pixels the background of an edit has, by the head of its file; 0 where there is none."""
    try:
        head = image_io.head(edit.background) if isinstance(edit.background, bytes) else None
    except ImageFileError:
        head = None
    if head is None:
        return 0
    if max(head.height, head.width) > limits.side or head.height * head.width > limits.pixels:
        raise InvalidArgument(
            f"background: is {head.width} x {head.height} pixels; no side may have more than {limits.side}, and all of "
            f"it {limits.pixels / 1e6:g} million"
        )
    return head.frames * head.height * head.width


def written(photo: Photo, edit: Edit) -> tuple[bytes, Picture]:
    return edits.write(photo, edit), Picture.of(photo, edits.ARCHIVE if edit.format == edits.ARCHIVE else photo.format)
