"""A few small calls for compute-sanitizer, or with ``--load`` only the kernels' loading, timed."""

from __future__ import annotations

import sys
import time
from itertools import product

import numpy as np
from emulated import EmulatedMemory

from gpublur.backends.cuda import loader
from gpublur.memory import CupyMemory
from gpublur.types import MODES

from .. import scene
from .device import Cuda, Dry, use_fatbins

SIZES = ((61, 83), (130, 261))  # more and less than a block of any kernel, rows that begin anywhere in a word


def load(dry: bool, fatbins: bool) -> None:
    """Load all kernels; print the seconds and where they come from."""
    if fatbins:
        use_fatbins()
    if dry:
        Dry().editor  # noqa: B018  # puts the emulator in the place of the GPU
    gpu = loader.gpu()
    gpu.memory().empty((1,), "float32")  # the driver's own beginning is not ours
    start = time.perf_counter()
    gpu.warmup()
    print(f"{time.perf_counter() - start:.3f} {gpu.describe()}")


def calls(dry: bool) -> None:
    """Go every way through the kernels."""
    device = Dry() if dry else Cuda()
    if not dry:  # a pool, or one allocation for several buffers, would hide what is read or written beside one
        device.arrays.cuda.set_allocator(None)
        CupyMemory.scratch = EmulatedMemory.scratch  # type: ignore[method-assign]
    editor = device.editor
    for height, width in SIZES:
        photo = scene.scene(height, width)
        full, coarse = scene.ellipse(height, width), scene.ellipse(height // 3, width // 3)
        masks = ((full, False), (coarse, False), (coarse / np.float32(255), True))
        for (mask, refine), mode, radius in product(masks, MODES, (0.01, 0.05)):
            editor.blur_background(given(device, photo), mode, radius, mask=given(device, mask), refine=refine)
        for colour in (None, "#c08040"):
            editor.remove_background(given(device, photo), colour, mask=given(device, coarse), refine=True)
    if not dry:
        device.arrays.cuda.Device().synchronize()  # torch is not here at all


def given(device: Cuda, array: np.ndarray) -> object:
    """Return an array on the device."""
    return array if device.dry else device.arrays.asarray(array)


if __name__ == "__main__":
    dry = "--dry" in sys.argv
    if "--load" in sys.argv:
        load(dry, "--fatbins" in sys.argv)
    else:
        calls(dry)
