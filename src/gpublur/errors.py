"""The errors that gpublur raises on purpose."""

from __future__ import annotations


class GpuBlurError(Exception):
    """Base of every error that gpublur raises on purpose."""


class InvalidArgument(GpuBlurError, ValueError):
    """An argument is of the wrong kind, shape, dtype or range."""


class ImageFileError(GpuBlurError, OSError):
    """A file cannot be read as a picture, or cannot be written."""


class RemoteError(ImageFileError):
    """A picture cannot, or may not, be fetched from where a request says that it is."""


class PictureTooLarge(ImageFileError):
    """A picture has, or would get, more pixels than are allowed."""


class ResultTooLarge(PictureTooLarge):
    """A picture would get more pixels than are allowed."""


class NoSubject(GpuBlurError, ValueError):
    """No subject was found in the picture, and the edit needs one."""


class DeviceUnavailable(GpuBlurError, RuntimeError):
    """The device that was asked for cannot run here; the message gives the reason."""


class OutOfMemory(GpuBlurError, MemoryError):
    """A GPU's memory has no room for a picture, also after the libraries' pools gave back what they kept."""


class ModelUnavailable(GpuBlurError, RuntimeError):
    """A segmentation model is unknown, or its weights or libraries are missing or broken."""


class PromptUnsupported(ModelUnavailable):
    """The subject is described in words that no model here understands.

    Attributes
    ----------
    argument : str
        The words' own name.
    why : str
        What may be said of it to somebody who cannot change the installation.
    """

    WHY = "this installation has no model that finds a subject by these words"

    def __init__(self, message: str, argument: str = "", why: str = WHY) -> None:
        super().__init__(message)
        self.argument, self.why = argument, why


def said(error: BaseException) -> str:
    """Return an error's words, or where it has none its name."""
    return str(error) or type(error).__name__
