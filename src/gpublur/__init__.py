"""Blur or remove the background of photographs, without a halo, on NVIDIA GPUs or the CPU."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .edit import (
        BlurSpec,
        DeviceUnavailable,
        Edit,
        GpuBlurError,
        ImageFileError,
        InvalidArgument,
        ModelUnavailable,
        NoSubject,
        PictureTooLarge,
        PromptUnsupported,
        Resize,
        Subject,
    )
    from .editor import Editor
    from .functions import apply, blur_background, bokeh_blur, gaussian_blur, remove_background, segment
    from .pipeline import Outcome, process

__version__ = "0.1.0"

# Loaded at first use, so that `import gpublur` brings in neither torch nor numba.
_HOME = {
    "Editor": "editor",
    **dict.fromkeys(("Outcome", "process"), "pipeline"),
    **dict.fromkeys(
        ("apply", "blur_background", "bokeh_blur", "gaussian_blur", "remove_background", "segment"), "functions"
    ),
    **dict.fromkeys(("BlurSpec", "Edit", "Resize", "Subject"), "edit"),
    **dict.fromkeys(("DeviceUnavailable", "GpuBlurError", "ImageFileError", "InvalidArgument"), "edit"),
    **dict.fromkeys(("ModelUnavailable", "NoSubject", "PictureTooLarge", "PromptUnsupported"), "edit"),
}
__all__ = [
    "BlurSpec",
    "DeviceUnavailable",
    "Edit",
    "Editor",
    "GpuBlurError",
    "ImageFileError",
    "InvalidArgument",
    "ModelUnavailable",
    "NoSubject",
    "Outcome",
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
    return sorted(__all__)
