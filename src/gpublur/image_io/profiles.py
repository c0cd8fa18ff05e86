"""Colour profiles: to sRGB, and from CMYK."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import memory_of
from .photo import Photo

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image


def to_srgb(photo: Photo) -> Photo:
    """Return the photo in sRGB and without a profile; one whose profile is sRGB, or broken, keeps its values.

    Pixels that are converted become 8-bit.
    """
    from PIL import Image, ImageCms

    if photo.icc is None:
        return photo
    pages = (photo.pixels, *photo.frames)
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(photo.icc))
        if "srgb" in (ImageCms.getProfileDescription(own) or "").lower():
            return replace(photo, icc=None)
        done = []
        for page in pages:
            pixels = eight_bits(memory_of(page).to_host(page))
            colours = Image.fromarray(pixels[..., :3] if pixels.ndim == 3 else pixels)
            alpha = pixels[..., 3:] if pixels.ndim == 3 else pixels[..., None][..., :0]
            done.append(np.concatenate([np.asarray(_converted(colours, own)), alpha], axis=2))
    except (ImageCms.PyCMSError, OSError):
        return replace(photo, icc=None)
    return replace(photo, pixels=done[0], frames=done[1:], icc=None, colour={}, bits=8)


def from_cmyk(image: Image) -> NDArray[np.uint8]:
    """Return a CMYK image as sRGB (H, W, 3): by its own profile, else by Pillow's plain formula."""
    from PIL import ImageCms

    icc = image.info.get("icc_profile") or b""
    if icc[16:20] == b"CMYK":
        try:
            return np.array(_converted(image, ImageCms.ImageCmsProfile(io.BytesIO(icc))))
        except (ImageCms.PyCMSError, OSError):  # broken
            pass
    return np.array(image.convert("RGB"))


def _converted(image: Image, own: Any) -> Any:
    from PIL import ImageCms

    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    return ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), intent, outputMode="RGB")


def eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels of 8 or 16 bits as 8 bits, rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def stretched(pixels: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Return values of so many bits as 16 bits, whose white is white."""
    white = 2**bits - 1
    return ((pixels.astype(np.uint32) * 65535 + white // 2) // white).astype(np.uint16)


def shrunk(pixels: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Return 8-bit or 16-bit pixels as values of so many bits, rounded."""
    top, white = int(np.iinfo(pixels.dtype).max), 2**bits - 1
    return ((pixels.astype(np.uint32) * white + top // 2) // top).astype(np.uint16)
