"""What the beginning of a file tells of its pixels."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import ImageFileError
from .formats import is_animation
from .reading import is_deep, opened


class Head(NamedTuple):
    """A file's first picture."""

    height: int
    width: int
    deep: bool  # more than 8 bits
    frames: int  # or pages


def head(data: bytes) -> Head:
    """Return what a file's beginning tells, without decoding it; raise `ImageFileError` where it is no picture."""
    try:
        image = opened(data)
        frames = int(getattr(image, "n_frames", 1)) if is_animation(image.format) else 1
        return Head(image.height, image.width, is_deep(image, data), frames)
    except ImageFileError:
        raise
    except Exception as error:  # Pillow's readers raise whatever the broken bytes lead them to
        raise ImageFileError(f"is broken: {error}") from error
