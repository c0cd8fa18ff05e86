"""From a file's bytes to a file's bytes with the default model, and each stage of it alone."""

from __future__ import annotations

import numpy as np
import pytest

from gpublur import image_io

from .test_road import MODES
from .test_segment import matte, ready

__all__ = ["ready"]  # a fixture: these, too, need the model
FORMATS = ("JPEG", "PNG")
ALIKE = 30  # dB that JPEG keeps at quality 95, of the grain of small pictures too


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("mode", MODES)
def test_end_to_end(mode, format, centre, editor, measure):
    end_to_end(mode, format, centre, editor, measure)


def test_end_to_end_size(size, scene_of, editor, measure):
    end_to_end("bokeh", "JPEG", scene_of(size), editor, measure)


def end_to_end(mode, format, where, editor, measure):
    given = image_io.encode(image_io.Photo(where.photo, format))

    def job():
        picture = image_io.decode(given)
        picture.pixels = editor.blur_background(picture.pixels, mode)
        return image_io.encode(picture)

    want = editor.blur_background(image_io.decode(given).pixels, mode)
    measure(
        job, who="gpublur high", job=f"{format} to {format} ({mode})", radius=0.01, megapixels=where.megapixels,
        check=lambda result: like(image_io.decode(result), image_io.Photo(want, format)),
    )  # fmt: skip


@pytest.mark.parametrize("stage", ["decode", "segment", "blur", "encode"])
def test_stage(stage, centre, editor, place, measure):
    given = image_io.encode(image_io.Photo(centre.photo, "JPEG"))
    photo, mask = place.put(centre.photo), place.put(centre.mask)
    calls = {
        "decode": (lambda: image_io.decode(given), lambda result: like(result, image_io.Photo(centre.photo, "JPEG"))),
        "segment": (lambda: editor.segment(photo), lambda result: matte(place.get(result))),
        "blur": (
            lambda: editor.blur_background(photo, mask=mask),  # held to float64 in test_road.py
            lambda result: place.get(result).shape == centre.photo.shape,
        ),
        "encode": (
            lambda: image_io.encode(image_io.Photo(centre.photo, "JPEG")),
            lambda result: like(image_io.decode(result), image_io.Photo(centre.photo, "JPEG")),
        ),
    }
    call, check = calls[stage]
    measure(call, who=stage, job="stages of JPEG to JPEG", megapixels=centre.megapixels, check=check)


def like(photo, wanted):
    """Whether a decoded photo is the wanted one, but for what its format loses."""
    if (photo.format, photo.pixels.shape) != (wanted.format, wanted.pixels.shape):
        return False
    if photo.format == "PNG":
        return np.array_equal(photo.pixels, wanted.pixels)
    noise = np.mean((photo.pixels.astype(np.float32) - wanted.pixels) ** 2)
    return bool(10 * np.log10(255**2 / noise) > ALIKE) if noise else True
