"""Modules of torch: each is a call of gpublur with its options, an operator where torch compiles or exports.

The functions themselves do that too: `gpublur.blur_background` in a compiled function is
``torch.ops.gpublur.blur_background`` in its graph. Gradients: `GaussianBlur` and `BokehBlur` have one by the picture,
`Composite` by all that it is given; `BlurBackground` has none, and says so when one is asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import gpublur

from .. import operators  # noqa: F401 - registers them
from ..types import DEFAULT_RADIUS, DEFAULT_THRESHOLD, BlurSpec, Mode, Quality

composite = torch.ops.gpublur.composite


class WithOptions(nn.Module):
    """A module whose printed form shows the options of its call."""

    options: dict[str, Any]

    def extra_repr(self) -> str:
        """Return the options, as they stand in a printed model."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


class BlurBackground(WithOptions):
    """`gpublur.blur_background` as a module.

    Parameters
    ----------
    mode, radius, **options
        As there, but for ``mask``, which `forward` takes, and ``details``.

    Examples
    --------
    >>> blur = BlurBackground(radius="3px", device="cpu")
    >>> blur(torch.rand(1, 3, 60, 80), torch.zeros(60, 80)).shape
    torch.Size([1, 3, 60, 80])
    """

    def __init__(self, mode: Mode = "bokeh", radius: float | str = DEFAULT_RADIUS, **options: Any) -> None:
        super().__init__()
        self.options = {"mode": mode, "radius": radius} | options
        asked = {name: value for name, value in self.options.items() if name in BlurSpec.__dataclass_fields__}
        BlurSpec(**asked).checked()

    def forward(self, image: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return pictures (C, H, W) or (N, C, H, W) with what the mask, or else the model, finds kept sharp."""
        return gpublur.blur_background(image, mask=mask, **self.options)


class GaussianBlur(WithOptions):
    """`gpublur.gaussian_blur` as a module, with a gradient.

    Examples
    --------
    >>> picture = torch.rand(3, 60, 80, requires_grad=True)
    >>> GaussianBlur("2px")(picture).mean().backward()
    >>> round(float(picture.grad.sum()), 3)
    1.0
    """

    def __init__(
        self, radius: float | str = DEFAULT_RADIUS, *, quality: Quality = "high", linear_light: bool = False,
        layout: str | None = None, device: Any = "auto",
    ) -> None:  # fmt: skip
        super().__init__()
        BlurSpec("gaussian", radius, quality=quality, linear_light=linear_light).checked()
        self.options = {
            "radius": radius, "quality": quality, "linear_light": linear_light, "layout": layout, "device": device,
        }  # fmt: skip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return pictures (C, H, W) or (N, C, H, W), blurred."""
        return gpublur.gaussian_blur(image, **self.options)


class BokehBlur(WithOptions):
    """`gpublur.bokeh_blur` as a module, with a gradient.

    Examples
    --------
    >>> BokehBlur("3px", highlights=0.5)(torch.rand(3, 60, 80)).shape
    torch.Size([3, 60, 80])
    """

    def __init__(
        self, radius: float | str = DEFAULT_RADIUS, *, highlights: float | None = None,
        highlight_threshold: tuple[float, float] = DEFAULT_THRESHOLD, quality: Quality = "high",
        linear_light: bool = True, layout: str | None = None, device: Any = "auto",
    ) -> None:  # fmt: skip
        super().__init__()
        BlurSpec("bokeh", radius, highlights, highlight_threshold, quality, linear_light).checked()
        self.options = {
            "radius": radius, "highlights": highlights, "highlight_threshold": highlight_threshold, "quality": quality,
            "linear_light": linear_light, "layout": layout, "device": device,
        }  # fmt: skip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return pictures (C, H, W) or (N, C, H, W), blurred."""
        return gpublur.bokeh_blur(image, **self.options)


class Composite(nn.Module):
    """A picture over another by a matte, mixed in linear light as gpublur mixes; with gradients by all three.

    Examples
    --------
    >>> white, black, half = torch.ones(3, 4, 5), torch.zeros(3, 4, 5), torch.full((4, 5), 0.5)
    >>> round(float(Composite()(white, black, half)[0, 0, 0]), 2)
    0.74
    """

    def __init__(self, *, linear_light: bool = True) -> None:
        super().__init__()
        self.linear_light = linear_light

    def forward(self, foreground: torch.Tensor, background: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        """Return ``alpha`` (..., H, W) of the foreground (..., C, H, W) and the rest of the background."""
        return composite(foreground, background, alpha, linear_light=self.linear_light)
