"""PhotoRoom's Image Editing API, ``/v2/edit``: form fields with dotted names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from .. import checks
from ..checks import MAX_RADIUS
from ..errors import ImageFileError, InvalidArgument, PromptUnsupported, ResultTooLarge
from ..types import DEFAULT_RADIUS, BlurSpec, Edit, Resize, Subject
from .base import Refusal, Request, bad_request, hexadecimal, status_and_message

NAME = "photoroom"
MAX_SIDE = 20_000  # of WxH; PhotoRoom names no limit
FORMATS = {"png": "PNG", "jpeg": "JPEG", "jpg": "JPEG", "webp": "WEBP", "avif": "AVIF"}
QUALITY = {"JPEG": 80, "WEBP": 90, "AVIF": 90}
SIZE = re.compile(r"([0-9]{1,9})x([0-9]{1,9})")


def boolean(value: Any) -> Any:
    """Read a form's text; what is neither true nor false is named in PhotoRoom's words."""
    words = {"true": True, "false": False}
    value = words.get(value.lower(), value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise ValueError("must be boolean")
    return value


class Fields(BaseModel):
    """The form fields that are known here; `read` sorts out the rest."""

    model_config = ConfigDict(extra="ignore", title="PhotoRoomEdit")

    remove_background: Annotated[bool, BeforeValidator(boolean)] = Field(
        True, alias="removeBackground", description="Remove the background. Must be false for a blur."
    )
    blur_mode: Literal["bokeh", "gaussian"] | None = Field(
        None, alias="background.blur.mode", description="Blur the background with a disk or a gaussian."
    )
    blur_radius: float | None = Field(
        None,
        alias="background.blur.radius",
        gt=0,
        le=MAX_RADIUS,
        allow_inf_nan=False,
        description=f"Fraction of the picture's diagonal, {DEFAULT_RADIUS} by default; needs a mode.",
    )
    color: str = Field(
        "transparent",
        alias="background.color",
        description="What shows where the result would be transparent: hexadecimal, RRGGBB or RRGGBBAA, with or "
        "without #, or a CSS name.",
    )
    format: Literal["png", "jpeg", "jpg", "webp", "avif"] = Field("png", alias="export.format")
    quality: int | None = Field(
        None, alias="export.quality", ge=1, le=100, description="Of JPEG (80 by default), WebP and AVIF (90)."
    )
    output_size: str = Field(
        "auto",
        alias="outputSize",
        pattern=r"^(auto|originalImage|croppedSubject|[0-9]{1,9}x[0-9]{1,9})$",
        description="auto and originalImage: the input's size; croppedSubject: the subject's; WxH: that many pixels.",
    )
    prompt: str | None = Field(None, alias="segmentation.prompt", min_length=1, description="The subject in words.")
    negative_prompt: str | None = Field(
        None, alias="segmentation.negativePrompt", min_length=1, description="What is not the subject, in words."
    )
    keep_alpha: Literal["never", "auto"] = Field(
        "never",
        alias="keepExistingAlphaChannel",
        description="auto: where the picture is transparent already, that is its background.",
    )
    url: str | None = Field(None, alias="imageUrl", description="Where the picture is; of GET only.")

    @field_validator("color")
    @classmethod
    def _color(cls, value: str) -> str:
        value = hexadecimal(value) or value
        try:
            checks.paint("background.color", value)
        except InvalidArgument:
            raise ValueError("must be a hexadecimal colour such as FF0000 or FF0000EE, or a name such as red") from None
        return value

    @field_validator("output_size")
    @classmethod
    def _output_size(cls, value: str) -> str:
        size = SIZE.fullmatch(value)
        if size and not all(1 <= int(side) <= MAX_SIDE for side in size.groups()):
            raise ValueError(f"must have sides from 1 to {MAX_SIDE}")
        return value

    @model_validator(mode="after")
    def _together(self) -> Fields:
        if self.blur_mode is not None and self.remove_background:
            raise ValueError("background.blur.mode needs removeBackground to be false; it is true, or was left out")
        if self.blur_radius is not None and self.blur_mode is None:
            raise ValueError("background.blur.radius needs background.blur.mode to be given")
        return self


KNOWN = {str(field.alias) for field in Fields.model_fields.values()}
FILE = "imageFile"


def read(document: Mapping[str, Any]) -> Request:
    """Read form fields by their dotted names; raise `BadRequest` where they break PhotoRoom's rules."""
    try:
        fields = Fields.model_validate(dict(document))
    except ValidationError as error:
        raise bad_request(error, whole="") from None
    return Request(_edit(fields), fields.url, tuple(sorted(map(str, set(document) - KNOWN - {FILE}))))


def _edit(fields: Fields) -> Edit:
    blur = None
    if fields.blur_mode is not None:
        blur = BlurSpec(fields.blur_mode, DEFAULT_RADIUS if fields.blur_radius is None else fields.blur_radius)
    size = SIZE.fullmatch(fields.output_size)
    format = FORMATS[fields.format]
    return Edit(
        remove=fields.remove_background,
        color=fields.color,
        blur=blur,
        subject=Subject(
            prompt=fields.prompt, negative_prompt=fields.negative_prompt, use_alpha=fields.keep_alpha == "auto"
        ),
        # A new size frames the subject where it was cut out, the whole picture otherwise.
        clip=fields.output_size == "croppedSubject" or (size is not None and fields.remove_background),
        resize=Resize(int(size[1]), int(size[2]), "canvas") if size else None,
        format=format,
        jpeg_quality=QUALITY.get(format) if fields.quality is None else fields.quality,
        srgb=True,
        metadata=False,
    )


def refusal(error: Exception, request: Request | None = None) -> Refusal:
    """Return the answer for an error: PhotoRoom's body, and 400 for whatever is wrong with a request."""
    status, message = status_and_message(error)
    if isinstance(error, ResultTooLarge):
        message = f"outputSize: {message}"
    elif isinstance(error, ImageFileError):
        message = f"{'imageUrl' if request and request.url else FILE}: {message}"
    elif isinstance(error, PromptUnsupported) and request is not None:
        negative = request.edit.subject.prompt is None or error.argument.endswith("negative_prompt")
        name = "negativePrompt" if negative else "prompt"
        message = f"segmentation.{name}: {error.why}"
    return Refusal({422: 400, 401: 403}.get(status, status), {"error": {"message": message}})
