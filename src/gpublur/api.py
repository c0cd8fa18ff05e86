"""`Editor`, and the module's functions, which are the methods of a default one.

Each signature stands once. What a type checker knows beside it, how the type of a result follows from that of an image
and from ``details``, is in `gpublur.typed`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import edits, image_io, pipeline
from .arrays import Picture
from .backends import Backend
from .checks import color as checked_color
from .engine import Engine, cached_engine
from .image_io import Photo
from .typed import (
    ApplyEdit,
    BlurBackground,
    BokehBlur,
    EditPhoto,
    GaussianBlur,
    RemoveBackground,
    SegmentCall,
    called_as,
)
from .types import (
    DEFAULT_RADIUS,
    DEFAULT_THRESHOLD,
    MODES,
    Edit,
    Mode,
    OnNoSubject,
    Quality,
    Refine,
    SubjectQuery,
)  # fmt: skip


class Editor:
    """A device and a segmentation model, loaded once and used again for every picture.

    Parameters
    ----------
    device : str, torch.device or cupy.cuda.Device
        Where to work: ``"auto"`` takes the best that can run and logs what it took and why; ``"cpu"``; ``"cuda"``, the
        current GPU, or wherever a picture lies; ``"cuda:1"``.
    model : str, path or callable
        The segmentation model, see `gpublur.segmentation.load`. It is not loaded while every call brings a mask.
    text_model : str or path, optional
        CLIPSeg for words that the model does not know, see there; by default what ``GPUBLUR_TEXT_MODEL`` says.

    Raises
    ------
    InvalidArgument
        ``device`` names none.
    DeviceUnavailable
        If the device cannot run here; the message gives the reason.

    Examples
    --------
    >>> import numpy as np
    >>> editor = Editor(device="cpu")
    >>> editor.gaussian_blur(np.zeros((40, 60, 3), np.uint8)).shape
    (40, 60, 3)
    """

    def __init__(self, device: Any = "auto", model: Any = "general", text_model: Any = None) -> None:
        self._engine = Engine(device, model, text_model)

    @property
    def device(self) -> str:
        """Where it works: ``"cpu"``, ``"cuda"``, ``"cuda:1"``."""
        return self._engine.device.name

    @property
    def backend(self) -> Backend:
        """The operations of its device."""
        return self._engine.device.backend

    @property
    def model(self) -> Any:
        """The segmentation model that it was given."""
        return self._engine.model

    def __repr__(self) -> str:
        text_model = self._engine.text_model
        words = "" if text_model is None else f", text_model={text_model!r}"
        return f"Editor(device={self.device!r}, model={self.model!r}{words})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle what was asked for: a worker process chooses its own device and loads the model itself."""
        return Editor, (self._engine.asked, self.model, self._engine.text_model)

    def __enter__(self) -> Editor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the model go, whose memory is free once no other editor uses it; a later call loads it again."""
        self._engine.close()

    @called_as(BlurBackground)
    def blur_background(
        self, image: Any, mode: Mode = "bokeh", radius: float | str = DEFAULT_RADIUS, *,
        highlights: float | None = None, highlight_threshold: tuple[float, float] = DEFAULT_THRESHOLD,
        quality: Quality = "high", linear_light: bool = True, dither: bool = True,
        prompt: str | None = None, negative_prompt: str | None = None, on_no_subject: OnNoSubject = "blur_all",
        mask: Any = None, refine: Refine = "auto", layout: str | None = None,
        details: bool = False, device: Any = None, model: Any = None,
    ) -> Any:  # fmt: skip
        """Blur what is not the subject, without a halo around it.

        Parameters
        ----------
        image : array, tensor, PIL image, path, bytes of a file, or a list or tuple of these
            Grey, RGB or RGBA; uint8, uint16, or floats display-referred in [0, 1]. NumPy is HWC or NHWC, torch CHW or
            NCHW. An alpha channel is kept, and what it hides lends no colour (the model sees it). A PIL image is turned
            upright as its EXIF orientation says.
        mode : {"bokeh", "gaussian"}
            A disk with glowing highlights, or a Gaussian.
        radius : float or str
            Radius of the disk, or sigma, as a fraction of the image diagonal, in (0, 0.05], or in pixels, such as
            ``"12px"``, up to as much; by default 0.01.
        highlights : float, optional
            In [0, 1]: how far bright points outshine their surroundings (docs/maths.md (3)). By default 0.3 for bokeh
            in linear light, else 0.
        highlight_threshold : (float, float)
            Brightness where that begins and where it is complete; by default 0.6 and 0.95.
        quality : {"high", "fast", "exact"}
            ``high`` is within 2/255 of ``exact`` (0.1/255 for the Gaussian), ``exact`` works at full resolution.
        linear_light : bool
            Blur and blend in linear light; False: in the values as they are.
        dither : bool
            Spread the rounding of blurred 8-bit pixels, so that a smooth sky shows no bands (docs/maths.md (8)).
        prompt, negative_prompt : str, optional
            What the subject is, and what it is not, in a word or short text: ``"bottle"``, ``"the woman and her dog"``.
            A model that tells kinds of things apart, as the twenty of Pascal VOC, knows their everyday names; other
            words need a ``text_model``, see `Editor`. The words hold for every picture of a batch.
        on_no_subject : {"blur_all", "keep", "error"}
            What becomes of a picture whose mask, or matte, reaches 1/2 nowhere: all of it is background, it stays as it
            is, or `NoSubject` is raised (which waits for a GPU).
        mask : array (h, w) or (n, h, w), PIL image, path, bytes of a file, or list, optional
            A ready matte: bool, uint8, uint16 or float in [0, 1], of any resolution; integers of 0 and 1 are booleans
            (on a GPU uint8 and uint16 alone), and a picture with alpha is read by that. One serves all of a batch; of a
            file with frames each serves a frame. Then no model is loaded.
        refine : {"auto", True, False}
            Fit the mask to the photo's edges. By default done for a model's mask, not for a given one.
        layout : {"HW", "HWC", "CHW", "NHWC", "NCHW"}, optional
            Axis order, where it is not the kind's own.
        details : bool
            Tell what was found, too: a `gpublur.MaskInfo` with the subject's ``share`` of the picture and the mask's
            ``uncertainty``.
        device, model
            See `Editor`.

        Returns
        -------
        same kind, shape, dtype and layout as ``image``
            Of a path a NumPy array; of a file's bytes the bytes of a file in the same format, with as many frames, or
            in PNG where that has no room for transparency. With ``details`` a pair of it and a `MaskInfo`, or a list of
            these for a batch or list.

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
        engine = self._engine_for(image, device, model)
        spec = engine.blur_spec(mode, radius, highlights, highlight_threshold, quality, linear_light, dither)
        query = SubjectQuery(prompt, negative_prompt, on_no_subject, refine, details)
        return engine.run(image, layout, mask, query, pipeline.blur, spec)

    @called_as(RemoveBackground)
    def remove_background(
        self, image: Any, color: Any = None, *, prompt: str | None = None, negative_prompt: str | None = None,
        on_no_subject: OnNoSubject = "blur_all", mask: Any = None, refine: Refine = "auto",
        layout: str | None = None, details: bool = False, device: Any = None, model: Any = None,
    ) -> Any:  # fmt: skip
        """Cut the subject out, with its own colour at soft edges.

        Parameters
        ----------
        color : str or (r, g, b), optional
            Paint behind the subject: a CSS name, ``"#RRGGBB"``, or integers in 0..255. None: transparent.
        image, prompt, negative_prompt, on_no_subject, mask, refine, layout, details, device, model
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
        paint = None if color is None else checked_color("color", color)
        query = SubjectQuery(prompt, negative_prompt, on_no_subject, refine, details)
        return self._engine_for(image, device, model).run(image, layout, mask, query, pipeline.remove, paint)

    @called_as(SegmentCall)
    def segment(
        self, image: Any, *, prompt: str | None = None, negative_prompt: str | None = None,
        on_no_subject: OnNoSubject = "blur_all", refine: Refine = "auto", layout: str | None = None,
        details: bool = False, device: Any = None, model: Any = None,
    ) -> Any:  # fmt: skip
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
        query = SubjectQuery(prompt, negative_prompt, on_no_subject, refine, details)
        return self._engine_for(image, device, model).run(image, layout, None, query, pipeline.segment)

    @called_as(GaussianBlur)
    def gaussian_blur(
        self, image: Any, radius: float | str = DEFAULT_RADIUS, *, quality: Quality = "high",
        linear_light: bool = False, dither: bool = True, layout: str | None = None, device: Any = None,
    ) -> Any:  # fmt: skip
        """Blur the whole picture with a Gaussian of sigma ``radius`` times the diagonal, by default in display values.

        Outside the frame nothing is assumed: near its edges the weights that remain are scaled up. See
        `blur_background`.

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
        engine = self._engine_for(image, device, None)
        spec = engine.blur_spec("gaussian", radius, 0.0, DEFAULT_THRESHOLD, quality, linear_light, dither)
        return engine.filter(image, layout, spec)

    @called_as(BokehBlur)
    def bokeh_blur(
        self, image: Any, radius: float | str = DEFAULT_RADIUS, *, highlights: float | None = None,
        highlight_threshold: tuple[float, float] = DEFAULT_THRESHOLD, quality: Quality = "high",
        linear_light: bool = True, dither: bool = True, layout: str | None = None, device: Any = None,
    ) -> Any:  # fmt: skip
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
        engine = self._engine_for(image, device, None)
        spec = engine.blur_spec("bokeh", radius, highlights, highlight_threshold, quality, linear_light, dither)
        return engine.filter(image, layout, spec)

    @called_as(ApplyEdit)
    def apply(
        self, image: Any, edit: Edit, *, mask: Any = None, layout: str | None = None, details: bool = False,
        device: Any = None, model: Any = None,
    ) -> Any:  # fmt: skip
        """Do everything that an `Edit` asks: remove or blur the background, clip, paint behind, resize.

        Its ``format``, ``quality``, ``srgb`` and ``metadata`` are of files and mean nothing here. Clipping, painting
        and resizing are done in this machine's memory, where the pictures must be.

        Parameters
        ----------
        edit : Edit
            What is asked. Where its category is a registered model, that one is taken instead of ``model``.
        image, mask, layout, details, device, model
            See `blur_background`. A picture for which no model was asked has None as its `MaskInfo`.

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
        engine = self._engine_for(image, device, model)
        own = edits.model_for(edit, engine.model)
        if own != engine.model:
            engine = self._engine_for(image, device, own)
        return engine.apply(image, edits.check(edit, engine.model, engine.text_model), mask, layout, details)

    @called_as(EditPhoto)
    def edit_photo(
        self, photo: Photo, edit: Edit, *, mask: Any = None, max_pixels: int = image_io.MAX_PIXELS,
        details: bool = False,
    ) -> Any:  # fmt: skip
        """Do everything that an `Edit` asks of a decoded file, whose metadata the result has.

        Parameters
        ----------
        photo : Photo
            As `gpublur.open` or `edits.prepare` returns it. Its format is that of the result: one without transparency
            shows white where the result would have it.
        edit : Edit
            As `edits.check` returns it.
        mask : optional
            A ready matte instead of the model, see `blur_background`.
        max_pixels : int
            Larger results are refused before they are made.
        details : bool
            Return the `MaskInfo`, too, or None where no model was asked.

        Raises
        ------
        NoSubject, PictureTooLarge
            See `apply`; the result would have more than ``max_pixels``.

        Examples
        --------
        >>> import numpy as np
        >>> import gpublur
        >>> photo = gpublur.image_io.Photo(np.full((40, 60, 3), 200, np.uint8))
        >>> edit = gpublur.Edit(resize=gpublur.Resize(30)).checked()
        >>> Editor(device="cpu").edit_photo(photo, edit).pixels.shape
        (40, 30, 3)
        """
        done, info = self._engine.edit_photo(photo, edit, mask, max_pixels, details)
        return (done, info) if details else done

    def warmup(self) -> None:
        """Load the models, that for words too, and every loop and kernel, so that the first photo costs no more.

        On the CPU this compiles for all types of pictures and masks, and keeps what it compiled for later processes.
        """
        noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        self._engine.warmup(Picture(noise, planar=False))
        for mask in (np.eye(64, 96, dtype=bool), np.eye(8, 12, dtype=np.float32), None):
            for mode in MODES:
                self.blur_background(noise, mode, mask=mask)
            self.remove_background(noise, mask=mask)

    def _engine_for(self, image: Any, device: Any, model: Any) -> Engine:
        """Return what does a call: this editor's own engine, or a cached one where another device or model is named."""
        own = self._engine
        asked = own.asked if device is None else device, model or own.model, own.text_model
        if traced(image):
            return operators(*asked)
        if device is None and (model is None or model is own.model):
            return own
        return cached_engine(*asked)


def traced(image: Any) -> bool:
    """Return whether torch is to see a call as operators: it compiles, or wants a gradient."""
    # Not by sys.modules, as elsewhere: where it compiles, torch would guard all that is in there.
    first = image[0] if isinstance(image, (list, tuple)) and image else image
    if not hasattr(first, "__torch_function__"):
        return False
    import torch

    return bool(torch.compiler.is_compiling() or (first.requires_grad and torch.is_grad_enabled()))


def operators(*asked: Any) -> Any:
    """Return what does a call in place of an engine; torch is there."""
    from .operators import InGraph

    return InGraph(*asked)


class _Default(Editor):
    """The editor of the module's functions: cached engines do its calls, and a device is chosen at its first use."""

    def __init__(self) -> None:
        pass

    def __repr__(self) -> str:
        return "gpublur's default Editor"

    def __reduce__(self) -> str:
        return "_default"

    def _engine_for(self, image: Any, device: Any, model: Any) -> Engine:
        asked = "auto" if device is None else device, "general" if model is None else model, None
        return operators(*asked) if traced(image) else cached_engine(*asked)


_default = _Default()
blur_background = _default.blur_background
remove_background = _default.remove_background
segment = _default.segment
gaussian_blur = _default.gaussian_blur
bokeh_blur = _default.bokeh_blur
apply = _default.apply
