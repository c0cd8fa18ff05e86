"""PhotoRoom's Image Editing API, ``/v2/edit``: form fields with dotted names."""

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
    ValidationError,
    field_validator,
    model_validator,
)

from ..checks import MAX_RADIUS
from ..errors import ImageFileError, PromptUnsupported, ResultTooLarge
from ..outline import MAX_SOFTNESS, MAX_WIDTH, Outline
from ..types import (
    DEFAULT_RADIUS,
    NO_MARGIN,
    BlurSpec,
    Edit,
    Lengths,
    Resize,
    Subject,
)
from .base import (
    MAX_FAULTS,
    MAX_NAME,
    BadRequest,
    Refusal,
    Request,
    bad_request,
    boolean,
    colour,
    seen,
    status_and_message,
)

NAME = "photoroom"
MAX_SIDE = 20_000  # of WxH; PhotoRoom names no limit
FORMATS = {"png": "PNG", "jpeg": "JPEG", "jpg": "JPEG", "webp": "WEBP", "avif": "AVIF"}
QUALITY = {"JPEG": 80, "WEBP": 90, "AVIF": 90}
METADATA: dict[str, Any] = {
    "never": False, "xmp": "xmp", "exifSubset": "rights", "exifSubsetWithXmpCompatibility": "rights+xmp",
}  # fmt: skip
SIZE = re.compile(r"([0-9]{1,9})x([0-9]{1,9})")
LENGTH = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,9})?)(px|%)?")
MAX_SHARE = 0.49  # of padding and margin
SIDES = ("Top", "Right", "Bottom", "Left")
SHARES = {"left": 0.0, "top": 0.0, "center": 0.5, "right": 1.0, "bottom": 1.0}
# What PhotoRoom's models and templates do, and nothing here does: by name, or by what names begin with.
NOT_OFFERED = (
    "background.expandPrompt", "background.guidance.", "background.negativePrompt", "background.prompt",
    "background.seed", "beautify.", "describeAnyChange.", "editWithAI.", "expand.", "flatLay.",
    "ghostMannequin.", "imageFromPrompt.", "layers", "lighting.", "shadow.", "template", "textRemoval.",
    "uncrop.", "upscale.", "virtualModel.",
)  # fmt: skip


def length(value: Any) -> Any:
    """Read a length, 0.2, 20% or 100px, as `Resize` has it."""
    match = LENGTH.fullmatch(value) if isinstance(value, str) else None
    number = float(match[1]) if match else value
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueError("must be a number from 0 to 0.49, a percentage up to 49%, or pixels such as 100px")
    if match and match[2] == "px":
        return round(number)
    share = number / 100 if match and match[2] else number
    if not 0 <= share <= MAX_SHARE:
        raise ValueError("must be from 0 to 0.49, or up to 49%")
    return f"{100 * share:g}%"


Length = Annotated[int | str | None, BeforeValidator(length, json_schema_input_type=float | str)]
Flag = Annotated[bool, BeforeValidator(boolean)]
Words = Annotated[str, AfterValidator(seen)]


def box(name: str, side: str = "") -> Any:
    """Return the field of a length at one side, or at all."""
    where = f"at the {side.lower()}" if side else "at each side"
    return Field(None, alias=f"{name}{side}", description=f"Free room {where}: 0.1, 10% or 100px.")


class Fields(BaseModel):
    """The form fields that are known here; `read` sorts out the rest."""

    model_config = ConfigDict(extra="ignore", title="PhotoRoomEdit")

    remove_background: Flag = Field(
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
    color: Annotated[str, BeforeValidator(colour, json_schema_input_type=str)] = Field(
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
    prompt: Words | None = Field(None, alias="segmentation.prompt", description="The subject in words.")
    negative_prompt: Words | None = Field(
        None, alias="segmentation.negativePrompt", description="What is not the subject, in words."
    )
    keep_alpha: Literal["never", "auto"] = Field(
        "never",
        alias="keepExistingAlphaChannel",
        description="auto: where the picture is transparent already, that is its background.",
    )
    url: str | None = Field(None, alias="imageUrl", description="Where the picture is; of GET only.")

    background_file: bytes | None = Field(
        None, alias="background.imageFile", description="What shows where the result would be transparent."
    )
    background_url: str | None = Field(None, alias="background.imageUrl", description="Where such a picture is.")
    background_scaling: Literal["fit", "fill"] | None = Field(None, alias="background.scaling")
    padding: Length = box("padding")
    padding_top: Length = box("padding", "Top")
    padding_right: Length = box("padding", "Right")
    padding_bottom: Length = box("padding", "Bottom")
    padding_left: Length = box("padding", "Left")
    margin: Length = box("margin")
    margin_top: Length = box("margin", "Top")
    margin_right: Length = box("margin", "Right")
    margin_bottom: Length = box("margin", "Bottom")
    margin_left: Length = box("margin", "Left")
    scaling: Literal["fit", "fill"] | None = None
    horizontal: Literal["left", "center", "right"] | None = Field(None, alias="horizontalAlignment")
    vertical: Literal["top", "center", "bottom"] | None = Field(None, alias="verticalAlignment")
    snap: Flag | None = Field(
        None,
        alias="ignorePaddingAndSnapOnCroppedSides",
        description="Where the picture's edge cuts the subject, it stands at that edge. True by default.",
    )
    reference_box: Literal["subjectBox", "originalImage"] | None = Field(None, alias="referenceBox")
    max_width: int | None = Field(None, alias="maxWidth", ge=1, le=MAX_SIDE)
    max_height: int | None = Field(None, alias="maxHeight", ge=1, le=MAX_SIDE)
    dpi: int | None = Field(None, alias="export.dpi", ge=72, le=1200)
    mode: Literal["keepSalientObject", "ignoreSalientObject"] | None = Field(
        None, alias="segmentation.mode", description="Whether the subject is what is seen first, or the prompt's."
    )
    preserve: Literal["never", "xmp", "exifSubset", "exifSubsetWithXmpCompatibility"] = Field(
        "never",
        alias="preserveMetadata",
        description="exifSubset: copyright and user comment; with compatibility: as XMP too.",
    )
    color_space: Literal["sRGB", "original"] = Field(
        "sRGB", alias="colorSpace", description="original: the picture's own profile stays; not with a blur."
    )
    outline_color: Annotated[str, BeforeValidator(colour)] | None = Field(
        None, alias="outline.color", description="Of a line around the subject: hexadecimal, or a CSS name."
    )
    outline_width: float | None = Field(
        None, alias="outline.width", gt=0, le=MAX_WIDTH, description="Fraction of the diagonal; 0.01 by default."
    )
    outline_softness: float | None = Field(
        None, alias="outline.blurRadius", ge=0, le=MAX_SOFTNESS, description="Sigma of its outer edge; 0 by default."
    )

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
        if self.outline_color is None and not self.outline_width is self.outline_softness is None:
            raise ValueError("outline.width and outline.blurRadius need outline.color to be given")
        if self.color_space == "original" and self.blur_mode is not None:
            raise ValueError("colorSpace=original excludes background.blur.mode: a blur works in sRGB")
        if not self.remove_background:
            only = {
                "referenceBox": self.reference_box, "ignorePaddingAndSnapOnCroppedSides": self.snap,
                "background.imageFile": self.background_file, "background.imageUrl": self.background_url,
            }  # fmt: skip
            for name, value in only.items():
                if value is not None:
                    raise ValueError(f"{name} needs removeBackground to be true")
        has_picture = [self.background_file, self.background_url].count(None)
        if has_picture == 0:
            raise ValueError("background.imageFile and background.imageUrl exclude each other")
        if self.background_scaling is not None and has_picture == 2:
            raise ValueError("background.scaling needs background.imageFile or background.imageUrl")
        if SIZE.fullmatch(self.output_size) and (self.max_width or self.max_height):
            raise ValueError("maxWidth and maxHeight need outputSize to be originalImage or croppedSubject")
        if self.mode == "ignoreSalientObject" and self.prompt is None:
            raise ValueError("segmentation.mode=ignoreSalientObject needs segmentation.prompt: nothing would be left")
        if self.mode == "keepSalientObject" and self.prompt is not None:
            raise ValueError(
                "segmentation.mode=keepSalientObject is not offered with segmentation.prompt: what the prompt names is "
                "the subject alone"
            )
        return self

    def box(self, name: str) -> Lengths:
        """Return padding or margin at the top, right, bottom and left."""
        whole = getattr(self, name) or 0
        own = [getattr(self, f"{name}_{side.lower()}") for side in SIDES]
        top, right, bottom, left = (whole if value is None else value for value in own)
        return top, right, bottom, left

    @property
    def frames_subject(self) -> bool:
        """Whether it is the subject that is placed, and not the whole picture."""
        return self.remove_background and self.reference_box != "originalImage"

    @property
    def placed(self) -> bool:
        """Whether the request says where the subject stands."""
        boxes = self.box("padding"), self.box("margin")
        return boxes != (NO_MARGIN, NO_MARGIN) or not self.scaling is self.horizontal is self.vertical is None


KNOWN = {field.alias or name for name, field in Fields.model_fields.items()}
FILE = "imageFile"


def read(document: Mapping[str, Any]) -> Request:
    """Read form fields by their dotted names; raise `BadRequest` where they break PhotoRoom's rules.

    ``background.imageFile`` is bytes.
    """
    others = sorted(map(str, set(document) - KNOWN - {FILE}))
    missing = [name for name in others if name.startswith(NOT_OFFERED)]
    if missing:
        raise BadRequest({name[:MAX_NAME]: ["is not offered here"] for name in missing[:MAX_FAULTS]})
    try:
        fields = Fields.model_validate(dict(document))
    except ValidationError as error:
        raise bad_request(error, whole="") from None
    picture = document.get(FILE)
    return Request(
        _edit(fields), fields.url, tuple(others), picture if isinstance(picture, bytes) else None, fields.background_url
    )


def _edit(fields: Fields) -> Edit:
    blur = None
    if fields.blur_mode is not None:
        blur = BlurSpec(fields.blur_mode, DEFAULT_RADIUS if fields.blur_radius is None else fields.blur_radius)
    format = FORMATS[fields.format]
    resize = _resize(fields)
    # A new size, and a new place, frame the subject where it was cut out, the whole picture otherwise.
    framed = resize is not None and (resize.width is not None or fields.placed)
    return Edit(
        remove=fields.remove_background,
        color=fields.color,
        background=fields.background_file,
        background_fit="canvas" if fields.background_scaling == "fit" else "crop",
        blur=blur,
        outline=_outline(fields),
        subject=Subject(
            prompt=fields.prompt, negative_prompt=fields.negative_prompt, use_alpha=fields.keep_alpha == "auto"
        ),
        clip=fields.output_size == "croppedSubject" or (framed and fields.frames_subject),
        resize=resize,
        format=format,
        jpeg_quality=QUALITY.get(format) if fields.quality is None else fields.quality,
        srgb=fields.color_space == "sRGB",
        metadata=METADATA[fields.preserve],
        dpi=fields.dpi,
    )


def _outline(fields: Fields) -> Outline | None:
    if fields.outline_color is None:
        return None
    given = {"width": fields.outline_width, "softness": fields.outline_softness}
    return Outline(fields.outline_color, **{name: value for name, value in given.items() if value is not None})


def _resize(fields: Fields) -> Resize | None:
    size = SIZE.fullmatch(fields.output_size)
    if not size and not fields.placed:
        limited = Resize(max_width=fields.max_width, max_height=fields.max_height)
        return None if limited == Resize() else limited
    width, height = (int(size[1]), int(size[2])) if size else ("100%", "100%")
    own_size = fields.output_size == "croppedSubject"
    margin, padding = fields.box("margin"), fields.box("padding")
    snaps = fields.frames_subject and fields.snap is not False
    return Resize(
        None if own_size else width,
        None if own_size else height,
        "crop" if fields.scaling == "fill" else "canvas",
        padding=(margin, padding) if (margin, padding) != (NO_MARGIN, NO_MARGIN) else (),
        snap=(snaps and fields.horizontal is None, snaps and fields.vertical is None),
        align=(SHARES[fields.horizontal or "center"], SHARES[fields.vertical or "center"]),
        max_width=fields.max_width,
        max_height=fields.max_height,
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
