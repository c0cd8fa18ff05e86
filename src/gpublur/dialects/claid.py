"""Claid's Image Editing API, ``/v1/image/edit``: the ``background``, ``resizing`` and ``output`` parts of its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from .. import checks
from ..errors import ImageFileError, InvalidArgument, NoSubject, PromptUnsupported, RemoteError, ResultTooLarge
from ..types import BlurSpec, Edit, Resize, Subject
from .base import BadRequest, Refusal, Request, bad_request, hexadecimal, in_words, status_and_message

NAME = "claid"
LEVELS = {"low": 0.01, "medium": 0.03, "high": 0.05}  # ours: Claid tells no numbers
MAX_SIDE = 20_000  # pixels; and percent
MODES = {"regular": "gaussian", "lens": "bokeh"}
FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}
KINDS = {401: ("111", "auth"), 413: ("9001", "general"), 422: ("9000", "validation"), 429: ("2001", "general")}

Format = Literal["jpeg", "png", "webp", "avif"]
Category = Literal["general", "products", "cars"]


class Part(BaseModel):
    """A JSON object without unknown names."""

    model_config = ConfigDict(extra="forbid")


class Selective(Part):
    object_to_keep: str = Field(min_length=3, max_length=128)


class Chosen(Part):
    """A subject: of a category, or in words."""

    category: Category | None = None
    selective: Selective | None = None

    @model_validator(mode="after")
    def _one(self) -> Chosen:
        if self.category is not None and self.selective is not None:
            raise ValueError("category and selective exclude each other")
        return self

    def subject(self, default: Category) -> Subject:
        return Subject(self.category or default, self.selective.object_to_keep if self.selective else None)


class Remove(Chosen):
    clipping: StrictBool = False


class Blur(Chosen):
    type: Literal["regular", "lens"] = "regular"
    level: Literal["low", "medium", "high"] = "medium"


def switch(value: Any) -> Any:
    """Read true as an object with nothing in it, false as nothing."""
    if not isinstance(value, (bool, Mapping, Part)):
        raise ValueError("must be true, false or an object")
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class Background(Part):
    remove: Annotated[Remove | None, BeforeValidator(switch, json_schema_input_type=bool | Remove)] = None
    color: str | None = Field(default=None, description="transparent, or hexadecimal; white by default.")
    blur: Annotated[Blur | None, BeforeValidator(switch, json_schema_input_type=bool | Blur)] = None

    @field_validator("color")
    @classmethod
    def _color(cls, value: str | None) -> str | None:
        if value is None:
            return None
        colour = "transparent" if value == "transparent" else hexadecimal(value)
        if colour is None:
            raise ValueError("must be transparent or a hexadecimal colour such as #C5C6FF")
        return colour

    @model_validator(mode="after")
    def _one(self) -> Background:
        if self.remove is not None and self.blur is not None:
            raise ValueError("remove and blur exclude each other: no background would be left to blur")
        return self


def side(value: Any) -> Any:
    """Check a length as `checks.side` does, and bound it."""
    try:
        length = checks.side("length", value)
    except InvalidArgument:
        raise ValueError('must be a whole number of pixels, "auto" or a percentage such as "200%"') from None
    if length is not None and length * (100 if isinstance(length, float) else 1) > MAX_SIDE:
        raise ValueError(f"must not be above {MAX_SIDE}")
    return value


class Resizing(Part):
    width: Annotated[int | str | None, BeforeValidator(side)] = None
    height: Annotated[int | str | None, BeforeValidator(side)] = None
    fit: Literal["crop", "bounds", "cover", "canvas"] | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Resizing:
        sides = {self.width, self.height}
        if "auto" in sides and sides <= {"auto", None}:
            raise ValueError('width and height cannot both be left open where one is "auto"')
        return self


class Compression(Part):
    """Of WebP and AVIF; lossless is not offered."""

    type: Literal["lossy"] = "lossy"
    quality: StrictInt = Field(90, ge=1, le=100)


def effort(value: Any) -> Any:
    """Read PNG's compression, which changes no pixel, as nothing."""
    return None if value in ("fast", "best", "optimal") else value


class OutputFormat(Part):
    """A format with its settings; ``progressive`` is accepted, and changes no pixel."""

    type: Format
    quality: StrictInt | None = Field(default=None, ge=1, le=100)
    progressive: StrictBool = False
    compression: Annotated[
        Compression | None,
        BeforeValidator(effort, json_schema_input_type=Compression | Literal["fast", "best", "optimal"]),
    ] = None


def named(value: Any) -> Any:
    """Read a format's name as one without settings."""
    return {"type": value} if isinstance(value, str) else value


class Output(Part):
    format: Annotated[OutputFormat | None, BeforeValidator(named, json_schema_input_type=OutputFormat | Format)] = None


class Operations(Part):
    background: Background = Background()
    resizing: Resizing = Resizing()


class Body(Part):
    """What is posted; ``input`` is a URL, and absent beside an upload."""

    model_config = ConfigDict(extra="forbid", title="ClaidEdit")

    input: str | None = None
    operations: Operations
    output: Output = Output()


def read(document: Mapping[str, Any], levels: Mapping[str, float] = LEVELS) -> Request:
    """Read Claid's JSON; raise `BadRequest` where it breaks its rules.

    Parameters
    ----------
    levels : mapping
        The radius of each blur level, as a fraction of the diagonal.
    """
    try:
        body = Body.model_validate(document)
    except ValidationError as error:
        raise bad_request(error, whole="body") from None
    return Request(_edit(body, levels), body.input)


def _edit(body: Body, levels: Mapping[str, float]) -> Edit:
    background, resizing = body.operations.background, body.operations.resizing
    remove, blur = background.remove, background.blur
    clip = remove is not None and remove.clipping
    resize = None
    if resizing.width is not None or resizing.height is not None:
        resize = Resize(resizing.width, resizing.height, resizing.fit or "crop")
    elif clip and resizing.fit in (None, "crop"):
        resize = Resize("100%", "100%", "canvas")  # to the input's size; crop's own rule would cut the subject
    padded = resize is not None and resize.fit == "canvas"
    output = body.output.format
    lossy = output.compression or output if output else None
    return Edit(
        remove=remove is not None,
        color=background.color or ("#ffffff" if remove is not None or padded else None),
        blur=BlurSpec(MODES[blur.type], levels[blur.level]) if blur else None,  # type: ignore[arg-type]
        focus="linear" if blur and blur.type == "lens" else "uniform",
        subject=remove.subject("products") if remove else blur.subject("general") if blur else Subject(),
        clip=clip,
        resize=resize,
        format=FORMATS[output.type] if output else None,
        jpeg_quality=lossy.quality if lossy else None,
        srgb=True,
        metadata=False,
    )


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
        message = in_words(faults) or message
    code, kind = KINDS.get(status, (str(status), "general"))
    body = {"error_code": code, "error_type": kind, "error_message": message, "error_details": faults}
    return Refusal(status, {"detail": body} if status == 429 else body)  # as Claid's page on rate limits has it
