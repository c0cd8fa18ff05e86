"""Blur or remove the background of photographs, without a halo, on NVIDIA GPUs or the CPU."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Editor, apply, blur_background, bokeh_blur, gaussian_blur, remove_background, segment
    from .batch import Outcome, process
    from .errors import (
        DeviceUnavailable,
        GpuBlurError,
        ImageFileError,
        InvalidArgument,
        ModelUnavailable,
        NoSubject,
        OutOfMemory,
        PictureTooLarge,
        PromptUnsupported,
    )
    from .image_io import Photo
    from .image_io import open as open
    from .image_io import save as save
    from .types import BlurSpec, Edit, MaskInfo, Resize, Subject

__version__ = "0.1.0"

# Loaded at first use, so that `import gpublur` brings in neither torch nor numba.
_HOME = {
    **dict.fromkeys(
        ("Editor", "apply", "blur_background", "bokeh_blur", "gaussian_blur", "remove_background", "segment"), "api"
    ),
    **dict.fromkeys(("Outcome", "process"), "batch"),
    **dict.fromkeys(
        (
            "DeviceUnavailable",
            "GpuBlurError",
            "ImageFileError",
            "InvalidArgument",
            "ModelUnavailable",
            "NoSubject",
            "OutOfMemory",
            "PictureTooLarge",
            "PromptUnsupported",
        ),
        "errors",
    ),
    **dict.fromkeys(("Photo", "open", "save"), "image_io"),
    **dict.fromkeys(("BlurSpec", "Edit", "MaskInfo", "Resize", "Subject"), "types"),
}
# Not `open` and `save`: `from gpublur import *` must not take Python's own `open` away.
__all__ = [
    "BlurSpec",
    "DeviceUnavailable",
    "Edit",
    "Editor",
    "GpuBlurError",
    "ImageFileError",
    "InvalidArgument",
    "MaskInfo",
    "ModelUnavailable",
    "NoSubject",
    "OutOfMemory",
    "Outcome",
    "Photo",
    "PictureTooLarge",
    "PromptUnsupported",
    "Resize",
    "Subject",
    "apply",
    "blur_background",
    "bokeh_blur",
    "gaussian_blur",
    "process",
    "remove_background",
    "segment",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gpublur' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
