"""Faults put into the kernels on purpose: each must be caught by running a few pictures on emulated kernels."""

import multiprocessing
import os
import re
import shutil

import emulated
import emulator
import numpy as np
import pytest
from conftest import matte, scene
from PIL import Image

from gpublur.api import Editor
from gpublur.arrays import Picture
from gpublur.backends.cuda import loader
from gpublur.backends.cuda import ops as cuda

pytestmark = pytest.mark.skipif(bool(emulator.unusable()), reason=emulator.unusable())

CAUGHT = 77  # exit status
PHOTO, MASK = (scene(70, 160) * 255).astype(np.uint8), matte(70, 160)  # rows are whole words of 16 bytes
HELD = np.where(np.arange(160) < 130, np.float32(1), MASK)  # rows of a strip that are all subject
JOBS = {
    "gaussian": {"mode": "gaussian", "radius": 0.05, "mask": MASK},
    "bokeh": {"mode": "bokeh", "radius": 0.03, "highlights": 0.5, "mask": MASK},
    "box": {"mode": "bokeh", "radius": 0.05, "quality": "fast", "mask": MASK[1::4, 1::4]},  # R 8.3: factor 1
    "held": {"mode": "gaussian", "radius": 0.05, "mask": HELD},
    "refined": {"mode": "gaussian", "radius": 0.03, "mask": MASK[1::4, 1::4], "refine": True},
}
NARROWED = ("gaussian", "held")
WIDE = np.tile(PHOTO[:24], (1, 3, 1))
SIDE = 32
SHRUNK = (PHOTO, np.tile(PHOTO[:9], (1, 150, 1)))  # the cells of the second have more pixels than a chunk
# What is wrong, where, and with what: text of the kernel and its replacement.
# ruff: noqa: E501
FAULTS = {
    "missing barrier between prefix sums and spans": (
        "spans.cu", "    __syncthreads();\n    // The rows that count", "    // The rows that count",
    ),
    "missing barrier before the prefix sums are overwritten": (
        "spans.cu", "      }\n    }\n    __syncthreads();\n  }\n  if (x >= columns)", "      }\n    }\n  }\n  if (x >= columns)",
    ),
    "missing barrier between tile and sums": (
        "matte.cu", "    trust[k] = w;\n  }\n  __syncthreads();", "    trust[k] = w;\n  }",
    ),
    "a warp reads sums that another lane has not stored": (
        "decimate.cu", "columns[i]);\n    __syncwarp();", "columns[i]);",
    ),
    "a warp reads samples that another lane has not interpolated": (
        "cover.cuh", "row.t);\n  __syncwarp();", "row.t);",
    ),
    "a warp stores pixels that another lane has not written": (
        "composite.cu", "  __syncwarp();\n  store_segment", "  store_segment",
    ),
    "a warp stores words that another lane has not written": (
        "pixel.cuh", "    __syncwarp();\n#pragma unroll\n    for (int c = 0; c < PLANES; ++c) {\n#pragma unroll\n      for (int i = 0; i < WIDE", "#pragma unroll\n    for (int c = 0; c < PLANES; ++c) {\n#pragma unroll\n      for (int i = 0; i < WIDE",
    ),
    "barrier that some threads have left": ("spans.cu", "  Cell<PLANES> sum[ROWS] = {};", "  if (x >= columns) return;\n  Cell<PLANES> sum[ROWS] = {};"),
    "halo of the spans one cell short": ("spans.cu", "const int n = TILE + 2 * steps.reach;", "const int n = TILE + 2 * steps.reach - 1;"),
    "taps one row off": ("separable.cu", "w[0] = __ldg(tap + ROWS - 1)", "w[0] = __ldg(tap + ROWS)"),
    "halo of the fit": ("matte.cu", "% TILE_ACROSS - WINDOW;", "% TILE_ACROSS - WINDOW + 1;"),
    "held where the mask is not sure": ("matte.cu", "(around - tuning.certain)", "(around - tuning.certain + 0.4f)"),
    "windows weighted alike": ("matte.cu", "const float weight = 1.f /", "const float weight = 1.f + 0.f *"),
    "off by one in the span": ("spans.cu", "*right = centre + half + 1,", "*right = centre + half,"),
    "off by one in the first pixel of a run": ("decimate.cu", "column * grid.across.factor + grid.across.first;", "column * grid.across.factor + grid.across.first + 1;"),
    "last row of the frame left out": ("decimate.cu", "if (y >= grid.rows + grid.border ||", "if (y >= grid.rows + grid.border - 2 ||"),
    "last partial cell": ("decimate.cu", "x + i < right;", "x + i < right - 1;"),
    "weights of the parts in reverse": ("composite.cu", "up[frame.down.part(row.y, first) *", "up[(frame.down.factor - 1 - frame.down.part(row.y, first)) *"),
    "weights turned the wrong way": ("upsampling.cuh", "make_float4(w.w, w.x, w.y, w.z)", "make_float4(w.y, w.z, w.w, w.x)"),
    "cells in the wrong place of the ring": ("upsampling.cuh", "take(ring[2], from", "take(ring[3], from"),
    "colours of the background for the subject's": ("fields.cuh", "fore = lines.at(0)", "fore = lines.at(1)"),
    "a row of bytes copied short": ("pixel.cuh", "for (int k = lane; k < n; k += WARP)\n      to[k]", "for (int k = lane; k < n - 1; k += WARP)\n      to[k]"),
    "a row of words copied short": ("pixel.cuh", "k < bytes / 16; k += WARP", "k < bytes / 16 - 1; k += WARP"),
    "a mask all over the strip is not looked at": ("cover.cuh", "cover.bytes ? ALL : 0x3f800000u", "0u"),
    "red for blue": ("decimate.cu", "i * PIXEL + c : i", "i * PIXEL + 2 - c : i"),
    "weight forgotten in one sum": ("decimate.cu", "here.v[c] = light[i][c] * w[i];", "here.v[c] = light[i][c] * (c == 1 ? 1.f : w[i]);"),
    "subject enters the blur": ("decimate.cu", "fmaf(-curve.steep,", "fmaf(-0.5f * curve.steep,"),
    "highlights not boosted": ("decimate.cu", "(found & 0x80808080u) != 0 ||", "false &&"),
    "weight of even rows left out": ("decimate.cu", "sums.even.x += part.x;", ""),
    "foreground colour": ("fields.cuh", "alpha * alpha - alpha", "alpha - alpha * alpha"),
    "foreground brighter than its light": ("fields.cuh", "* many)), most))", "* many)), 9.f))"),
    "background field upside down": ("cover.cuh", "fmaf(place.down, y, place.top)", "fmaf(-place.down, y, place.top)"),
    "pull from the wrong level": ("matte.cu", "coarser(grid, y, x, height, width)", "coarser(grid, x, y, height, width)"),
    "sums handed to the wrong warp": ("decimate.cu", "handed + (warp + 1) * grid.cells", "handed + warp * grid.cells"),
    "cells of a row kept for too long": ("upsampling.cuh", "next < end; ++next", "next < end - 1; ++next"),
    "words that two lanes share": ("pixel.cuh", "pixels.plane[c].word[WORDS - 1], 1)", "pixels.plane[c].word[WORDS - 1], 2)"),
    "missing barrier between a chunk's means and its cells": (
        "shrink.cu", "    __syncthreads();\n    if (thread < cells) {", "    if (thread < cells) {",
    ),
    "missing barrier before the next chunk": ("shrink.cu", "      }\n    }\n    __syncthreads();\n  }", "      }\n    }\n  }"),
    "triangle half a pixel off": ("shrink.cu", "(2 * int64_t{first} + 1)", "(2 * int64_t{first} + 2)"),
    "triangle without its last pixel": ("shrink.cu", "__float2int_ru(middle + reach - 0.5f)", "__float2int_rd(middle + reach - 0.5f)"),
    "cell cut off at the chunk's end": ("shrink.cu", "min(own.end, begin + CHUNK)", "min(own.end, begin + CHUNK - 1)"),
    "run that leaves a cell out": ("shrink.cu", "cells = min(run, side - column);", "cells = min(run, side - column - 1);"),
    "tails of rows": ("pixel.cuh", "if (tail + lane < bytes)", "if (tail + lane + 1 < bytes)"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The kernels with entry points for 8-bit RGB alone: they compile in a fraction of the time."""
    folder = tmp_path_factory.mktemp("lean") / "kernels"
    shutil.copytree(loader.folder(), folder)
    header = (folder / "pixel.cuh").read_text()
    start = header.index("#define FOR_EVERY_LAYOUT(KERNEL, T, NAME)")
    (folder / "pixel.cuh").write_text(
        header[:start] + "#define FOR_EVERY_PICTURE(KERNEL) KERNEL(uint8_t, uint8, 3, 3)\n"
    )
    for source in folder.glob("*.cu"):
        source.write_text(re.sub(r"^ENTRY\((1|(?!uint8)\w+, \w+)\)$", "", source.read_text(), flags=re.M))
    return folder


def outcomes(folder, monkeypatch, order="forward"):
    """The jobs' pictures with the kernels of a folder, one after another; the emulator may raise instead."""
    monkeypatch.setattr(loader, "folder", lambda: folder)
    monkeypatch.setattr(emulator, "order", order)
    editor = emulated.editor(monkeypatch)
    yield from map(squares, SHRUNK)
    yield from pictures(editor)


def pictures(editor):
    """Every job, some of them on rows that begin anywhere in a word, and strips that lie in a picture whole."""
    for job in JOBS:
        yield blurred(editor, job, 160)
    for job in NARROWED:
        yield blurred(editor, job, 149)
    yield editor.bokeh_blur(WIDE, 0.03, highlights=0.5)


def blurred(editor, job, width):
    options = JOBS[job]
    picture, mask = np.ascontiguousarray(PHOTO[:, :width]), np.ascontiguousarray(options["mask"][:, :width])
    return editor.blur_background(picture, **(options | {"mask": mask}))


def squares(picture):
    """What a network sees, in 1/255."""
    return cuda.shrink(cuda.to_device(Picture(picture, False, emulated.EmulatedMemory())), SIDE)[0] * 255


def wrong(got, want):
    """Whether a picture differs, or the emulator has found an error; those after it are not made any more."""
    try:
        return any(
            not np.abs(a.astype(float) - b).max() <= (1 if a.dtype == np.uint8 else 0.01)  # no number is wrong, too
            for a, b in zip(got, want, strict=True)
        )
    except emulator.KernelError:
        return True


@pytest.fixture(scope="module")
def truth():
    return [*map(stretched, SHRUNK), *pictures(Editor("cpu"))]


def stretched(picture):
    """The same by Pillow, in floats."""
    planes = (Image.fromarray(plane) for plane in picture.transpose(2, 0, 1).astype(np.float32))
    return np.stack([np.asarray(plane.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for plane in planes])


def test_the_kernels_as_they_are(folder, monkeypatch, truth):
    for order in ("forward", "reverse", 3):
        assert not wrong(outcomes(folder, monkeypatch, order), truth)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught(folder, monkeypatch, truth, fault):
    file, right, broken = FAULTS[fault]
    text = (folder / file).read_text()
    assert text.count(right) >= 1
    (folder / file).write_text(text.replace(right, broken))

    def look():  # in a process of its own: what overwrites memory may end it
        caught = any(wrong(outcomes(folder, monkeypatch, order), truth) for order in ("forward", "reverse"))
        os._exit(CAUGHT if caught else 0)

    try:
        emulator.Module(folder / (file if file.endswith(".cu") else "composite.cu"))  # a fault has to compile
        process = multiprocessing.get_context("fork").Process(target=look)
        process.start()
        process.join()
    finally:
        (folder / file).write_text(text)
    assert process.exitcode == CAUGHT or process.exitcode < 0
