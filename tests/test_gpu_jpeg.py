"""What only a machine with a GPU and nvImageCodec can show of JPEG that is decoded and encoded there; else skipped."""

import io
from functools import partial

import numpy as np
import pytest
from PIL import Image
from test_gpu_codec import IPTC, SRGB, XMP, answer, block, in_segments, kinds, others, saved

import gpublur
from gpublur import image_io
from gpublur.api import Editor
from gpublur.backends.cuda import loader
from gpublur.backends.cuda import ops as cuda
from gpublur.demo import PHOTO
from gpublur.image_io import Photo, jpeg

usable, why = loader.status()
why = why or cuda.codec_obstacle(None)
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(why), reason=why)]

# Of 255. Colours as fine as brightness differ by the rounding of two transforms alone, others by how they are enlarged.
SAME = {"444": (3, 0.5), "grey": (2, 0.5), "odd": (8, 3)}
ENLARGED = (16, 1)


@pytest.fixture
def codec():
    with cuda.codec(None) as codec:
        yield codec


def photographs():
    """The demo's photo, in every sampling, and the small files of the other tests."""
    pixels = image_io.decode(PHOTO).pixels
    large = {f"large {name}": saved(pixels, subsampling=name) for name in ("4:4:4", "4:2:2", "4:2:0")}
    return (
        kinds() | large | {"large progressive": saved(pixels, progressive=True), "large grey": saved(pixels, mode="L")}
    )


@pytest.mark.parametrize("name", photographs())
def test_pixels_are_close_to_the_cpus(codec, cupy, name):
    data = photographs()[name]
    want, got = image_io.decode(data), image_io.decode(data, codec=codec)
    assert isinstance(got.pixels, cupy.ndarray), "the codec refused it"
    assert got.pixels.shape == want.pixels.shape
    differ = np.abs(got.pixels.get().astype(int) - want.pixels)
    most, mean = SAME.get(name.removeprefix("large ").replace(":", ""), ENLARGED)
    assert differ.max() <= most
    assert differ.mean() <= mean


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(codec, orientation):
    data = saved(exif=block(orientation=orientation), subsampling="4:4:4")
    want, got = image_io.decode(data), image_io.decode(data, codec=codec)
    assert np.abs(got.pixels.get().astype(int) - want.pixels).max() <= SAME["444"][0]
    assert got.exif == want.exif


@pytest.mark.parametrize("name", others())
def test_all_else_is_the_cpus(codec, name):
    assert answer(others()[name], codec) == answer(others()[name], None)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
@pytest.mark.parametrize("effort", [None, 9])
def test_streams_are_like_the_cpus(codec, cupy, grey, quality, effort):
    pixels = image_io.decode(PHOTO).pixels
    pixels = np.ascontiguousarray(pixels[..., 0]) if grey else pixels
    photo = Photo(pixels, "JPEG", exif=block(), icc=None if grey else SRGB, xmp=XMP, iptc=IPTC, dpi=(300, 300))
    want = image_io.encode(photo, jpeg_quality=quality, effort=effort)
    assert codec.encode(cupy.asarray(pixels), quality, effort is not None) is not None, "the codec refused it"
    photo.pixels = cupy.asarray(pixels)
    got = image_io.encode(photo, jpeg_quality=quality, effort=effort, codec=codec)
    assert in_segments(got) == in_segments(want)
    images = [Image.open(io.BytesIO(data)) for data in (got, want)]
    assert images[0].quantization == images[1].quantization
    assert [layer[1:3] for layer in images[0].layer] == [layer[1:3] for layer in images[1].layer]
    assert jpeg.common(got)
    assert np.abs(image_io.decode(got).pixels.astype(int) - image_io.decode(want).pixels).mean() <= 0.5
    assert abs(len(got) - len(want)) < 0.05 * len(want)


@pytest.mark.parametrize("workers", [1, 8])
def test_many_pictures_from_file_to_file(cupy, workers, monkeypatch):
    """On streams of their own, with nothing downloaded but what is no JPEG."""
    editor, pixels = Editor("cuda"), image_io.decode(PHOTO).pixels
    files = [saved(np.roll(pixels, 40 * turn, 1), exif=block(orientation=1 + turn % 8)) for turn in range(24)]
    work = partial(editor.gaussian_blur, radius=0.01)
    want = [one.value for one in gpublur.process(files, work, codec="cpu")]
    downloads = []
    monkeypatch.setattr(cupy, "asnumpy", lambda *a, **k: downloads.append(a))
    got = [one.value for one in gpublur.process(files, work, codec="gpu", workers=workers)]
    assert not downloads
    for one, other in zip(got, want, strict=True):
        assert in_segments(one) == in_segments(other)
        assert np.abs(image_io.decode(one).pixels.astype(int) - image_io.decode(other).pixels).mean() <= 1
    assert got == [one.value for one in gpublur.process(files, work, codec="gpu", workers=workers)]
