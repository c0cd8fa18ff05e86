"""Operators of torch: what `torch.compile` and `torch.export` put into a graph, and how gradients come back.

An operator is a name, a schema, a function that works and one that says the result's shape. Its arguments are those of
the method of `Editor` by that name; only a radius in pixels, ``"12px"``, is a number here, with ``pixels``.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from . import color, optics, pipeline
from .color import dtype_name, max_value
from .engine import cached_engine
from .errors import InvalidArgument
from .optics import BORDER
from .types import DEFAULT_RADIUS, DEFAULT_THRESHOLD, BlurSpec, SubjectQuery

RADIUS = f"float radius={DEFAULT_RADIUS}, bool pixels=False"
GLOW = f"float? highlights=None, float[] highlight_threshold={list(DEFAULT_THRESHOLD)}"
HOW = 'str quality="high", bool linear_light={}, bool dither=True, str? layout=None, str device="auto"'
ASKED = 'str? prompt=None, str? negative_prompt=None, str on_no_subject="blur_all", bool? refine=None'
SCHEMAS = {
    "blur_background": f'(Tensor image, Tensor? mask=None, str mode="bokeh", {RADIUS}, *, {GLOW}, {HOW}, {ASKED}, '
    'str model="general", str? text_model=None) -> Tensor',
    "gaussian_blur": f"(Tensor image, {RADIUS}, *, {HOW}) -> Tensor",
    "bokeh_blur": f"(Tensor image, {RADIUS}, *, {GLOW}, {HOW}) -> Tensor",
    "blur_gradient": "(Tensor image, Tensor result, Tensor gradient, str mode, float radius, bool pixels, "
    "float highlights, float[] highlight_threshold, str quality, bool linear_light, str? layout, str device) -> Tensor",
    "composite": "(Tensor foreground, Tensor background, Tensor alpha, *, bool linear_light=True) -> Tensor",
}
MIDDLE = 32768 / 65535  # of [0, 1], and one of the steps in which the backends read floats
LUMINANCE = (0.2126, 0.7152, 0.0722)  # Rec. 709


def operator(name: str) -> Any:
    """Return a decorator that makes a function torch's operator ``gpublur::name``."""
    schema = SCHEMAS[name].replace("linear_light={}", f"linear_light={name != 'gaussian_blur'}")
    return torch.library.custom_op(f"gpublur::{name}", mutates_args=(), schema=schema)


def spec_of(
    mode: Any, radius: float, pixels: bool, *, highlights: float | None = None,
    highlight_threshold: Any = DEFAULT_THRESHOLD, quality: Any = "high", linear_light: bool = True, dither: bool = True,
    **_: Any,
) -> BlurSpec:  # fmt: skip
    """Return the checked blur that an operator's arguments ask for; it needs no others."""
    size = f"{radius}px" if pixels else radius
    return BlurSpec(mode, size, highlights, tuple(highlight_threshold), quality, linear_light, dither).checked()


def empty_like(image: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Return what every result here is like: the picture, contiguous."""
    return image.new_empty(image.shape)


# --- The background ---


@operator("blur_background")
def blur_background(
    image: torch.Tensor, mask: torch.Tensor | None = None, mode: str = "bokeh", radius: float = DEFAULT_RADIUS,
    pixels: bool = False, *, prompt: str | None = None, negative_prompt: str | None = None,
    on_no_subject: Any = "blur_all", refine: bool | None = None, layout: str | None = None, device: str = "auto",
    model: str = "general", text_model: str | None = None, **how: Any,
) -> torch.Tensor:  # fmt: skip
    spec = spec_of(mode, radius, pixels, **how)
    query = SubjectQuery(prompt, negative_prompt, on_no_subject, "auto" if refine is None else refine)
    engine = cached_engine(device, model, text_model)
    result: torch.Tensor = engine.run(image.detach(), layout, mask, query, pipeline.blur, spec)
    return result.contiguous()


@blur_background.register_fake
def _(
    image: Any, mask: Any = None, mode: Any = "bokeh", radius: Any = DEFAULT_RADIUS, pixels: Any = False, **how: Any
) -> Any:
    spec_of(mode, radius, pixels, **how)
    return empty_like(image)


def no_gradient(_ctx: Any, _gradient: Any) -> Any:
    raise InvalidArgument(
        "blur_background has no gradient: detach its image and mask, or put gaussian_blur, bokeh_blur and "
        "torch.ops.gpublur.composite together, which have one"
    )


blur_background.register_autograd(no_gradient)


# --- The bare filters ---


@operator("gaussian_blur")
def gaussian_blur(
    image: torch.Tensor, radius: float = DEFAULT_RADIUS, pixels: bool = False, *, linear_light: bool = False, **how: Any
) -> torch.Tensor:
    return filtered(image, "gaussian", radius, pixels, linear_light=linear_light, **how)


@operator("bokeh_blur")
def bokeh_blur(image: torch.Tensor, radius: float = DEFAULT_RADIUS, pixels: bool = False, **how: Any) -> torch.Tensor:
    return filtered(image, "bokeh", radius, pixels, **how)


def filtered(
    image: torch.Tensor, mode: str, radius: float, pixels: bool, *, layout: str | None = None, device: str = "auto",
    **how: Any,
) -> torch.Tensor:  # fmt: skip
    spec = spec_of(mode, radius, pixels, **how)
    result: torch.Tensor = cached_engine(device).filter(image.detach(), layout, spec)
    return result.contiguous()


@operator("blur_gradient")
def blur_gradient(
    image: torch.Tensor, result: torch.Tensor, gradient: torch.Tensor, mode: str, radius: float, pixels: bool,
    highlights: float, highlight_threshold: list[float], quality: str, linear_light: bool, layout: str | None,
    device: str,
) -> torch.Tensor:  # fmt: skip
    """Return the gradient by a picture whose ``result``, the blurred one, has ``gradient``; see docs/maths.md (9)."""
    axes = layout or ("HW", "CHW", "NCHW")[image.ndim - 2]
    last = axes.endswith("C")
    shown, blurred, towards = (
        (values.movedim(-1, -3) if last else values if "C" in axes else values[None]).float()
        for values in (image, result, gradient)
    )
    if shown.shape[-3] == 4:
        raise InvalidArgument(f"image has 4 channels (shape {tuple(image.shape)}): beside opacity there is no gradient")
    spec = spec_of(
        mode, radius, pixels, highlights=highlights, highlight_threshold=highlight_threshold, quality=quality,
        linear_light=linear_light,
    )  # fmt: skip
    light = color.decode(shown, torch) if linear_light else shown
    weight, by_light = boost(light, spec)
    towards = towards / aperture(weight, spec, device)
    if linear_light:
        towards = towards / slope(blurred)  # an inverse function's is the inverse
        blurred = color.decode(blurred, torch)
    spread = aperture(towards, spec, device)
    found = weight * spread
    if highlights:
        back = aperture((towards * blurred).sum(-3, keepdim=True), spec, device)
        found = found + by_light * ((light * spread).sum(-3, keepdim=True) - back)
    if linear_light:
        found = found * slope(shown)
    found = found.movedim(-3, -1) if last else found.reshape(image.shape)
    return found.to(image.dtype).contiguous()


def slope(shown: torch.Tensor) -> torch.Tensor:
    """Return the derivative of `color.decode`."""
    return torch.where(shown <= 0.04045, 1 / 12.92, 2.4 / 1.055 * ((shown.clip(0) + 0.055) / 1.055) ** 1.4)


def boost(light: torch.Tensor, spec: BlurSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (3)'s weight (..., 1, H, W) of opaque light (..., C, H, W) without a subject, and its slope by that."""
    shares = light.new_tensor(LUMINANCE if light.shape[-3] == 3 else (1.0,))[:, None, None]
    luminance, (most, where) = (light * shares).sum(-3, keepdim=True), light.max(-3, keepdim=True)
    low, high = spec.highlight_threshold
    step = (torch.maximum(luminance, most**8) - low) / (high - low)
    power = 10 * (spec.highlights or 0.0)
    weight = torch.exp2(power * step.clip(0, 1))
    by_bright = weight * power * math.log(2) / (high - low) * ((step > 0) & (step < 1))
    peak = torch.zeros_like(light).scatter_(-3, where, 8 * most**7)
    return weight, by_bright * torch.where(luminance >= most**8, shares, peak)


def aperture(planes: torch.Tensor, spec: BlurSpec, device: str) -> torch.Tensor:
    """Return planes (..., H, W) of any values, blurred without the division by the weight within the frame.

    They are blurred in a frame so wide that there is no such weight but 1 where the picture is.
    """
    height, width = planes.shape[-2:]
    plan, pixels = optics.plan(spec, height, width), optics.radius_px(spec.radius, height, width)
    down, across = (  # whole cells: the grid stays where it is
        axis.factor * (reach + BORDER + 1)
        for axis, reach in zip((plan.down, plan.across), plan.aperture.reach, strict=True)
    )
    most = float(planes.abs().max())
    wide = torch.nn.functional.pad(planes * (0.499 / max(most, 1e-30)), [across, across, down, down]) + MIDDLE
    bare = BlurSpec(spec.mode, f"{pixels:.9f}px", 0.0, quality=spec.quality, linear_light=False, dither=False).checked()
    blurred = cached_engine(device).filter(wide.reshape(-1, 1, *wide.shape[-2:]), "NCHW", bare).reshape(wide.shape)
    return (blurred[..., down : down + height, across : across + width] - MIDDLE) * (most / 0.499)


def keep(mode: str) -> Any:
    """Return what keeps of a blur's arguments what its gradient needs."""

    def setup_context(ctx: Any, inputs: Any, keyword_only_inputs: Any, output: Any) -> None:
        image, radius, pixels = inputs
        ctx.save_for_backward(image, output)
        how = {"linear_light": mode == "bokeh"} | keyword_only_inputs
        spec = spec_of(mode, radius, pixels, **how)
        ctx.how = (
            mode, radius, pixels, spec.highlights, list(spec.highlight_threshold), spec.quality, spec.linear_light,
            how.get("layout"), how.get("device", "auto"),
        )  # fmt: skip

    return setup_context


def towards_image(ctx: Any, gradient: torch.Tensor) -> Any:
    return blur_gradient(*ctx.saved_tensors, gradient, *ctx.how), None, None


for mode, blur in (("gaussian", gaussian_blur), ("bokeh", bokeh_blur)):
    blur.register_fake(empty_like)
    blur.register_autograd(towards_image, setup_context=keep(mode))
blur_gradient.register_fake(empty_like)


# --- Composite ---


def composite(
    foreground: torch.Tensor, background: torch.Tensor, alpha: torch.Tensor, *, linear_light: bool = True
) -> torch.Tensor:
    """Return display(alpha F + (1 - alpha) B), in torch's own operators: they fuse, and have gradients by all three."""
    check_parts(foreground, background, alpha)
    front, back, share = unit(foreground), unit(background), unit(alpha).unsqueeze(-3)
    if linear_light:
        light = share * color.decode(front, torch) + (1 - share) * color.decode(back, torch)
        shown = color.encode(light, torch)
    else:
        shown = share * front + (1 - share) * back
    if foreground.is_floating_point():
        return shown.to(foreground.dtype)
    return (shown * max_value(dtype_name(foreground))).round().to(foreground.dtype)


def check_parts(foreground: torch.Tensor, background: torch.Tensor, alpha: torch.Tensor) -> None:
    """Raise `InvalidArgument` unless they are pictures (..., C, H, W) of one shape, and a matte (..., H, W)."""
    signed = (torch.int8, torch.int16, torch.int32, torch.int64)
    for name, values in (("foreground", foreground), ("background", background), ("alpha", alpha)):
        if values.dtype in signed or values.is_complex():
            raise InvalidArgument(f"{name} is of {values.dtype}, not of unsigned integers or floats")
    front, back, matte = (tuple(values.shape) for values in (foreground, background, alpha))
    if front != back or matte[-2:] != front[-2:] or len(matte) >= len(front):
        said = f"foreground, background and alpha are {front}, {back}, {matte}"
        raise InvalidArgument(f"{said}, not (..., C, H, W) twice and (..., H, W)")


def unit(values: torch.Tensor) -> torch.Tensor:
    """Return pixels or a mask as floats in [0, 1], of single precision at least."""
    if values.is_floating_point():
        return values.to(torch.promote_types(values.dtype, torch.float32))
    return values.float() if values.dtype == torch.bool else values.float() / max_value(dtype_name(values))


torch.library.define("gpublur::composite", SCHEMAS["composite"])
torch.library.impl("gpublur::composite", "CompositeImplicitAutograd", composite)


# --- Calls of an Editor that become operators ---


class InGraph:
    """What an `Engine` is to an `Editor`, where torch traces the call or is to know its gradient."""

    blur_spec = BlurSpec  # not checked yet: what `Engine.blur_spec` looks up, torch would not trace

    def __init__(self, device: Any, model: Any, text_model: Any) -> None:
        self.device, self.model, self.text_model = device, model, text_model

    def run(self, image: Any, layout: str | None, given: Any, query: SubjectQuery, step: Any, *settings: Any) -> Any:
        """Put `blur_background` into the graph; what is no operator is done outside of it."""
        if step is pipeline.blur:
            settings = (settings[0].checked(),)
        named = isinstance(self.model, str) or given is not None
        plain = isinstance(image, torch.Tensor) and (given is None or isinstance(given, torch.Tensor))
        if step is not pipeline.blur or query.details or not (named and plain):
            return outside(self, "run", image, layout, given, query, step, *settings)
        spec: BlurSpec = settings[0]
        radius, pixels = size_of(spec)
        return torch.ops.gpublur.blur_background(
            image, given, spec.mode, radius, pixels, highlights=spec.highlights,
            highlight_threshold=spec.highlight_threshold, quality=spec.quality, linear_light=spec.linear_light,
            dither=spec.dither, prompt=query.prompt, negative_prompt=query.negative_prompt,
            on_no_subject=query.on_no_subject, refine=None if query.refine == "auto" else query.refine, layout=layout,
            device=str(self.device), model=self.model if isinstance(self.model, str) else "general",
            text_model=self.text_model,
        )  # fmt: skip

    def filter(self, image: Any, layout: str | None, spec: BlurSpec) -> Any:
        """Put `gaussian_blur` or `bokeh_blur` into the graph."""
        if not isinstance(image, torch.Tensor):
            return outside(self, "filter", image, layout, spec.checked())
        radius, pixels = size_of(spec)
        how = {"quality": spec.quality, "linear_light": spec.linear_light, "dither": spec.dither, "layout": layout}
        how["device"] = str(self.device)
        if spec.mode == "gaussian":
            return torch.ops.gpublur.gaussian_blur(image, radius, pixels, **how)
        glow = {"highlights": spec.highlights, "highlight_threshold": spec.highlight_threshold}
        return torch.ops.gpublur.bokeh_blur(image, radius, pixels, **glow, **how)


def size_of(spec: BlurSpec) -> tuple[float, bool]:
    """Return a radius as a number, and whether it is in pixels."""
    if isinstance(spec.radius, str):
        return float(spec.radius.removesuffix("px")), True
    return float(spec.radius), False


@torch.compiler.disable(
    reason="this call of gpublur is no operator: its result's shape, or its model, is not known ahead"
)
def outside(call: InGraph, method: str, *args: Any) -> Any:
    """Do a call outside of the graph; there it has no gradient, which is said where one is wanted."""
    flat = [one for each in args for one in (each if isinstance(each, (list, tuple)) else [each])]
    if torch.is_grad_enabled() and any(isinstance(one, torch.Tensor) and one.requires_grad for one in flat):
        raise InvalidArgument("image, or mask, wants a gradient, which this call has not: give it detached")
    return getattr(cached_engine(call.device, call.model, call.text_model), method)(*args)
