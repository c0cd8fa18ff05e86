"""The kernels under AddressSanitizer and UBSan, with pictures of every type and layout."""

from pathlib import Path

import emulated
import emulator
import numpy as np
import pytest
from test_imports import python

from gpublur.arrays import read
from gpublur.backends.cuda import ops as cuda

pytestmark = pytest.mark.skipif(bool(emulator.unusable()), reason=emulator.unusable())

TESTS = Path(__file__).parent


def edits():
    """Pictures of all types and layouts, of sizes that end within a word, a warp and a block, through every kernel."""
    editor = emulated.editor(pytest.MonkeyPatch(), sanitize=True)
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(37, 131), (1, 1), (5, 300), (66, 64)]):
        colour, mask = rng.random((height, width, 4), np.float32), rng.random((height, width), np.float32).round()
        for dtype in ("uint8", "uint16", "float16", "float32"):
            picture = (colour * {"uint8": 255, "uint16": 65535}.get(dtype, 1)).astype(dtype)
            picture = np.ascontiguousarray((picture, picture[..., :3], picture[..., 0], picture.transpose(2, 0, 1))[i])
            options = {"layout": "CHW" if i == 3 else None}
            for mode in ("gaussian", "bokeh"):
                editor.blur_background(picture, mode, 0.05, mask=mask, **options)
                editor.blur_background(picture, mode, 0.05, quality="fast", mask=mask[::3, ::3], refine=True, **options)
            editor.remove_background(picture, mask=mask[::2, ::2], **options)
            editor.remove_background(picture, "red", mask=mask, **options)
            [one] = read(picture, options["layout"], gpu=True).pictures
            cuda.shrink(cuda.to_device(one), 32)
    batch = np.stack([picture, picture])
    editor.blur_background(batch, mask=np.stack([mask, mask]), layout="NCHW")


def test_no_access_out_of_bounds_and_no_undefined_behaviour():
    """An error ends the process."""
    python(f"import sys; sys.path.insert(0, {str(TESTS)!r}); import test_sanitized; test_sanitized.edits()",
           **emulator.sanitizer_environment())  # fmt: skip
