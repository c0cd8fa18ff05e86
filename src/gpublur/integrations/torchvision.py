"""Transforms of torchvision (v2): samples of pictures, with their masks beside them, as data sets give them.

Pictures are `tv_tensors.Image`, `Video`, PIL images, or plain tensors, as for torchvision's own transforms; what else
is in a sample is left as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

import gpublur

from ..checks import blur_radius
from ..errors import InvalidArgument
from ..types import DEFAULT_RADIUS, Mode


class OfPictures(v2.Transform):
    """What is done to the pictures of a sample, by the `tv_tensors.Mask` that is with them where there is one.

    Parameters
    ----------
    masks : bool
        Take a sample's `Mask` for the subject: what is not 0 in whole numbers, of all its planes; floats are a matte.
        False: the model finds the subject. So it does in a sample without one.
    options
        Of the call, see `gpublur.Editor`.
    """

    def __init__(self, *, masks: bool, **options: Any) -> None:
        super().__init__()
        self.masks, self.options = masks, options

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return the sample's mask, for every picture in it."""
        found = [each for each in flat_inputs if isinstance(each, tv_tensors.Mask)] if self.masks else []
        if len(found) > 1:
            raise InvalidArgument(f"the sample has {len(found)} masks: give one, whose planes are its objects'")
        return {"mask": found[0].as_subclass(torch.Tensor) if found else None}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return a picture as the call makes it, anything else as it is."""
        if isinstance(inpt, (tv_tensors.Mask, tv_tensors.BoundingBoxes)):
            return inpt
        if not isinstance(inpt, torch.Tensor):
            return self.done(inpt, **(params | {"mask": subject(params["mask"], 3)}))
        plain = inpt.as_subclass(torch.Tensor)
        result = self.done(plain, **(params | {"mask": subject(params["mask"], plain.ndim)}))
        return tv_tensors.wrap(result, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else result

    def done(self, picture: Any, **params: Any) -> Any:
        """Return a picture, or a batch, as the call makes it."""
        raise NotImplementedError


class BlurBackground(OfPictures):
    """`gpublur.blur_background` for the pictures of a sample.

    Parameters
    ----------
    mode : {"bokeh", "gaussian"}
    radius : float, str, or (low, high)
        As there; of a pair, fractions of the diagonal, each sample has its own between them.
    masks, **options
        See `OfPictures`.

    Examples
    --------
    >>> picture = tv_tensors.Image(torch.rand(3, 60, 80))
    >>> sample = {"image": picture, "mask": tv_tensors.Mask(torch.ones(1, 60, 80, dtype=torch.uint8)), "label": 3}
    >>> blurred = BlurBackground(radius=(0.005, 0.03))(sample)
    >>> type(blurred["image"]).__name__, bool((blurred["image"] == picture).all()), blurred["label"]
    ('Image', True, 3)
    """

    def __init__(
        self, mode: Mode = "bokeh", radius: float | str | tuple[float, float] = DEFAULT_RADIUS, *, masks: bool = True,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(masks=masks, **options)
        self.mode, self.radius = mode, radius
        fractions = (float, int) if isinstance(radius, tuple) else (float, int, str)
        each = radius if isinstance(radius, tuple) else (radius, radius)
        if len(each) != 2 or not all(isinstance(value, fractions) for value in each):
            raise InvalidArgument(f"radius={radius!r} is not a radius, or a pair of fractions of the diagonal")
        for value in each:
            blur_radius("radius", value)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return the sample's mask and radius."""
        radius = self.radius
        if isinstance(radius, tuple):
            radius = float(torch.empty(()).uniform_(*radius))
        return super().make_params(flat_inputs) | {"radius": radius}

    def done(self, picture: Any, **params: Any) -> Any:
        """Return a picture, or a batch, with its background blurred."""
        return gpublur.blur_background(picture, self.mode, **params, **self.options)


class RemoveBackground(OfPictures):
    """`gpublur.remove_background` for the pictures of a sample.

    Examples
    --------
    >>> picture, mask = torch.rand(2, 3, 60, 80), tv_tensors.Mask(torch.zeros(2, 60, 80))
    >>> RemoveBackground("white")(tv_tensors.Image(picture), mask)[0].mean()
    tensor(1.)
    """

    def __init__(self, color: Any = None, *, masks: bool = True, **options: Any) -> None:
        super().__init__(masks=masks, **options)
        self.color = color

    def done(self, picture: Any, **params: Any) -> Any:
        """Return a picture, or a batch, cut out or over the colour."""
        return gpublur.remove_background(picture, self.color, **params, **self.options)


def subject(mask: torch.Tensor | None, axes: int) -> torch.Tensor | None:
    """Return the mask (..., H, W) of a sample as a matte for a picture of 2 or 3 axes, or for each of a batch of 4."""
    if mask is None:
        return None
    planes = mask.float() if mask.is_floating_point() else (mask != 0).float()
    kept = planes.shape[:-2][: 1 if axes == 4 else 0]  # what counts the pictures; the rest, the objects in each
    objects = planes.reshape(*kept, -1, *planes.shape[-2:])
    return objects.amax(-3) if objects.shape[-3] else objects.new_zeros((*kept, *planes.shape[-2:]))
