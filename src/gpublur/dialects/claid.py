"""Claid's Image Editing API, ``/v1/image/edit``: what its JSON, `claid_body`, means here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError

from ..errors import ImageFileError, InvalidArgument, NoSubject, PromptUnsupported, RemoteError, ResultTooLarge
from ..types import BlurSpec, Edit, Resize, Subject
from . import claid_body
from .base import BadRequest, Refusal, Request, bad_request, in_words, status_and_message
from .claid_body import Batch, Body, OutputFormat

NAME = "claid"
LEVELS = {"low": 0.01, "medium": 0.03, "high": 0.05}  # ours: Claid tells no numbers
MODES = {"regular": "gaussian", "lens": "bokeh"}
FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF", "tiff": "TIFF"}
QUALITY = {"jpeg": 85, "webp": 75, "avif": 50}
KINDS = {401: ("111", "auth"), 413: ("9001", "general"), 422: ("9000", "validation"), 429: ("2001", "general")}

B = TypeVar("B", bound=Body)


def read(document: Mapping[str, Any], levels: Mapping[str, float] = LEVELS) -> Request:
    """Read Claid's JSON; raise `BadRequest` where it breaks its rules.

    Parameters
    ----------
    levels : mapping
        The radius of each blur level, as a fraction of the diagonal.
    """
    body = validated(Body, document)
    return Request(_edit(body, levels), body.input)


def read_batch(document: Mapping[str, Any], levels: Mapping[str, float] = LEVELS) -> list[Request]:
    """Read the JSON of several pictures that are edited alike, as a request for each of them; else as `read`."""
    body = validated(Batch, document)
    edit = _edit(body, levels)
    return [Request(edit, url) for url in body.input or ()]


def validated(model: type[B], document: Mapping[str, Any]) -> B:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise bad_request(error, whole="body") from None


def _edit(body: Body, levels: Mapping[str, float]) -> Edit:
    background, output = body.operations.background, body.output
    remove, blur = background.remove, background.blur
    resize = _resize(body)
    padded = resize is not None and (resize.fit == "canvas" or bool(resize.padding))
    subject = remove.subject("products") if remove else blur.subject("general") if blur else Subject()
    return Edit(
        remove=remove is not None,
        color=background.color or ("#ffffff" if remove is not None or padded else None),
        blur=BlurSpec(MODES[blur.type], levels[blur.level]) if blur else None,  # type: ignore[arg-type]
        focus="linear" if blur and blur.type == "lens" else "uniform",
        subject=replace(subject, use_alpha=background.use_original_alpha),
        clip=remove is not None and remove.clipping,
        resize=resize,
        format=FORMATS[output.format.type] if output.format else None,
        jpeg_quality=_quality(output.format),
        lossless=_lossless(output.format),
        srgb=True,
        metadata=False,
        dpi=output.metadata.dpi if output.metadata else None,
    )


def _resize(body: Body) -> Resize | None:
    resizing, remove = body.operations.resizing, body.operations.background.remove
    fit = resizing.fit.type if resizing.fit else "crop"
    width, height = resizing.width, resizing.height
    padding: tuple[Any, ...] = ()
    if body.operations.padding is not None:
        across, down = claid_body.padding(body.operations.padding)
        padding = ((down, across, down, across),)
    if width is None and height is None:
        if fit == "crop" and remove is not None and remove.clipping:
            width, height, fit = "100%", "100%", "canvas"  # the input's size; crop's own rule would cut the subject
        elif not padding:
            return None
        elif fit == "crop":
            fit = "canvas"  # all of the picture, in less room
    smart = resizing.fit is not None and resizing.fit.crop == "smart" and fit == "crop"
    return Resize(width, height, fit, padding=padding, align="subject" if smart else (0.5, 0.5))


def _quality(output: OutputFormat | None) -> int | None:
    """Return the quality of a lossy format; one that is not named is mostly JPEG."""
    if output is None:
        return QUALITY["jpeg"]
    asked = output.compression.quality if output.compression else output.quality
    return QUALITY.get(output.type) if asked is None else asked


def _lossless(output: OutputFormat | None) -> bool | None:
    if output is None or output.type not in ("webp", "avif"):
        return None
    return output.compression is not None and output.compression.type == "lossless"


def refusal(error: Exception, request: Request | None = None) -> Refusal:
    """Return the answer for an error in Claid's shape: its code, kind, message, and what is wrong with which field."""
    status, message = status_and_message(error)
    faults = error.faults if isinstance(error, BadRequest) else {}
    if request is not None:
        operation = f"operations.background.{'remove' if request.edit.remove else 'blur'}"
        if isinstance(error, PromptUnsupported):
            faults = {f"{operation}.selective.object_to_keep": [error.why]}
        elif isinstance(error, NoSubject):
            faults = {operation: [message]}
        elif isinstance(error, ResultTooLarge):
            faults = {"operations.resizing": [message]}
        elif isinstance(error, RemoteError):
            status, faults = 400, {"input": [message]}
        elif isinstance(error, ImageFileError):
            faults = {"input" if request.url else "file": [message]}
        elif isinstance(error, InvalidArgument) and not faults:  # what only the picture's size shows to be wrong
            faults = {"operations.padding" if message.startswith("padding") else "operations": [message]}
        message = in_words(faults) or message
    code, kind = KINDS.get(status, (str(status), "general"))
    body = {"error_code": code, "error_type": kind, "error_message": message, "error_details": faults}
    return Refusal(status, {"detail": body} if status == 429 else body)  # as Claid's page on rate limits has it
