"""JPEG by a GPU's codec: nvImageCodec's own calls on its CPU backends, and stand-ins for it and for CuPy."""

import io
import logging
import threading
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import emulated
import emulator
import imagecodecs
import numpy as np
import pytest
from conftest import scene
from PIL import Image, ImageCms
from test_metadata import IPTC, XMP, block

import gpublur
from gpublur import backends, devices, image_io
from gpublur.api import Editor
from gpublur.backends import Device
from gpublur.backends.cuda import codec as gpu_codec
from gpublur.backends.cuda import loader
from gpublur.backends.cuda import ops as cuda
from gpublur.batch import run
from gpublur.errors import DeviceUnavailable, ImageFileError, InvalidArgument
from gpublur.files import Job
from gpublur.image_io import Photo, exif, jpeg
from gpublur.memory import CupyMemory

RGB = (scene(83, 139) * 255).astype(np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
AT = 7  # a stream
BOUND = 1  # of 255: the library's decoder on a CPU is libjpeg-turbo, as ours, perhaps of another version


def saved(pixels=RGB, mode=None, format="JPEG", **options):
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(out, format, **options)
    return out.getvalue()


def patched(data, kind, at, value):
    """A file with a byte of its first segment of a kind changed."""
    found = next(part for part in jpeg.segments(data) if part.kind == kind)
    out = bytearray(data)
    out[found.end - len(found.body) + at] = value
    return bytes(out)


def in_segments(data):
    """The metadata of a file."""
    return [part[:2] for part in jpeg.segments(data) if part.kind >= 0xE0]


def answer(data, codec):
    """All of a photo, or the error in its place."""
    try:
        photo = image_io.decode(data, codec=codec)
    except ImageFileError as error:
        return type(error), str(error)
    return photo.__dict__ | {"pixels": (photo.pixels.shape, photo.pixels.tobytes())}


# --- Stand-ins ---


class Held:
    """An array of CuPy's: what takes it for one of NumPy's fails, as there."""

    device = SimpleNamespace(id=0)

    def __init__(self, values):
        self.values = values

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __getattr__(self, name):
        if name in ("shape", "dtype", "ndim", "flags", "size", "nbytes", "strides"):
            return getattr(self.values, name)
        raise AttributeError(name)

    @property
    def data(self):
        return SimpleNamespace(ptr=self.values.ctypes.data)

    def __bool__(self):
        return bool(self.values)


for name in ("__getitem__", "__lt__", "__gt__", "swapaxes", "copy", "astype", "max", "any"):
    setattr(Held, name, lambda self, *args, name=name, **options: Held(getattr(self.values, name)(*args, **options)))


class FakeCupy:
    """As much of CuPy as a picture meets from its file to its file."""

    ndarray = Held

    def __init__(self):
        self.downloads, self.full = 0, False
        self.stream = SimpleNamespace(ptr=0, is_capturing=lambda: False)
        runtime = SimpleNamespace(getDevice=lambda: 0, runtimeGetVersion=lambda: 13000)
        self.cuda = SimpleNamespace(
            get_current_stream=lambda: self.stream, Device=lambda n: nullcontext(), runtime=runtime
        )

    def asarray(self, value):
        if self.full:
            raise MemoryError("OutOfMemoryError")
        return value if isinstance(value, Held) else Held(np.array(value))

    def empty(self, shape, dtype):
        return Held(np.full(shape, 0xCD, np.uint8) if dtype == "uint8" else np.empty(shape, dtype))

    def ascontiguousarray(self, array):
        return Held(np.ascontiguousarray(array.values))

    def asnumpy(self, array):
        self.downloads += array.ndim > 1
        return array.values


class OnCpu:
    """The real library, with its backends on the CPU in place of the GPU's."""

    def __init__(self, real):
        self.real = real
        self.where = {
            "device_id": real.NVIMGCODEC_DEVICE_CPU_ONLY, "max_num_cpu_threads": 1,
            "backends": [real.Backend(real.BackendKind.CPU_ONLY)],
        }  # fmt: skip

    def __getattr__(self, name):
        return getattr(self.real, name)

    def Decoder(self, *, options, **where):  # noqa: N802
        assert where.keys() == self.where.keys()
        return self.real.Decoder(options=options, **self.where)

    def Encoder(self, **where):  # noqa: N802
        assert where.keys() == self.where.keys()
        return self.real.Encoder(**self.where)

    def as_image(self, pixels, stream):
        return self.real.as_image(pixels.values, stream)


class Enum:
    def __getattr__(self, name):
        return name


class FakeLibrary:
    """nvImageCodec by imagecodecs, which remembers what it is asked; one thread at a time may use a codec."""

    Backend = staticmethod(str)
    BackendKind = ColorSpec = ChromaSubsampling = QualityType = Enum()
    JpegEncodeParams = DecodeParams = EncodeParams = SimpleNamespace
    refuses = False

    def __init__(self):
        self.asked = []

    def CodeStream(self, data):  # noqa: N802
        if b"Exif" in data and self.refuses == "parsing":
            raise RuntimeError("Failed to get image info")
        return SimpleNamespace(data=data, num_channels=1 if Image.open(io.BytesIO(data)).mode == "L" else 3)

    def as_image(self, pixels, stream):
        return SimpleNamespace(pixels=pixels.values, stream=stream)

    def Decoder(self, **options):  # noqa: N802
        self.asked.append(("decoder", options))
        return FakeCodec(self)

    def Encoder(self, **options):  # noqa: N802
        self.asked.append(("encoder", options))
        return FakeCodec(self)


class FakeCodec:
    def __init__(self, library):
        self.library, self.busy = library, threading.Lock()

    def decode(self, code, *, params, cuda_stream):
        assert self.busy.acquire(blocking=False), "two threads at once in one decoder"
        self.library.asked.append(("decode", code.data, params, cuda_stream))
        pixels = imagecodecs.jpeg8_decode(code.data)
        self.busy.release()
        return None if self.library.refuses else np.atleast_3d(pixels)

    def encode(self, image, name, *, params, cuda_stream):
        self.library.asked.append(("encode", image, name, params, cuda_stream))
        if self.library.refuses:
            return None
        grey, quality = image.pixels.ndim == 2, params.quality_value
        colours = {} if grey else {"subsampling": "444"}
        return imagecodecs.jpeg8_encode(
            image.pixels, level=quality, optimize=params.jpeg_encode_params.optimized_huffman, **colours
        )


def real_library():
    return OnCpu(pytest.importorskip("nvidia.nvimgcodec", reason="nvImageCodec is not installed"))


@pytest.fixture
def cupy(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setitem(__import__("sys").modules, "cupy", cupy)
    return cupy


@pytest.fixture(params=["nvImageCodec", "stand-in"])
def library(request, monkeypatch):
    library = real_library() if request.param == "nvImageCodec" else FakeLibrary()
    monkeypatch.setattr(gpu_codec, "library", lambda: library)
    return library


@pytest.fixture
def stand_in(monkeypatch):
    library = FakeLibrary()
    monkeypatch.setattr(gpu_codec, "library", lambda: library)
    return library


@pytest.fixture
def codec(library, cupy):
    return gpu_codec.Codec(library, cupy, 0)


@pytest.fixture
def editor(cupy, monkeypatch):
    """An Editor on an emulated GPU, whose arrays no code of the host's can read."""
    if emulator.unusable():
        pytest.skip(emulator.unusable())
    gpu = emulated.EmulatedGpu()
    gpu.codecs = gpu_codec.Codecs(cupy)
    gpu.memory = lambda: CupyMemory(cupy, 0)
    gpu.download = cupy.asnumpy
    monkeypatch.setattr(loader, "gpu", lambda: gpu)
    editor = Editor("cpu")
    editor._engine.device = Device("cuda", cuda)
    return editor


def kinds():
    """Files of every kind that a codec on a GPU is given."""
    return {
        "444": saved(subsampling="4:4:4"), "422": saved(subsampling="4:2:2"), "420": saved(subsampling="4:2:0"),
        "progressive": saved(progressive=True), "grey": saved(mode="L"), "odd": saved(RGB[:1, :3]),
        "restarts": saved(restart_marker_blocks=2), "no end": saved()[:-2],
    }  # fmt: skip


def others():
    """Files that the CPU decodes in any case."""
    rgb = saved(keep_rgb=True, subsampling="4:4:4")
    return {
        "CMYK": saved(mode="CMYK"), "RGB": rgb, "PNG": saved(format="PNG"), "4:1:1": patched(saved(), 0xC0, 7, 0x41),
        "4:4:0": patched(saved(subsampling="4:2:2"), 0xC0, 7, 0x12),
        "grey 2 x 2": patched(saved(mode="L"), 0xC0, 7, 0x22),
        "truncated": saved()[:-200], "head": saved()[:300], "12 bits": patched(saved(), 0xC0, 0, 12),
    }  # fmt: skip


# --- What is JPEG alone: segments and who may decode ---


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("dpi", [None, (300.4, 72), (70000, 1), (0.3, 90)])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"exif": block(), "xmp": XMP, "iptc": IPTC, "comment": b"by the sea", "icc": SRGB},
        {"icc": SRGB * 250, "comment": b"c" * 65_533, "exif": exif.PREFIX + bytes(65_527), "xmp": b"x" * 65_504},
        {"iptc": bytes(65_505), "xmp": b"", "comment": b""},
    ],
)
def test_segments_are_those_of_pillow(given, dpi, grey):
    """What Pillow wrote into files before is written by us, for every encoder's stream."""
    pixels = RGB[..., 0] if grey else RGB
    named = {"icc": "icc_profile"}
    options = {named.get(name, name): value for name, value in given.items() if value and name != "iptc"}
    options |= {"dpi": dpi} if dpi else {}
    options |= {"extra": jpeg.iptc_segment(given["iptc"])} if given.get("iptc") else {}
    bare = saved(pixels, quality=90)
    photo = Photo(pixels, dpi=dpi, **given)
    photo.icc = given.get("icc")
    assert jpeg.with_metadata(bare, photo) == saved(pixels, quality=90, **options)
    assert jpeg.with_metadata(saved(pixels, quality=90, comment=b"encoder 1.0", dpi=(9, 9)), Photo(pixels)) == bare


def test_exif_that_no_segment_holds_is_an_error():
    photo = Photo(RGB, "JPEG", exif=exif.PREFIX + bytes(65_528))
    with pytest.raises(ImageFileError, match=r"cannot be written as JPEG: EXIF of 65534 bytes is too long: 65533"):
        image_io.encode(photo)


@pytest.mark.parametrize("name", kinds())
def test_common_files(name):
    assert jpeg.common(kinds()[name])


@pytest.mark.parametrize("name", sorted(set(others()) - {"truncated", "head"}))
def test_uncommon_files(name):
    assert not jpeg.common(others()[name])


def test_marks_of_colours_and_of_coding():
    data, adobe = saved(), b"Adobe" + bytes(7)
    named = data.replace(b"\3\1\x22\0\2\x11\1\3\x11\1", b"\3R\x22\0G\x11\1B\x11\1")
    assert named != data
    assert jpeg.common(named)  # JFIF's colours are YCbCr, whatever their names
    bare = data.replace(b"JFIF\0", b"Else\0")
    assert jpeg.common(bare)
    assert not jpeg.common(named.replace(b"JFIF\0", b"Else\0"))
    for transform, common in ((0, False), (1, True), (2, False)):
        marked = data[:2] + jpeg.segment(0xEE, adobe[:11] + bytes([transform])) + data[2:]
        assert jpeg.common(marked) is common
    for kind in set(jpeg.FRAMES) - set(jpeg.HUFFMAN):  # lossless, arithmetic, hierarchical
        assert not jpeg.common(data.replace(b"\xff\xc0", bytes((0xFF, kind)), 1))
    assert jpeg.common(data[:2] + b"\xff\xff" + data[2:])
    assert not jpeg.common(patched(data, 0xC0, 5, 1))  # of three components that are named
    for broken in (b"", data[:2], data[:40], data[:2] + bytes(40), data[:2] + b"\xff\xe0\0\0" * 3):
        assert not jpeg.common(broken)


@pytest.mark.parametrize(
    ("shape", "dtype", "fits"),
    [
        ((4, 5), "uint8", True), ((4, 5, 3), "uint8", True), ((4, 5, 4), "uint8", False), ((4, 5, 3), "uint16", False),
        ((1, 65_500), "uint8", True), ((1, 65_501), "uint8", False),
    ],
)  # fmt: skip
def test_what_is_encoded_there(shape, dtype, fits):
    assert jpeg.writable(Held(np.zeros(shape, dtype))) is fits


# --- The codec ---


@pytest.mark.parametrize("name", kinds())
def test_pixels_are_those_of_the_cpu(codec, name):
    data = kinds()[name]
    want, got = image_io.decode(data), image_io.decode(data, codec=codec)
    assert isinstance(got.pixels, Held)
    assert np.abs(got.pixels.values.astype(int) - want.pixels).max() <= BOUND
    got.pixels = want.pixels
    assert got.__dict__ == want.__dict__


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(codec, orientation):
    data = saved(exif=block(orientation=orientation), icc_profile=SRGB, xmp=XMP)
    want, got = image_io.decode(data), image_io.decode(data, codec=codec)
    assert got.pixels.flags.c_contiguous
    assert got.pixels.shape == want.pixels.shape
    assert np.abs(got.pixels.values.astype(int) - want.pixels).max() <= BOUND
    assert exif.orientation_of(got.exif) is None
    assert (got.exif, got.icc, got.xmp) == (want.exif, want.icc, want.xmp)


@pytest.mark.parametrize("name", others())
def test_all_else_is_the_cpus(cupy, name):
    data = others()[name]
    want = answer(data, None)
    assert answer(data, SimpleNamespace(decode=None)) == want  # which is not called
    assert isinstance(want, tuple) == (name in ("truncated", "head", "12 bits"))


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("quality", [30, 75, 95, 100])
@pytest.mark.parametrize("effort", [None, 9])
def test_streams_are_like_the_cpus(codec, cupy, grey, quality, effort):
    pixels = RGB[..., 0].copy() if grey else RGB
    photo = Photo(pixels, "JPEG", exif=block(), icc=None if grey else SRGB, xmp=XMP, iptc=IPTC, dpi=(300, 300))
    want = image_io.encode(photo, jpeg_quality=quality, effort=effort)
    photo.pixels = Held(pixels)
    got = image_io.encode(photo, jpeg_quality=quality, effort=effort, codec=codec)
    assert cupy.downloads == 0
    assert in_segments(got) == in_segments(want)
    assert Image.open(io.BytesIO(got)).quantization == Image.open(io.BytesIO(want)).quantization
    assert np.abs(image_io.decode(got).pixels.astype(int) - image_io.decode(want).pixels).max() <= BOUND
    assert abs(len(got) - len(want)) < 0.02 * len(want)
    assert jpeg.common(got)
    assert {(1, 1)} == {layer[1:3] for layer in Image.open(io.BytesIO(got)).layer}


def test_what_the_library_is_asked(stand_in, cupy):
    cupy.stream = SimpleNamespace(ptr=AT)
    codec = gpu_codec.Codec(stand_in, cupy, 3)
    data = saved(exif=block(orientation=6))
    pixels = image_io.decode(data, codec=codec).pixels
    image_io.encode(Photo(pixels, "JPEG"), codec=codec, effort=5)
    made, encoder, decoded, encoded = stand_in.asked
    gpu = {"device_id": 3, "max_num_cpu_threads": 1, "backends": ["GPU_ONLY", "HYBRID_CPU_GPU", "HW_GPU_ONLY"]}
    assert made == ("decoder", gpu | {"options": ":fancy_upsampling=1"})
    assert encoder == ("encoder", gpu)
    assert decoded[1:] == (data, SimpleNamespace(apply_exif_orientation=False, color_spec="SRGB"), AT)
    assert (encoded[1].stream, encoded[2], encoded[4]) == (AT, "jpeg", AT)
    assert encoded[3] == SimpleNamespace(
        quality_type="QUALITY", quality_value=95, chroma_subsampling="CSS_444",
        jpeg_encode_params=SimpleNamespace(progressive=False, optimized_huffman=True),
    )  # fmt: skip


def test_the_stand_in_asks_for_what_the_real_library_has():
    real = real_library().real
    for names in (
        "CodeStream as_image Decoder Encoder Backend DecodeParams EncodeParams JpegEncodeParams",
        "BackendKind.GPU_ONLY BackendKind.HYBRID_CPU_GPU BackendKind.HW_GPU_ONLY ColorSpec.SRGB ColorSpec.GRAY",
        "ChromaSubsampling.CSS_444 ChromaSubsampling.CSS_GRAY QualityType.QUALITY",
    ):
        for name in names.split():
            owner, _, member = name.partition(".")
            assert hasattr(getattr(real, owner), member or "__doc__"), name


def test_of_several_pictures_the_main_one_is_decoded(stand_in, cupy):
    images = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    out = io.BytesIO()
    images[0].save(out, "MPO", save_all=True, append_images=images[1:])
    data = out.getvalue()
    photo = image_io.decode(data, codec=gpu_codec.Codec(stand_in, cupy, 0))
    [given] = [call[1] for call in stand_in.asked if call[0] == "decode"]
    assert given == data[: len(given)]
    assert given.endswith(jpeg.END)
    assert len(given) < 0.6 * len(data)
    np.testing.assert_array_equal(photo.pixels.values, image_io.decode(data).pixels)
    assert list(photo.notes) == ["the main one of its 2 pictures is used"]


@pytest.mark.parametrize("fault", ["refuses", "parsing", "full"])
def test_what_the_codec_cannot_do_the_cpu_does(stand_in, cupy, fault):
    codec, data = gpu_codec.Codec(stand_in, cupy, 0), saved(exif=block())
    cupy.full, stand_in.refuses = fault == "full", fault if fault == "parsing" else fault == "refuses"
    photo = image_io.decode(data, codec=codec)
    assert isinstance(photo.pixels, np.ndarray)
    np.testing.assert_array_equal(photo.pixels, image_io.decode(data).pixels)
    stand_in.refuses = True
    photo.format, want = "JPEG", image_io.encode(photo)
    photo.pixels = Held(photo.pixels)
    assert image_io.encode(photo, codec=codec) == want


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "AVIF", "BMP"])
def test_other_formats_are_written_on_the_cpu(cupy, format):
    codec = SimpleNamespace(encode=None)
    assert image_io.encode(Photo(Held(RGB)), format, codec=codec) == image_io.encode(Photo(RGB), format)
    assert cupy.downloads == 1
    assert image_io.encode(Photo(Held(RGB)), "JPEG") == image_io.encode(Photo(RGB), "JPEG")
    deep = RGB.astype(np.uint16) * 257
    assert image_io.encode(Photo(Held(deep)), "JPEG", codec=codec) == image_io.encode(Photo(deep), "JPEG")


# --- Many pictures ---


@pytest.mark.parametrize("name", ["444", "420", "grey", "no end", "turned"])
def test_from_file_to_file_no_pixel_leaves_the_gpu(editor, library, cupy, name):
    data = saved(exif=block(orientation=6), icc_profile=SRGB, xmp=XMP, comment=b"sea") if name == "turned" else None
    data = data or kinds()[name]
    work = partial(editor.gaussian_blur, radius=0.02)
    outcomes = list(gpublur.process([data, saved(format="PNG"), data], work, workers=2))
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert cupy.downloads == 1  # of the PNG
    want = next(gpublur.process([data], partial(Editor("cpu").gaussian_blur, radius=0.02))).value
    for got in (outcomes[0].value, outcomes[2].value):
        assert in_segments(got) == in_segments(want)
        differ = np.abs(image_io.decode(got).pixels.astype(int) - image_io.decode(want).pixels)
        assert differ.max() <= 2 * BOUND + 2
        assert differ.mean() < 0.1


def test_codec_is_of_one_picture_at_a_time_and_used_again(editor, stand_in, cupy, monkeypatch):
    monkeypatch.setattr(backends, "load", lambda name: (cuda, ""))
    files = [saved(np.roll(RGB, turn, 1)) for turn in range(12)]
    meet = threading.Barrier(3, timeout=60)

    def work(pixels):
        if count.pop():
            meet.wait()
        return editor.gaussian_blur(pixels, 0.02)

    count = [False] * 8 + [True] * 3 + [False]  # the first picture goes alone, then three are at work at once
    outcomes = list(gpublur.process(files, work, workers=3, codec="gpu"))
    assert [outcome.error for outcome in outcomes] == [None] * 12
    assert sum(call[0] == "decoder" for call in stand_in.asked) == 3
    assert cupy.downloads == 0


def test_a_gpu_that_has_no_room_for_another_codec(editor, stand_in):
    """The picture is decoded on the CPU, and the codec that is there is used again."""

    def full(**_):
        raise RuntimeError("Could not create encoder. Code: 5")

    assert cuda.codec_obstacle(None) == ""
    stand_in.Encoder = full
    for _ in range(2):
        with cuda.codec(None) as first, cuda.codec(None) as second:
            assert (type(first), second) == (gpu_codec.Codec, None)


def test_codecs_go_where_room_is_made(editor, stand_in):
    """Those that nobody has; one that a picture has is used again."""
    assert cuda.codec_obstacle(None) == ""
    with cuda.codec(None) as first, cuda.codec(None):
        pass
    with cuda.codec(None) as held:
        loader.gpu().codecs.free()
    with cuda.codec(None) as again, cuda.codec(None) as new:
        assert again is held
        assert new is not first
    assert sum(call[0] == "decoder" for call in stand_in.asked) == 3


def test_a_gpu_that_does_not_answer_is_an_obstacle(editor, stand_in, monkeypatch):
    def fallen(device):
        raise RuntimeError("cudaErrorInvalidDevice")

    monkeypatch.setattr(loader.gpu(), "on", fallen)
    assert cuda.codec_obstacle(7) == "the GPU does not answer (RuntimeError: cudaErrorInvalidDevice)"


@pytest.mark.parametrize("name", ["truncated", "head", "12 bits", "CMYK"])
def test_a_file_that_is_broken_is_answered_as_by_the_cpu(editor, library, name):
    data = others()[name]
    [want] = gpublur.process([data], Editor("cpu").gaussian_blur)
    [got] = gpublur.process([data], editor.gaussian_blur)
    assert (type(got.error), str(got.error)) == (type(want.error), str(want.error))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_folders_and_their_report(editor, library, cupy, tmp_path, suffix):
    sources = {"a.jpg": saved(), "b.png": saved(format="PNG"), "c.jpg": saved(mode="CMYK")}
    for name, data in sources.items():
        (tmp_path / name).write_bytes(data)
    jobs = [Job(tmp_path / name, (tmp_path / "out" / name).with_suffix(suffix)) for name in sources]
    mask = np.eye(*RGB.shape[:2], dtype=np.float32)

    def work(job, pages, device):
        assert device == "cuda"
        return [editor.blur_background(page, mask=mask, radius=0.02, details=True) for page in pages]

    done = run(jobs, work, coders={"cuda": devices.coder(editor)})
    assert [one.error for one in done] == [None] * 3
    assert [one.decoded_on for one in done] == ["cuda:0", "cpu", "cpu"]
    assert cupy.downloads == 2 + (suffix != ".jpg")
    for job in jobs:
        want = Editor("cpu").blur_background(image_io.decode(job.source), mask=mask, radius=0.02)
        want = image_io.decode(image_io.encode(want, image_io.format_of(job.destination)))
        got = image_io.decode(job.destination)
        assert np.abs(got.pixels.astype(int) - want.pixels).mean() < 0.2


@pytest.mark.parametrize(
    "edit",
    [
        gpublur.Edit(blur=gpublur.BlurSpec(radius=0.02), format="JPEG"),
        gpublur.Edit(remove=True, format="JPEG", srgb=True, metadata="rights"),
        gpublur.Edit(remove=True, color="#c08040", format="JPEG", resize=gpublur.Resize(width=40)),
    ],
)
@pytest.mark.parametrize("icc", [SRGB, None, "other"])
def test_an_edit_of_a_photo_that_lies_there(editor, stand_in, cupy, edit, icc):
    from gpublur import edits

    if icc == "other":
        icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        icc = icc[:16] + b"RGB " + icc[20:]
    mask, data = np.eye(*RGB.shape[:2], dtype=np.float32), saved(icc_profile=icc, exif=block(orientation=1))
    edit = edits.check(edit)

    def made(editor, codec):
        photo = edits.prepare(image_io.decode(data, codec=codec), edit)
        done, _ = editor.edit_photo(photo, edit, mask=mask, details=True)
        return image_io.encode(done, codec=codec)

    got, want = made(editor, gpu_codec.Codec(stand_in, cupy, 0)), made(Editor("cpu"), None)
    assert in_segments(got) == in_segments(want)
    assert np.abs(image_io.decode(got).pixels.astype(int) - image_io.decode(want).pixels).mean() < 0.2


# --- Who decodes ---


def test_a_missing_library_is_no_error(editor, cupy, monkeypatch, caplog):
    def missing():
        raise ModuleNotFoundError("No module named 'nvidia.nvimgcodec'", name="nvidia.nvimgcodec")

    monkeypatch.setattr(gpu_codec, "library", missing)
    with caplog.at_level(logging.INFO, "gpublur"):
        [outcome] = gpublur.process([saved()], editor.gaussian_blur)
    assert outcome.error is None
    assert "JPEG is decoded and encoded on the CPU: nvImageCodec is not installed: pip install" in caplog.text
    assert isinstance(image_io.decode(outcome.value).pixels, np.ndarray)
    with pytest.raises(DeviceUnavailable, match=r"codec='gpu' cannot be had on cuda: .*\[cuda13-jpeg\]'"):
        gpublur.process([], editor.gaussian_blur, codec="gpu")


@pytest.mark.parametrize("fault", ["import", "make", "work"])
def test_a_library_that_does_not_work_is_told(editor, stand_in, monkeypatch, fault):
    def raises(*_, **__):
        raise RuntimeError("no libnvjpeg")

    if fault == "import":
        monkeypatch.setattr(gpu_codec, "library", raises)
    elif fault == "make":
        stand_in.Encoder = raises
    stand_in.refuses = fault == "work"
    why = cuda.codec_obstacle(None)
    assert why == cuda.codec_obstacle(None)
    assert ("is the package nvidia-nvjpeg there" if fault == "work" else "RuntimeError: no libnvjpeg") in why
    assert devices.coder(editor) is None
    monkeypatch.setattr(backends, "load", lambda name: (cuda, ""))
    monkeypatch.setattr(backends, "_usable", {"cuda"})
    assert backends.codec_told() == f"on the CPU ({why})"


def test_doctor_tells_of_both_roads(editor, stand_in, monkeypatch):
    monkeypatch.setattr(backends, "load", lambda name: (cuda, ""))
    monkeypatch.setattr(backends, "_usable", {"cuda"})
    assert backends.codec_told().startswith("on the GPU, by nvImageCodec")
    monkeypatch.setattr(backends, "_usable", {"cpu"})
    assert backends.codec_told() == "on the CPU (no GPU is usable)"


def test_the_gpu_decodes_for_an_editors_methods_alone_unless_told_so(editor, stand_in, monkeypatch):
    def own(pixels):
        seen.append(type(pixels))
        return editor.gaussian_blur(pixels, 0.02)

    seen, data = [], saved()
    for options in ({}, {"codec": "cpu"}, {"codec": "gpu"}):
        monkeypatch.setattr(backends, "load", lambda name: (cuda, ""))
        [outcome] = gpublur.process([data], own, **options)
        assert outcome.error is None
    assert seen == [np.ndarray, np.ndarray, Held]
    for work in (editor, editor.gaussian_blur, partial(partial(editor.gaussian_blur, radius=0.02), sharpen=0)):
        assert devices.coder(work).name == "cuda"
        assert devices.coder(work, codec="cpu") is None


def test_the_cpus_work_has_no_codec():
    cpu = Editor("cpu")
    for work in (cpu.gaussian_blur, partial(gpublur.gaussian_blur, device="cpu"), abs, lambda pixels: pixels):
        assert devices.coder(work) is None
    assert devices.coder(gpublur.gaussian_blur, "cpu") is None
    with pytest.raises(InvalidArgument, match="codec='gpu' excludes device='cpu'"):
        gpublur.process([], cpu.gaussian_blur, codec="gpu")
    with pytest.raises(InvalidArgument, match="codec='gpu' excludes device='cpu'"):
        gpublur.process([], lambda pixels, device: pixels, codec="gpu", devices=["cpu"])
    with pytest.raises(InvalidArgument, match="codec='nvjpeg' is not one of 'auto', 'cpu', 'gpu'"):
        gpublur.process([], cpu.gaussian_blur, codec="nvjpeg")
    if backends.reasons()[0][1] is False:
        with pytest.raises(DeviceUnavailable, match="device='cuda' cannot run here"):
            gpublur.process([], lambda pixels: pixels, codec="gpu")


def test_a_device_that_fails_hands_its_pictures_on(editor, stand_in, cupy, monkeypatch, caplog):
    class CUDARuntimeError(RuntimeError):
        """As CuPy's."""

    def work(pixels, device):
        seen.append((device, type(pixels)))
        if device == "cuda":
            raise CUDARuntimeError("an illegal memory access")
        return pixels

    seen, data = [], saved()
    made = devices.over(
        lambda item, own, codec: image_io.encode(Photo(own(image_io.decode(item, codec=codec).pixels), "JPEG")), work,
        {"cuda": Device("cuda", cuda), "cpu": None},
    )  # fmt: skip
    assert [made(data), made(data)] == [image_io.encode(Photo(image_io.decode(data).pixels, "JPEG"))] * 2
    assert seen == [("cuda", Held), ("cpu", np.ndarray), ("cpu", np.ndarray)]
    assert "cuda works no more" in caplog.text


def test_the_extras_bring_the_library_of_their_cuda():
    declared = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    for number in (12, 13):
        [line] = [line for line in declared.splitlines() if line.startswith(f"cuda{number}-jpeg = ")]
        assert f'"gpublur[cuda{number}]", "nvidia-nvimgcodec-cu{number}[nvjpeg]' in line
