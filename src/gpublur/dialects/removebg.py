"""remove.bg's API, ``/v1.0/removebg``: fields of a form, a JSON object, or a URL-encoded body."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..edits import ARCHIVE
from ..errors import ImageFileError, NoSubject, PictureTooLarge, RemoteError
from ..types import NO_MARGIN, Edit, Lengths, Resize, Subject
from .base import BadRequest, Declined, Refusal, Request, bad_request, boolean, colour, opaque, status_and_message

NAME = "removebg"
FILE, BACKGROUND_FILE = "image_file", "bg_image_file"
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "zip": ARCHIVE}
PIXELS = {  # of a result at most; others are as large as the picture
    "preview": 250_000, "small": 250_000, "regular": 250_000, "medium": 1_500_000, "hd": 4_000_000,
}  # fmt: skip
CATEGORIES = {"product": "products", "car": "cars"}  # models of that name; the others are the general one's
LENGTH = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(px|%)?")
SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
CODES = {403: "auth_failed", 408: "request_timeout", 413: "file_too_large", 429: "rate_limit_exceeded"}

Flag = Annotated[bool, BeforeValidator(boolean)]
Size = Literal["preview", "small", "regular", "medium", "hd", "full", "4k", "50MP", "auto"]
Kind = Literal["auto", "person", "product", "animal", "car", "graphic", "transportation", "other"]


class SourceError(BadRequest):
    """A request that names no picture, or several."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__({"": [words]})
        self.code = code


def lengths(text: str, counts: tuple[int, ...], most: Mapping[str, float]) -> list[int | str]:
    """Read so many lengths as ``30px`` or ``10%``; a number alone is pixels."""
    found = [LENGTH.fullmatch(word) for word in text.replace(",", " ").split()]
    if len(found) not in counts or None in found:
        raise ValueError(f"must be {' or '.join(map(str, counts))} lengths such as 30px or 10%")
    values: list[int | str] = []
    for match in found:
        number, unit = float(match[1]), match[2] or "px"  # type: ignore[index]
        if number > most[unit]:
            raise ValueError(f"must not be above {most[unit]:g}{unit}")
        values.append(round(number) if unit == "px" else f"{number:g}%")
    return values


def region(text: str) -> list[int | str]:
    return lengths(text, (4,), {"px": 100_000, "%": 100})


def margins(text: str) -> list[int | str]:
    return lengths(text, (1, 2, 4), {"px": 500, "%": 50})


def percent(text: str, low: float) -> float:
    match = SHARE.fullmatch(text)
    if match is None or not low <= float(match[1]) <= 100:
        raise ValueError(f"must be a percentage from {low:g}% to 100%")
    return float(match[1])


class Fields(BaseModel):
    """The fields; what is left empty counts as left out."""

    model_config = ConfigDict(extra="forbid", title="RemoveBg")

    image_file_b64: str | None = Field(None, description="The picture, in base64.")
    image_url: str | None = Field(None, description="Where the picture is.")
    size: Size = Field("preview", description="Pixels at most: 0.25, 1.5 or 4 million, or those of the picture.")
    type: Kind = Field("auto", description="What the subject is: a hint.")
    type_level: Literal["none", "1", "2", "latest"] = Field("1", description="none: no X-Type.")
    format: Literal["auto", "png", "jpg", "webp", "zip"] = Field("auto", description="auto: PNG, or JPEG if opaque.")
    roi: str | None = Field(None, description="Where the subject is: left, top, right and bottom, as 30px or 10%.")
    crop: Flag = Field(False, description="Cut to the subject.")
    crop_margin: str | None = Field(None, description="Around it: one, two or four of 30px or 10% of the subject.")
    scale: str = Field("original", description="Of the subject: 10% to 100% of the picture.")
    position: str | None = Field(None, description="Of the subject: original, center, or one or two percentages.")
    channels: Literal["rgba", "alpha"] = Field("rgba", description="alpha: the opacity alone, grey.")
    semitransparency: Flag = Field(True, description="false: nothing but the subject's edge is partly transparent.")
    add_shadow: Flag = Field(False, description="Only false.")
    shadow_type: str = Field("none", description="Only none.")
    shadow_opacity: str | int | None = Field(None, description="Of a shadow, of which there is none.")
    bg_color: Annotated[str, BeforeValidator(colour)] | None = Field(None, description="Hexadecimal, or a CSS name.")
    bg_image_url: str | None = Field(None, description="Where a background is.")
    bg_image_file: bytes | None = Field(None, description="A background; it fills the result.")

    @field_validator("type_level", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("type", mode="before")
    @classmethod
    def _plural(cls, value: Any) -> Any:
        return "graphic" if value == "graphics" else value

    @field_validator("roi")
    @classmethod
    def _roi(cls, value: str | None) -> str | None:
        if value is not None:
            region(value)
        return value

    @field_validator("crop_margin")
    @classmethod
    def _crop_margin(cls, value: str | None) -> str | None:
        if value is not None:
            margins(value)
        return value

    @field_validator("scale")
    @classmethod
    def _scale(cls, value: str) -> str:
        if value != "original":
            percent(value, 10)
        return value

    @field_validator("position")
    @classmethod
    def _position(cls, value: str | None) -> str | None:
        if value not in (None, "original", "center"):
            alignment(value)
        return value

    @field_validator("add_shadow", "shadow_type")
    @classmethod
    def _no_shadow(cls, value: bool | str) -> bool | str:
        if value not in (False, "none"):
            raise ValueError("shadows are not offered")
        return value

    @model_validator(mode="after")
    def _together(self) -> Fields:
        backgrounds = [name for name in BACKGROUNDS if getattr(self, name) is not None]
        if len(backgrounds) > 1:
            raise ValueError(f"{' and '.join(backgrounds)} exclude each other")
        if self.channels == "alpha" and (backgrounds or self.format == "zip"):
            raise ValueError(f"channels=alpha excludes {backgrounds[0] if backgrounds else 'format=zip'}")
        if self.crop and (self.scale != "original" or self.position not in (None, "original")):
            raise ValueError("crop excludes scale and position: no room would be left to place the subject in")
        return self


BACKGROUNDS = ("bg_color", "bg_image_url", BACKGROUND_FILE)


def alignment(text: str) -> tuple[float, float]:
    """Read one or two percentages, across and down."""
    values = [percent(word, 0) / 100 for word in text.replace(",", " ").split()]
    if len(values) not in (1, 2):
        raise ValueError("must be original, center, or one or two percentages such as 50%")
    return values[0], values[-1]


def read(document: Mapping[str, Any]) -> Request:
    """Read the fields; raise `BadRequest` where they break remove.bg's rules.

    The two files are bytes: ``image_file`` and ``bg_image_file``.
    """
    given = {name: value for name, value in document.items() if value not in (None, "")}
    picture = given.pop(FILE, None)
    try:
        fields = Fields.model_validate(given)
    except ValidationError as error:
        raise bad_request(error, whole="") from None
    if isinstance(picture, str):
        raise BadRequest({FILE: ["must be a file; text in base64 is image_file_b64"]})
    sources = [
        name
        for name, value in {
            FILE: picture,
            "image_file_b64": fields.image_file_b64,
            "image_url": fields.image_url,
        }.items()
        if value is not None
    ]
    if len(sources) > 1:
        raise SourceError("multiple_sources", f"{' and '.join(sources)} exclude each other: give one picture")
    if fields.image_file_b64 is not None:
        picture = decoded(fields.image_file_b64)
    kind = None if fields.type_level == "none" else "other" if fields.type == "auto" else fields.type
    return Request(_edit(fields), fields.image_url, picture=picture, background_url=fields.bg_image_url, kind=kind)


def checked_source(request: Request) -> Request:
    """Return a request that says where its picture is; else raise `SourceError`."""
    if request.picture is None and request.url is None:
        raise SourceError("missing_source", "no picture given: image_file, image_file_b64 or image_url must be")
    return request


def decoded(text: str) -> bytes:
    """Return what base64 holds, after a data URL's head or not, in any line length; + may have become spaces."""
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return b64decode(body.replace("\r", "").replace("\n", "").replace(" ", "+"), validate=True)
    except ValueError:
        raise BadRequest({"image_file_b64": ["is not base64"]}) from None


def _edit(fields: Fields) -> Edit:
    alpha, picture_behind = fields.channels == "alpha", bool(fields.bg_image_url or fields.bg_image_file)
    solid = picture_behind or (fields.bg_color is not None and opaque(fields.bg_color))
    format = fields.format if fields.format != "auto" else "jpg" if solid else "png"
    resize = _resize(fields)
    return Edit(
        remove=True,
        color=fields.bg_color,
        background=fields.bg_image_file,
        matte=alpha,
        subject=Subject(
            CATEGORIES.get(fields.type, "general"), region=_region(fields), solid=not fields.semitransparency
        ),
        on_no_subject="error",
        clip=fields.crop or (resize is not None and resize.width is not None),
        resize=resize,
        format=FORMATS[format],
        srgb=True,
        metadata=False,
    )


def _region(fields: Fields) -> Lengths | None:
    if fields.roi is None:
        return None
    left, top, right, bottom = region(fields.roi)
    return left, top, right, bottom


def _resize(fields: Fields) -> Resize | None:
    limit, margin = PIXELS.get(fields.size), NO_MARGIN
    if fields.crop and fields.crop_margin is not None:
        margin = _margin(margins(fields.crop_margin))
    moved = fields.scale != "original" or fields.position not in (None, "original")
    if not moved:
        resize = Resize(margin=margin, max_pixels=limit)
        return None if resize == Resize() else resize
    position = fields.position or "center"
    align = (0.5, 0.5) if position == "center" else "keep" if position == "original" else alignment(position)
    return Resize("100%", "100%", "canvas", align=align, scale=fields.scale, max_pixels=limit)  # type: ignore[arg-type]


def _margin(values: list[int | str]) -> Lengths:
    """Return what is at the top, right, bottom and left."""
    if len(values) == 4:
        return values[0], values[1], values[2], values[3]
    return values[0], values[-1], values[0], values[-1]


def refusal(error: Exception, request: Request | None = None) -> Refusal:
    """Return the answer for an error: remove.bg's list, and 400 for whatever is wrong with a request."""
    status, message = status_and_message(error)
    status = {401: 403, 413: 400, 415: 400, 422: 400}.get(status, status)
    code = CODES.get(status, "invalid_parameters" if status < 500 else "internal_error")
    if isinstance(error, SourceError):
        code = error.code
    elif isinstance(error, NoSubject):
        code = "unknown_foreground"
    elif isinstance(error, PictureTooLarge):
        code = "resolution_too_high"
    elif isinstance(error, ImageFileError):
        code = "failed_image_download" if isinstance(error, RemoteError) else "invalid_file_type"
    elif isinstance(error, Declined):
        code = {404: "not_found", 405: "method_not_allowed"}.get(status, CODES.get(error.status, code))
    elif isinstance(error, BadRequest):
        errors = [
            {"title": f"{name}: {words}" if name else words, "code": code, "detail": name}
            for name, several in error.faults.items()
            for words in several
        ]
        return Refusal(status, {"errors": errors})
    return Refusal(status, {"errors": [{"title": message, "code": code, "detail": ""}]})
