"""Ray Data: an Editor in each actor of a `map_batches`; rows of pictures in, the same rows out (extra ``ray``)."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray

import gpublur

from .. import backends, batch, devices, image_io
from ..errors import InvalidArgument, said
from ..image_io import Photo
from ..types import BlurSpec, MaskInfo

CALLS = ("blur_background", "remove_background", "segment", "gaussian_blur", "bokeh_blur")
FINDERS = CALLS[:3]  # which look for a subject
SEARCH = ("prompt", "negative_prompt", "on_no_subject", "refine")  # options of that alone
TOLD = ("mask", "share", "uncertainty", "found")  # columns that are asked for
COLUMNS = ("bytes", "image")  # as `ray.data.read_binary_files` and `read_images` name them
THREADS_PER_CPU = 2  # some wait for a GPU, or a disk

Column = np.ndarray[Any, Any]


class BatchEditor:
    """A call of an `Editor` on every row of a batch, for `ray.data.Dataset.map_batches`.

    An actor has one Editor, and works on as many pictures at a time as twice the CPUs that Ray lent it. Where Ray lent
    it a GPU, or a fraction of one (``num_gpus=0.25``), it works there, else on the CPU.

    Parameters
    ----------
    call : {"blur_background", "remove_background", "segment", "gaussian_blur", "bokeh_blur"}
        The Editor's method.
    column : str, optional
        Where the pictures are, and their results will be: encoded files (bytes), or pixels (H, W, C); by default
        ``"bytes"`` or ``"image"``, whichever a batch has.
    mask : bool
        Add a column ``mask``: the subject's matte, grey, 8 bits; a PNG for an encoded picture.
    info : bool
        Add columns ``share``, ``uncertainty`` and ``found``, see `gpublur.MaskInfo`.
    error : str
        The column that says why a row failed; empty where it did not. The row's result is then empty: no bytes, or of
        pixels a black picture, never the picture as it was.
    format, jpeg_quality, lossless, effort
        Of encoded results, see `gpublur.process`, whose bytes they are.
    device, model, text_model
        See `gpublur.Editor`; ``device="auto"`` is as said above.
    **options
        Of the call.

    Raises
    ------
    InvalidArgument
        At once: an unknown call, or a mask or info of one that looks for no subject.
    DeviceUnavailable, ModelUnavailable
        From an actor: these end the job, for no other row would be spared.

    Examples
    --------
    >>> pictures = ray.data.read_binary_files("s3://photos/in")  # doctest: +SKIP
    >>> pictures.map_batches(
    ...     BatchEditor, fn_constructor_kwargs={"call": "blur_background", "radius": 0.02, "info": True},
    ...     batch_size=32, num_gpus=0.5, compute=ray.data.ActorPoolStrategy(size=4),
    ... ).filter(expr="error == ''").write_parquet("s3://photos/out")  # doctest: +SKIP
    >>> editor = BatchEditor("gaussian_blur", radius=0.02)
    >>> rows = editor({"image": np.zeros((2, 40, 60, 3), np.uint8), "name": np.array(["a", "b"])})
    >>> rows["image"].shape, rows["name"].tolist(), rows["error"].tolist()
    ((2, 40, 60, 3), ['a', 'b'], ['', ''])
    """

    def __init__(
        self, call: str = "blur_background", *, column: str | None = None, mask: bool = False, info: bool = False,
        error: str = "error", format: str | None = None, jpeg_quality: int = image_io.JPEG_QUALITY,
        lossless: bool | None = None, effort: int | None = None, device: str = "auto", model: Any = "general",
        text_model: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        if call not in CALLS:
            raise InvalidArgument(f"call={call!r} is not one of {', '.join(map(repr, CALLS))}")
        if (mask or info) and call not in FINDERS:
            raise InvalidArgument(f"mask and info are of calls that look for a subject, not of {call!r}")
        self.call, self.column, self.error, self.options = call, column, error, options
        self.mask, self.info = mask, info
        self.format = None if format is None else image_io.written(format, alpha=False)
        self.encoding = {"jpeg_quality": jpeg_quality, "lossless": lossless, "effort": effort}
        self.threads = lent_cpus() * THREADS_PER_CPU
        self.editor = editor(device, model, text_model)
        self.coder = devices.coder(self.editor)
        self.check(error)

    def check(self, error: str) -> None:
        """Raise `InvalidArgument` for what would go wrong with every row."""
        try:
            inspect.signature(getattr(gpublur, self.call)).bind(None, **self.options)
        except TypeError as wrong:
            raise InvalidArgument(f"{self.call} is not called so: {wrong}") from None
        if error in (self.column, *COLUMNS, *TOLD):
            raise InvalidArgument(f"error={error!r} is the name of another column")
        mode = {"gaussian_blur": "gaussian", "bokeh_blur": "bokeh"}.get(self.call)
        given = {name: value for name, value in self.options.items() if name in BlurSpec.__dataclass_fields__}
        BlurSpec(**({"mode": mode} if mode else {}) | given).checked()

    def __call__(self, rows: dict[str, Column]) -> dict[str, Column]:
        """Return the rows with their pictures edited; columns that are not ours stay as they are."""
        name = self.column or next((name for name in COLUMNS if name in rows), "")
        if name not in rows:
            raise InvalidArgument(f"column={self.column!r}: the batch has {', '.join(map(repr, rows))}")
        done = list(batch.overlap(rows[name], self.edited, workers=self.threads))
        results = [outcome.value or failed(outcome.source) for outcome in done]
        told = {self.error: column([said(one.error) if one.error else "" for one in done])}
        if self.mask:
            told["mask"] = column([mask for _, mask, _ in results])
        if self.info:
            for field, nothing in (("share", np.nan), ("uncertainty", np.nan), ("found", False)):
                told[field] = np.array([getattr(info, field, nothing) for _, _, info in results])
        return {**rows, name: column([result for result, _, _ in results]), **told}

    def edited(self, picture: Any) -> tuple[Any, Any, MaskInfo | None]:
        """Return a picture's result, its mask and what was found, the latter two where there are any."""
        told: list[tuple[Any, MaskInfo | None]] = []  # of each frame

        def work(pixels: Any) -> Any:
            result, matte, info = self.done(pixels)
            told.append((matte, info))
            return result

        file = isinstance(picture, bytes)
        remade = devices.over(
            lambda data, own, codec: batch.remade(data, own, self.format, codec=codec, **self.encoding), work,
            {None: self.coder},
        )  # fmt: skip
        result = remade(picture) if file else work(np.asarray(picture))
        mask = None if told[0][0] is None else grey(told[0][0])
        if file and mask is not None:
            mask = image_io.encode(Photo(mask))
        return result, mask, batch.least([info for _, info in told])

    def done(self, pixels: Any) -> tuple[Any, Any, MaskInfo | None]:
        """Return what the call makes of pixels, their matte where one was made, and what was found."""
        call = getattr(self.editor, self.call)
        if self.call not in FINDERS:
            return call(pixels, **self.options), None, None
        if self.call == "segment":
            matte, info = call(pixels, **self.options, details=True)
            return grey(matte), matte, info
        if not self.mask:
            result, info = call(pixels, **self.options, details=True)
            return result, None, info
        search = {name: value for name, value in self.options.items() if name in SEARCH}
        matte, info = self.editor.segment(pixels, **search, details=True)
        rest = {name: value for name, value in self.options.items() if name not in SEARCH}
        return call(pixels, **rest, mask=matte), matte, info


def grey(matte: Any) -> Any:
    """Return a matte in [0, 1] as 8-bit pixels."""
    return (matte * 255 + 0.5).astype(np.uint8)


def failed(picture: Any) -> tuple[Any, Any, None]:
    """Return what stands in the place of a picture that failed, and of its mask."""
    if isinstance(picture, bytes):
        return None, None, None
    return np.zeros_like(picture), np.zeros(np.shape(picture)[:2], np.uint8), None


def column(values: Sequence[Any]) -> Column:
    """Return a column of pictures of one shape as one array, of others as an array of objects."""
    arrays = all(isinstance(value, np.ndarray) for value in values)
    if arrays and len({(value.shape, value.dtype) for value in values}) == 1:
        return np.stack(values)
    out = np.empty(len(values), object)
    out[:] = values
    return out


def lent_cpus() -> int:
    """Return how many CPUs Ray lent this actor, and let the loops take no more; outside of an actor all."""
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return batch.usable_cpus()
    cpus = max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    if "numba" not in sys.modules:
        os.environ["NUMBA_NUM_THREADS"] = str(min(cpus, batch.usable_cpus()))
    return cpus


def editor(device: str, model: Any, text_model: Any) -> Any:
    """Return an actor's Editor: on the GPU that Ray lent it, else on the CPU, unless a device is named."""
    from ..api import Editor

    if device == "auto" and ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None:
        device = "cuda" if ray.get_runtime_context().get_accelerator_ids().get("GPU") else "cpu"
    return Editor(device=backends.device_name(device), model=model, text_model=text_model)
