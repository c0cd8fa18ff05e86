"""PhotoRoom's Remove Background API, ``/v1/segment``: fields of a form, the names of remove.bg's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import ImageFileError, NoSubject
from ..types import Edit, Resize
from .base import BadRequest, Refusal, Request, bad_request, boolean, colour, status_and_message

NAME = "segment"
FILE = "image_file"
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
PIXELS = {"preview": 250_000, "medium": 1_500_000, "hd": 4_000_000, "full": 36_000_000}  # of a result at most

Flag = Annotated[bool, BeforeValidator(boolean)]


class Fields(BaseModel):
    """The form fields."""

    model_config = ConfigDict(extra="forbid", title="PhotoRoomSegment")

    format: Literal["png", "jpg", "webp"] = "png"
    channels: Literal["rgba", "alpha"] = Field("rgba", description="alpha: the opacity alone, grey.")
    bg_color: Annotated[str, BeforeValidator(colour)] | None = Field(None, description="Hexadecimal, or a CSS name.")
    size: Literal["preview", "medium", "hd", "full"] = Field("full", description="At most 0.25, 1.5, 4, 36 megapixels.")
    crop: Flag = Field(False, description="Cut to the subject.")
    despill: Flag = Field(False, description="Only false.")

    @field_validator("despill")
    @classmethod
    def _no_despill(cls, value: bool) -> bool:
        if value:
            raise ValueError("true is not offered: the reflections of a green screen stay")
        return value

    @model_validator(mode="after")
    def _together(self) -> Fields:
        if self.channels == "alpha" and self.bg_color is not None:
            raise ValueError("channels=alpha excludes bg_color")
        return self


def read(document: Mapping[str, Any]) -> Request:
    """Read the fields; raise `BadRequest` where they break PhotoRoom's rules. ``image_file`` is bytes."""
    given = {name: value for name, value in document.items() if value not in (None, "") and name != FILE}
    try:
        fields = Fields.model_validate(given)
    except ValidationError as error:
        raise bad_request(error, whole="") from None
    edit = Edit(
        remove=True,
        color=fields.bg_color,
        matte=fields.channels == "alpha",
        on_no_subject="error",
        clip=fields.crop,
        resize=Resize(max_pixels=PIXELS[fields.size]),
        format=FORMATS[fields.format],
        srgb=True,
        metadata=False,
    )
    picture = document.get(FILE)
    return Request(edit, picture=picture if isinstance(picture, bytes) else None)


def checked_source(request: Request) -> Request:
    """Return a request that holds its picture; else raise `BadRequest`."""
    if request.picture is None:
        raise BadRequest({FILE: ["must be provided, as a file"]})
    return request


def refusal(error: Exception, request: Request | None = None) -> Refusal:
    """Return the answer for an error, and 400 for whatever is wrong with a request."""
    status, message = status_and_message(error)
    status = {401: 403, 413: 400, 415: 400, 422: 400}.get(status, status)
    kind = "internal_error" if status >= 500 else "invalid_request"
    if isinstance(error, BadRequest):
        kind = "missing_image" if FILE in error.faults else "invalid_parameters"
    elif isinstance(error, ImageFileError):
        kind = "invalid_image"
    elif isinstance(error, NoSubject):
        kind = "no_subject"
    kind = {403: "authentication", 429: "rate_limit"}.get(status, kind)
    return Refusal(status, {"detail": message, "status_code": status, "type": kind})
