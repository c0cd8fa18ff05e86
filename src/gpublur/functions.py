"""The public functions: one call, one `Editor` kept warm for each device and model."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from . import edit, execute, segmentation
from .edit import Edit, Mode, OnNoSubject, Quality, Refine
from .editor import Editor

kept = lru_cache(maxsize=8)(Editor)


def warm(device: str, model: Any) -> Editor:
    try:
        return kept(device, model, os.environ.get(segmentation.TEXT_MODEL))
    except TypeError:  # not hashable: a model that cannot be kept, or nothing that Editor takes
        return Editor(device, model)


def blur_background(
    image: Any,
    mode: Mode = "bokeh",
    radius: float | str = edit.DEFAULT_RADIUS,
    *,
    highlights: float | None = None,
    highlight_threshold: tuple[float, float] = edit.DEFAULT_THRESHOLD,
    quality: Quality = "high",
    linear_light: bool = True,
    object_to_keep: str | None = None,
    negative_prompt: str | None = None,
    on_no_subject: OnNoSubject = "blur_all",
    mask: Any = None,
    refine: Refine = "auto",
    layout: str | None = None,
    details: bool = False,
    device: str = "auto",
    model: Any = "general",
) -> Any:
    """Blur what is not the subject, without a halo around it.

    Parameters
    ----------
    image : array, tensor, PIL image, path, bytes of a file, or a list or tuple of these
        Grey, RGB or RGBA; uint8, uint16, or floats display-referred in [0, 1]. NumPy is HWC or NHWC, torch CHW or NCHW.
        An alpha channel is kept, and what it hides lends no colour (the model sees it). A PIL image is turned upright
        as its EXIF orientation says.
    mode : {"bokeh", "gaussian"}
        A disk with glowing highlights, or a Gaussian.
    radius : float or str
        Radius of the disk, or sigma, as a fraction of the image diagonal, in (0, 0.05], or in pixels, such as
        ``"12px"``, up to as much; by default 0.01.
    highlights : float, optional
        In [0, 1]: how far bright points outshine their surroundings (docs/maths.md (3)). By default 0.3 for bokeh in
        linear light, else 0.
    highlight_threshold : (float, float)
        Linear luminance where that begins and where it is complete; by default 0.6 and 0.95.
    quality : {"high", "fast", "exact"}
        ``high`` is within 2/255 of ``exact`` (0.1/255 for the Gaussian), ``exact`` works at full resolution.
    linear_light : bool
        Blur and blend in linear light; False: in the values as they are.
    object_to_keep, negative_prompt : str, optional
        What the subject is, and what it is not, in a word or short text: ``"bottle"``, ``"the woman and her dog"``. A
        model that tells kinds of things apart, as the twenty of Pascal VOC, knows their everyday names; other words
        need a ``text_model``, see `Editor`. The words hold for every picture of a batch.
    on_no_subject : {"blur_all", "keep", "error"}
        What becomes of a picture whose mask, or matte, reaches 1/2 nowhere: all of it is background, it stays as it
        is, or `NoSubject` is raised (which waits for a GPU).
    mask : array (h, w) or (n, h, w), PIL image, or list, optional
        A ready matte: bool, uint8, uint16 or float in [0, 1], of any resolution. Then no model is loaded.
    refine : {"auto", True, False}
        Fit the mask to the photo's edges. By default done for a model's mask, not for a given one.
    layout : {"HW", "HWC", "CHW", "NHWC", "NCHW"}, optional
        Axis order, where it is not the kind's own.
    details : bool
        Tell what was found, too: a `gpublur.finding.Finding` with the subject's ``share`` of the picture and the mask's
        ``uncertainty``.
    device, model
        See `Editor`.

    Returns
    -------
    same kind, shape, dtype and layout as ``image``
        Of a path a NumPy array; of a file's bytes the bytes of a file in the same format, or in PNG where that has no
        room for transparency. With ``details`` a pair of it and a `Finding`, or a list of these for a batch or list.

    Raises
    ------
    InvalidArgument, DeviceUnavailable, ModelUnavailable
        All are `GpuBlurError`.
    PromptUnsupported
        A `ModelUnavailable`: nothing here understands the words.
    NoSubject
        Only with ``on_no_subject="error"``.

    Examples
    --------
    >>> import gpublur
    >>> import numpy as np
    >>> image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    >>> subject = np.zeros((40, 60), bool)
    >>> subject[10:30, 20:40] = True
    >>> blurred = gpublur.blur_background(image, radius=0.05, mask=subject)
    >>> blurred.shape, blurred.dtype
    ((40, 60, 3), dtype('uint8'))
    >>> bool((blurred == image)[subject].all())
    True
    >>> bool(blurred[~subject].std() < image[~subject].std() / 2)
    True
    """
    return warm(device, model).blur_background(
        image, mode, radius, highlights=highlights, highlight_threshold=highlight_threshold, quality=quality,
        linear_light=linear_light, object_to_keep=object_to_keep, negative_prompt=negative_prompt,
        on_no_subject=on_no_subject, mask=mask, refine=refine, layout=layout, details=details,
    )  # fmt: skip


def remove_background(
    image: Any,
    color: Any = None,
    *,
    object_to_keep: str | None = None,
    negative_prompt: str | None = None,
    on_no_subject: OnNoSubject = "blur_all",
    mask: Any = None,
    refine: Refine = "auto",
    layout: str | None = None,
    details: bool = False,
    device: str = "auto",
    model: Any = "general",
) -> Any:
    """Cut the subject out, with its own colour at soft edges.

    Parameters
    ----------
    color : str or (r, g, b), optional
        Paint behind the subject: a CSS name, ``"#RRGGBB"``, or integers in 0..255. None: transparent.
    image, object_to_keep, negative_prompt, on_no_subject, mask, refine, layout, details, device, model
        See `blur_background`.

    Returns
    -------
    RGBA with straight alpha, or RGB where ``color`` is given; kind, dtype and layout of ``image``
        With ``details`` a pair, as there.

    Examples
    --------
    >>> import gpublur
    >>> import numpy as np
    >>> image = np.full((40, 60, 3), 200, np.uint8)
    >>> subject = np.zeros((40, 60), bool)
    >>> subject[10:30, 20:40] = True
    >>> cut = gpublur.remove_background(image, mask=subject)
    >>> cut.shape, cut[20, 30].tolist(), int(cut[0, 0, 3])
    ((40, 60, 4), [200, 200, 200, 255], 0)
    >>> gpublur.remove_background(image, "#C5C6FF", mask=subject)[0, 0].tolist()
    [197, 198, 255]
    """
    return warm(device, model).remove_background(
        image, color, object_to_keep=object_to_keep, negative_prompt=negative_prompt, on_no_subject=on_no_subject,
        mask=mask, refine=refine, layout=layout, details=details,
    )  # fmt: skip


def segment(
    image: Any,
    *,
    object_to_keep: str | None = None,
    negative_prompt: str | None = None,
    on_no_subject: OnNoSubject = "blur_all",
    refine: Refine = "auto",
    layout: str | None = None,
    details: bool = False,
    device: str = "auto",
    model: Any = "general",
) -> Any:
    """Return the subject's soft matte at the image's own size: float32 (H, W) or (N, H, W) in [0, 1]; PIL: mode L.

    See `blur_background` for the arguments.

    Examples
    --------
    >>> import gpublur
    >>> import numpy as np
    >>> matte, found = gpublur.segment(np.full((40, 60, 3), 200, np.uint8), details=True)  # nothing to be found
    >>> matte.shape, matte.dtype, bool(matte.max() < 0.5)
    ((40, 60), dtype('float32'), True)
    >>> found.share < 0.01
    True
    """
    return warm(device, model).segment(
        image, object_to_keep=object_to_keep, negative_prompt=negative_prompt, on_no_subject=on_no_subject,
        refine=refine, layout=layout, details=details,
    )  # fmt: skip


def gaussian_blur(
    image: Any,
    radius: float | str = edit.DEFAULT_RADIUS,
    *,
    quality: Quality = "high",
    linear_light: bool = False,
    layout: str | None = None,
    device: str = "auto",
) -> Any:
    """Blur the whole picture with a Gaussian of sigma ``radius`` times the diagonal, by default in display values.

    Outside the frame nothing is assumed: near its edges the weights that remain are scaled up. See `blur_background`.

    Examples
    --------
    >>> import gpublur
    >>> import numpy as np
    >>> image = np.zeros((41, 61), np.float32)
    >>> image[20, 30] = 1
    >>> blurred = gpublur.gaussian_blur(image, radius=0.05)
    >>> sigma = 0.05 * np.hypot(41, 61)
    >>> round(float(blurred.max() * 2 * np.pi * sigma**2), 3)  # the height of a Gaussian
    1.0
    """
    return warm(device, "general").gaussian_blur(
        image, radius, quality=quality, linear_light=linear_light, layout=layout
    )


def bokeh_blur(
    image: Any,
    radius: float | str = edit.DEFAULT_RADIUS,
    *,
    highlights: float | None = None,
    highlight_threshold: tuple[float, float] = edit.DEFAULT_THRESHOLD,
    quality: Quality = "high",
    linear_light: bool = True,
    layout: str | None = None,
    device: str = "auto",
) -> Any:
    """Blur the whole picture with a disk of ``radius`` times the diagonal, in linear light. See `blur_background`.

    Examples
    --------
    >>> import gpublur
    >>> import numpy as np
    >>> image = np.zeros((41, 61), np.float32)
    >>> image[20, 30] = 1
    >>> blurred = gpublur.bokeh_blur(image, radius=0.05, linear_light=False)
    >>> radius = 0.05 * np.hypot(41, 61)
    >>> round(float(blurred.max() * np.pi * radius**2), 3)  # a flat disk
    1.0
    """
    return warm(device, "general").bokeh_blur(
        image, radius, highlights=highlights, highlight_threshold=highlight_threshold, quality=quality,
        linear_light=linear_light, layout=layout,
    )  # fmt: skip


def apply(
    image: Any,
    edit: Edit,
    *,
    mask: Any = None,
    layout: str | None = None,
    details: bool = False,
    device: str = "auto",
    model: Any = "general",
) -> Any:
    """Do everything that an `Edit` asks: remove or blur the background, clip, paint behind, resize.

    Its ``format``, ``quality``, ``srgb`` and ``metadata`` are of files and mean nothing here. Clipping, painting and
    resizing are done in this machine's memory, where the pictures must be.

    Parameters
    ----------
    edit : Edit
        What is asked. Where its category is a registered model, that one is taken instead of ``model``.
    image, mask, layout, details, device, model
        See `blur_background`. A picture for which no model was asked has None as its `Finding`.

    Raises
    ------
    NoSubject
        The background is to be removed, or the picture clipped, and there is no subject.

    Examples
    --------
    >>> import gpublur
    >>> import numpy as np
    >>> image = np.full((40, 60, 3), 200, np.uint8)
    >>> subject = np.zeros((40, 60), bool)
    >>> subject[10:30, 20:40] = True
    >>> gpublur.apply(image, gpublur.Edit(remove=True, color="white", clip=True), mask=subject).shape
    (20, 20, 3)
    >>> fit = gpublur.Resize(100, 50, fit="canvas")
    >>> gpublur.apply(image, gpublur.Edit(remove=True, clip=True, resize=fit), mask=subject).shape
    (50, 100, 4)
    """
    model = execute.model_for(edit, model)
    return execute.apply(warm(device, model), image, edit, mask=mask, layout=layout, details=details)
