"""The JSON of Claid's Image Editing API, as its reference describes it; `claid` says what it means here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    field_validator,
    model_validator,
)

from .. import checks
from ..errors import InvalidArgument
from ..types import Subject
from .base import hexadecimal, seen

MAX_SIDE = 20_000  # pixels; and percent
MAX_URL = 4096  # characters
MAX_BATCH = 1000  # pictures of one request
PADDING = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(px|%)")

Format = Literal["jpeg", "png", "webp", "avif", "tiff"]
Category = Literal["general", "products", "cars"]
Fit = Literal["crop", "bounds", "cover", "canvas"]
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL)]


class Part(BaseModel):
    """A JSON object without unknown names."""

    model_config = ConfigDict(extra="forbid")


class Selective(Part):
    object_to_keep: Annotated[str, Field(min_length=3, max_length=128), AfterValidator(seen)]


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
    use_original_alpha: StrictBool = Field(
        default=False, description="Whether a picture's own transparency is the matte."
    )

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


class FitObject(Part):
    """How a picture is fitted; ``crop`` says around what it is cut."""

    type: Fit = "crop"
    crop: Literal["center", "smart"] = "center"

    @model_validator(mode="after")
    def _of_a_crop(self) -> FitObject:
        if self.type != "crop" and "crop" in self.model_fields_set:
            raise ValueError(f"crop has no meaning with the type {self.type}")
        return self


def typed(value: Any) -> Any:
    """Read a name as an object of that type."""
    return {"type": value} if isinstance(value, str) else value


class Resizing(Part):
    width: Annotated[int | str | None, BeforeValidator(side)] = None
    height: Annotated[int | str | None, BeforeValidator(side)] = None
    fit: Annotated[FitObject | None, BeforeValidator(typed, json_schema_input_type=FitObject | Fit | None)] = None

    @model_validator(mode="after")
    def _one_side(self) -> Resizing:
        sides = {self.width, self.height}
        if "auto" in sides and sides <= {"auto", None}:
            raise ValueError('width and height cannot both be left open where one is "auto"')
        return self


class Compression(Part):
    """Of WebP, AVIF and TIFF."""

    type: Literal["lossy", "lossless"] = "lossy"
    quality: StrictInt | None = Field(None, ge=1, le=100)

    @model_validator(mode="after")
    def _lossy_has_quality(self) -> Compression:
        if self.type == "lossless" and self.quality is not None:
            raise ValueError("quality has no meaning without loss")
        return self


def compressed(value: Any) -> Any:
    """Read the name of a compression; PNG's changes no pixel, and counts as none."""
    return None if value in ("fast", "best", "optimal") else typed(value)


class OutputFormat(Part):
    """A format with its settings; ``progressive`` is accepted, and changes no pixel."""

    type: Format
    quality: StrictInt | None = Field(default=None, ge=1, le=100)
    progressive: StrictBool = False
    compression: Annotated[
        Compression | None,
        BeforeValidator(
            compressed, json_schema_input_type=Compression | Literal["fast", "best", "optimal", "lossy", "lossless"]
        ),
    ] = None

    @model_validator(mode="after")
    def _fitting(self) -> OutputFormat:
        if self.compression is not None and self.type not in ("webp", "avif", "tiff"):
            raise ValueError(f"lossy and lossless are not for {self.type}")
        if self.type == "tiff" and self.compression is not None and self.compression.type == "lossy":
            raise ValueError("a lossy TIFF is not offered")
        return self


def rgb(value: Any) -> Any:
    """Read a colour space: RGB, by name or as an object."""
    name = value.get("type") if isinstance(value, Mapping) else value
    if name == "CMYK":
        raise ValueError("must be RGB: CMYK is not offered")
    return name


class Metadata(Part):
    dpi: StrictInt | None = Field(None, ge=1, le=10_000, description="Pixels per inch.")
    color_space: Annotated[
        Literal["RGB"] | None, BeforeValidator(rgb, json_schema_input_type=Literal["RGB"] | dict[str, str] | None)
    ] = None


class Output(Part):
    format: Annotated[OutputFormat | None, BeforeValidator(typed, json_schema_input_type=OutputFormat | Format)] = None
    destination: None = Field(default=None, description="Not offered: a result lies at its tmp_url.")
    metadata: Metadata | None = None

    @field_validator("destination", mode="before")
    @classmethod
    def _nowhere_else(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("is not offered: a result lies at its tmp_url")
        return value


def shaped(value: Any) -> Any:
    """Read the name of a format as an output of it; a place to store it in is not offered."""
    if not isinstance(value, str):
        return value
    if ":" in value or "/" in value:
        raise ValueError("a destination is not offered: a result lies at its tmp_url")
    return {"format": value}


def idle(value: Any) -> Any:
    """Let an operation pass that is switched off, or would change nothing; refuse any other."""
    left = value.values() if isinstance(value, Mapping) else [value]
    if any(isinstance(each, Mapping) or each not in (None, False, 0) for each in left):
        raise ValueError("is not offered; null, or what changes nothing, is")
    return None


Idle = Annotated[None, BeforeValidator(idle, json_schema_input_type=dict[str, Literal[False, 0] | None] | None)]


class Operations(Part):
    background: Background = Background()
    resizing: Resizing = Resizing()
    padding: str | None = Field(None, description="Free room at all sides, or across and down: 10%, or 5% 25px.")
    restorations: Idle = None
    adjustments: Idle = None
    privacy: Idle = None
    generative: Idle = None

    @field_validator("background", "resizing", mode="before")
    @classmethod
    def _left_out(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("padding")
    @classmethod
    def _padding(cls, value: str | None) -> str | None:
        if value is not None:
            padding(value)
        return value


def padding(text: str) -> tuple[int | str, int | str]:
    """Read what stays free left and right, and above and below."""
    found = [PADDING.fullmatch(word) for word in text.split()]
    if len(found) == 4:
        raise ValueError("four values are not offered: give one, or one across and one down")
    if len(found) not in (1, 2) or None in found:
        raise ValueError("must be one or two lengths such as 10% or 30px")
    values: list[int | str] = []
    for match in found:
        number, unit = float(match[1]), match[2]  # type: ignore[index]
        if (unit == "%" and number >= 50) or number > MAX_SIDE:
            raise ValueError("must be below 50%, half of a side")
        values.append(round(number) if unit == "px" else f"{number:g}%")
    return values[0], values[-1]


class Body(Part):
    """What is posted; ``input`` is a URL, and absent beside an upload."""

    model_config = ConfigDict(extra="forbid", title="ClaidEdit")

    input: Url | None = None
    operations: Operations
    output: Annotated[Output, BeforeValidator(shaped, json_schema_input_type=Output | Format | None)] = Output()

    @field_validator("output", mode="before")
    @classmethod
    def _left_out(cls, value: Any) -> Any:
        return {} if value is None else value


class Folder(Part):
    """Where pictures are, as an object: one file, since folders are not read."""

    source: Url
    recursive: StrictBool = False

    @field_validator("recursive")
    @classmethod
    def _flat(cls, value: bool) -> bool:
        if value:
            raise ValueError("true is not offered: folders are not read")
        return value


def listed(value: Any) -> Any:
    """Read one URL, or an object that holds one, as a list of them."""
    if isinstance(value, Mapping):
        value = Folder.model_validate(value).source
    return [value] if isinstance(value, str) else value


class Batch(Body):
    """What is posted for several pictures, to be done alike."""

    model_config = ConfigDict(extra="forbid", title="ClaidBatch")

    input: Annotated[  # type: ignore[assignment]
        list[Url],
        Field(min_length=1, max_length=MAX_BATCH),
        BeforeValidator(listed, json_schema_input_type=str | list[str] | Folder),
    ]

    @field_validator("input")
    @classmethod
    def _files(cls, value: list[str]) -> list[str]:
        for url in value:
            if url.endswith("/"):
                raise ValueError(f"{url[:60]!r} is a folder: folders are not read, list the files")
        return value
