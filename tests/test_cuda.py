"""The CUDA backend's own promises, on emulated kernels: the CPU's picture, whole batches, torch's and CuPy's arrays."""

import re
import sys
from contextlib import nullcontext
from importlib import import_module
from types import SimpleNamespace

import emulated
import emulator
import numpy as np
import pytest
from conftest import matte, scene

from gpublur import InvalidArgument, NoSubject, matting, optics, pipeline
from gpublur.api import Editor
from gpublur.arrays import Picture
from gpublur.backends.cuda import loader, structs, tables
from gpublur.backends.cuda import ops as cuda
from gpublur.color import decode_table
from gpublur.memory import CupyMemory, Memory, TorchMemory, gpu_memory
from gpublur.types import BlurSpec, Edit, Resize, SubjectQuery

pytestmark = pytest.mark.skipif(bool(emulator.unusable()), reason=emulator.unusable())

PHOTO, MASK = scene(83, 139), matte(83, 139)
LAYOUTS = {"grey": (1, False), "rgb": (3, False), "rgba": (4, False), "planar rgb": (3, True), "planar rgba": (4, True)}


@pytest.fixture
def gpu(monkeypatch):
    """An Editor whose GPU is emulated; `gpu.log` lists the launches."""
    editor = emulated.editor(monkeypatch)
    editor.log = loader.gpu().launches
    return editor


@pytest.fixture(scope="module")
def cpu():
    return Editor("cpu")


def pictured(channels, planar, dtype):
    """The photo with so many channels, in a layout and dtype."""
    opacity = np.linspace(1, 0.3, PHOTO.shape[1], dtype=np.float32)[None, :, None].repeat(len(PHOTO), 0)
    picture = {1: PHOTO[..., :1], 3: PHOTO, 4: np.concatenate([PHOTO, opacity], 2)}[channels]
    top = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    picture = (picture * top + (0.5 if top > 1 else 0)).astype(dtype)
    return np.ascontiguousarray(picture.transpose(2, 0, 1)) if planar else picture


# --- The same picture as on the CPU ---


@pytest.mark.parametrize(
    "work", ["gaussian .01", "gaussian .05", "bokeh .002", "bokeh .02", "bokeh .05", "cut", "paint"]
)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_agrees_with_the_cpu(gpu, cpu, dtype, layout, work):
    channels, planar = LAYOUTS[layout]
    picture = pictured(channels, planar, dtype)
    masks = {".01": MASK, "cut": MASK, ".05": (MASK * 255).astype(np.uint8)}  # or another size, or refined

    def run(editor):
        kind, _, radius = work.partition(" ")
        options = {"mask": masks.get(radius or kind, MASK[1::3, 1::3]), "layout": "CHW" if planar else "HWC"}
        if kind in ("cut", "paint"):
            return editor.remove_background(picture, None if kind == "cut" else "#c08040", **options)
        return editor.blur_background(
            picture, kind, float(radius), highlights=0.5, refine=radius == ".02", quality="fast", **options
        )

    got, want = run(gpu), run(cpu)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    top = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    worst = np.abs(got.astype(np.float64) - want.astype(np.float64)).max() / top
    assert worst <= (1 / 255 if dtype == "uint8" else 1e-3)
    if dtype == "uint8":  # rounding at a tie alone may differ
        assert (got != want).mean() < 2e-3


def test_the_matte_agrees_with_the_cpu(gpu, cpu):
    picture, alpha = Picture(pictured(3, False, "uint8"), False), np.ascontiguousarray(MASK[::5, ::5])
    for refine in (True, False):
        query = SubjectQuery(refine=refine)
        want, got = (
            pipeline.run(editor._engine.device, picture, query, None, alpha, pipeline.segment)[0]
            for editor in (cpu, gpu)
        )
        assert np.abs(want - got).max() < 1e-3
        assert want.std() > 0.1


def test_a_subject_that_does_not_outlast_the_fit_is_none_here_too(gpu):
    picture, speck = pictured(3, False, "uint8"), np.zeros_like(MASK)
    speck[20, 20] = 1
    assert (gpu.blur_background(picture, mask=speck, refine=True, on_no_subject="keep") == picture).all()
    with pytest.raises(NoSubject):
        gpu.remove_background(picture, mask=speck, refine=True, on_no_subject="error")


@pytest.mark.parametrize("order", ["reverse", 5])
def test_blocks_and_warps_may_come_in_any_order(gpu, monkeypatch, order):
    picture = pictured(3, False, "uint8")
    for mode in ("gaussian", "bokeh"):
        options = {"mode": mode, "radius": 0.04, "mask": MASK[::4, ::4], "refine": True}
        want = gpu.blur_background(picture, **options)
        with monkeypatch.context() as patch:
            patch.setattr(emulator, "order", order)
            np.testing.assert_array_equal(gpu.blur_background(picture, **options), want)


@pytest.mark.parametrize("offset", [0, 1, 3, 7])
@pytest.mark.parametrize("width", [15, 127, 128, 129, 261])
def test_any_width_and_alignment(gpu, cpu, offset, width):
    """Rows begin anywhere in a 16-byte word, and nothing is written beside the result."""
    height = 19
    memory = np.random.default_rng(0).integers(0, 256, height * width * 3 + 64, np.uint8)
    picture = memory[offset:][: height * width * 3].reshape(height, width, 3)
    source = cuda.decode(cuda.to_device(Picture(picture, False, emulated.EmulatedMemory())), True)
    room = np.full(height * width * 3 + 64, 77, np.uint8)
    out = room[16 + offset :][: height * width * 3].reshape(height, width, 3)
    spec = BlurSpec("bokeh", 0.03, 0.0).checked()
    plan = optics.plan(spec, height, width)
    frames, nothing = cuda.frames(plan, source), cuda.matte(source, None, False)
    cuda.decimate(source, nothing, cuda.highlight_curve(spec), plan, frames, source)
    cuda.spans(plan.aperture, plan, frames, source)
    cuda.composite(source, nothing, plan, frames, spec, out, source)
    want = cpu.bokeh_blur(picture.copy(), 0.03, highlights=0.0)
    assert np.abs(out.astype(int) - want).max() <= 1
    assert (room[: 16 + offset] == 77).all()
    assert (room[16 + offset + out.size :] == 77).all()


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("low", [0.1, 0.2159, 0.5, 0.7, 0.99, 1.0])
def test_bright_codes_are_found_by_their_bytes(low, linear):
    """As decimate.cu does: beside any neighbours, a code whose light is above ``low`` carries into its highest bit."""
    codes = np.arange(256, dtype=np.uint64)
    bright, hot = decode_table(256, linear) > low, cuda.hot_codes(low, linear)
    for beside in (0, 255):
        words = codes << 8 | beside << 16 | beside
        found = ((words & 0x7F7F7F7F) + hot & words & 0x8000) != 0
        if hot == 0xFFFFFFFF:
            assert bright[:128].any()  # then every row is looked at
        else:
            np.testing.assert_array_equal(found, bright)


# --- Launches ---


def test_a_batch_goes_through_in_one_set_of_launches(gpu):
    batch, masks = np.stack([PHOTO, PHOTO[::-1], PHOTO[:, ::-1]]), np.stack([MASK, MASK[::-1], 1 - MASK])
    work = [
        lambda p, m: gpu.blur_background(p, "gaussian", 0.05, mask=m, refine=True),
        lambda p, m: gpu.blur_background(p, "bokeh", 0.03, mask=m),
        lambda p, m: gpu.remove_background(p, mask=m),
        lambda p, m: gpu.remove_background(p, "red", mask=m),
    ]
    for job in work:
        singles = [job(np.ascontiguousarray(p), np.ascontiguousarray(m)) for p, m in zip(batch, masks, strict=True)]
        gpu.log.clear()
        job(batch[0], masks[0])
        once = list(gpu.log)
        gpu.log.clear()
        np.testing.assert_array_equal(job(batch, masks), singles)
        assert gpu.log == once


def test_masks_of_many_sizes_and_lists_of_pictures(gpu, cpu):
    batch, masks = np.stack([PHOTO, PHOTO[::-1]]), [MASK, MASK[::3, ::3]]
    for pictures in (batch, list(batch), [PHOTO, PHOTO[:40]]):
        those = masks if pictures is batch else [MASK[: len(p)] for p in pictures]
        got, want = (e.blur_background(pictures, "gaussian", 0.05, mask=those) for e in (gpu, cpu))
        assert type(got) is type(want)
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_mask_for_every_picture_of_a_batch(gpu):
    batch = np.stack([PHOTO, PHOTO])
    for mask in (np.stack([MASK, MASK])[:, None], np.stack([MASK, MASK])[..., None]):
        assert gpu.blur_background(batch, mask=mask).shape == batch.shape
    assert gpu.blur_background(batch[:1], mask=MASK).shape == batch[:1].shape
    one = gpu.blur_background(batch, mask=MASK)  # serves them all
    np.testing.assert_array_equal(one, gpu.blur_background(batch, mask=np.stack([MASK, MASK])))
    booleans = (MASK > 0.5).astype(np.uint8)
    np.testing.assert_array_equal(
        gpu.blur_background(batch, mask=booleans), gpu.blur_background(batch, mask=booleans.astype(bool))
    )
    with pytest.raises(InvalidArgument, match="for 2 pictures"):
        gpu.blur_background(batch, mask=np.stack([MASK] * 3))


def test_nothing_is_compiled_or_uploaded_again(gpu):
    tables._kept.clear()
    gpu.blur_background(PHOTO, radius=0.03, mask=MASK)
    assert "upload" in gpu.log
    loaded = dict(loader.gpu().modules)
    gpu.log.clear()
    gpu.blur_background(PHOTO[::-1], radius=0.03, mask=MASK[::-1])
    assert "upload" not in gpu.log
    gpu.blur_background(PHOTO[:60], radius=0.02, mask=MASK[:60])
    assert loader.gpu().modules == loaded


def test_what_a_graph_captures_is_uploaded_in_it(gpu, monkeypatch):
    """A buffer that a capture has only promised to fill must not serve other calls."""
    tables._kept.clear()
    with monkeypatch.context() as patch:
        patch.setattr(emulated.EmulatedMemory, "capturing", lambda self: True)
        gpu.bokeh_blur(PHOTO, 0.03)
        assert not tables._kept
    captured = gpu.log.count("upload")
    gpu.log.clear()
    gpu.bokeh_blur(PHOTO, 0.03)
    assert "upload" in gpu.log
    assert captured == gpu.log.count("upload")  # no table twice


def test_a_table_serves_every_stream_of_its_device(gpu, monkeypatch):
    tables._kept.clear()
    uploads = []
    for device, stream in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 0)):
        monkeypatch.setattr(emulated.EmulatedMemory, "stream", lambda self, stream=stream: stream)
        monkeypatch.setattr(emulated.EmulatedMemory, "device", device)
        gpu.log.clear()
        gpu.gaussian_blur(PHOTO, 0.05)
        uploads.append("upload" in gpu.log)
    assert uploads == [True, False, True, False, False]


def test_a_graph_uses_a_table_that_is_there_and_keeps_it(gpu, monkeypatch):
    tables._kept.clear()
    gpu.gaussian_blur(PHOTO, 0.05)
    gpu.log.clear()
    with monkeypatch.context() as patch:
        patch.setattr(emulated.EmulatedMemory, "capturing", lambda self: True)
        gpu.gaussian_blur(PHOTO, 0.05)
    assert "upload" not in gpu.log
    captured = set(map(id, tables._kept.values()))
    waited = []
    monkeypatch.setattr(tables, "MOST_WORDS", 0)
    monkeypatch.setattr(loader.gpu(), "wait_for_all", lambda: waited.append(len(tables._kept)), raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(emulated.EmulatedMemory, "device", 1)
        gpu.gaussian_blur(PHOTO, 0.05)
    for radius in (0.03, 0.04):
        gpu.gaussian_blur(PHOTO, radius)
    assert waited == [2, 3, 4]  # so many were there: the graph's, that of the other GPU, the last one, and a new one
    assert captured < set(map(id, tables._kept.values()))
    assert sorted(device for _, device in tables._kept) == [0, 0, 1]
    tables._kept.clear()
    tables._of_graphs.clear()


# --- Planning ---


class Nowhere(Memory):
    """Memory of any size that does not exist."""

    on_gpu, taken = True, 0

    def empty(self, shape, dtype):
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        Nowhere.taken += size
        return SimpleNamespace(shape=shape, dtype=np.dtype(dtype), at=1 << 40, nbytes=size, ndim=len(shape))

    def address(self, array):
        return array.at

    def contiguous(self, array):
        return array

    def adopt(self, array):
        return array


def planned(monkeypatch, launch):
    """Let launches be told to a function, and nothing be launched."""
    gpu = emulated.EmulatedGpu()
    gpu.launch, gpu.memory = launch, Nowhere
    monkeypatch.setattr(loader, "gpu", lambda: gpu)
    tables._kept.clear()


@pytest.mark.parametrize("mode", ["gaussian", "bokeh"])
@pytest.mark.parametrize("shape", [(1, 40000, 30000, 3), (32, 6000, 8000, 4), (1, 1, 1, 1), (1, 100000, 7, 1)])
def test_large_pictures_are_planned(monkeypatch, shape, mode):
    """Beyond 2^31 bytes every launch stays within CUDA's limits and no argument overflows."""
    launches = []
    planned(monkeypatch, lambda *launch: launches.append(launch))
    memory, size = Nowhere(), shape[1:3]
    picture = Picture(memory.empty(shape, "uint8"), False, memory)
    mask = memory.empty((shape[0], 320, 320), "float32")
    spec = BlurSpec(mode, 0.05).checked()
    plan = optics.plan(spec, *size)
    source = cuda.decode(picture, True)
    subject, frames = cuda.matte(source, mask, False), cuda.frames(plan, source)
    cuda.decimate(source, subject, cuda.highlight_curve(spec), plan, frames, source)
    (cuda.separable if mode == "gaussian" else cuda.spans)(plan.aperture, plan, frames, source)
    cuda.composite(source, subject, plan, frames, spec, memory.empty(shape, "uint8"), source)
    assert [launch[0] for launch in launches][-1] == "composite"
    for _, entry, grid, block, args, shared, _ in launches:
        assert 1 <= grid[0] < 2**31, entry
        assert all(1 <= n <= 65535 for n in grid[1:]), entry
        assert np.prod(block) <= 1024, entry
        assert shared <= 99 << 10, entry
        assert all(isinstance(a, (np.generic, np.ndarray)) for a in args), entry
    of_a_warp = int(launches[-1][4][-3])
    assert of_a_warp == structs.RUN * (1 + (np.prod(size) * shape[0] >= structs.LARGE))
    rows, columns = -(-size[0] // (launches[-1][3][1] * of_a_warp)), -(-size[1] // structs.STRIP)
    assert launches[-1][2] == (columns, rows, shape[0])
    tables._kept.clear()


def test_a_disk_that_shared_memory_cannot_hold_is_refused(monkeypatch):
    planned(monkeypatch, lambda *launch: None)
    plan = optics.plan(BlurSpec("bokeh", 0.05, quality="exact").checked(), 40000, 30000)
    memory = Nowhere()
    source = cuda.decode(Picture(memory.empty((40000, 30000, 3), "uint8"), False, memory), True)
    with pytest.raises(InvalidArgument, match="'exact' of a 30000 x 40000 picture"):
        cuda.spans(plan.aperture, plan, cuda.frames(plan, source), source)
    tables._kept.clear()


@pytest.mark.parametrize("factor", range(1, optics.MAX_FACTOR + 1))
def test_an_offset_and_a_reciprocal_find_the_cells_of_every_pixel(factor):
    """What composite.cu computes instead of looking up the plan's shift, and of dividing."""
    axis = optics.spline_axis(factor)
    shift, up = axis.shift, axis.up
    assert factor <= structs.PARTS
    if factor > 1:
        pixels = np.concatenate([np.arange(10_000), 2**28 - 1 - np.arange(10_000)]).astype(np.uint64)
        counted = pixels + tables.offset(axis)
        cells = counted * tables.reciprocal(factor) >> np.uint64(32)
        np.testing.assert_array_equal(cells, counted // factor)
        first = (pixels // factor).astype(np.int64) + shift[pixels % factor]
        np.testing.assert_array_equal(cells.astype(np.int64) - 2, first)
        np.testing.assert_array_equal(tables.by_part(axis)[counted % factor], up[pixels % factor])
        for x in range(factor):  # four pixels from x on, and the cells from the first's first on
            first = x + tables.offset(axis)
            for i, weights in enumerate(tables.in_quads(axis)[first % factor].T):
                want = np.zeros(tables.CELLS, np.float32)
                want[(first + i) // factor - first // factor :][:4] = up[(x + i) % factor]
                np.testing.assert_array_equal(weights, want)


@pytest.mark.parametrize("radius", [0.5, 1.3, 7.7, 24.0])
def test_steps_are_the_aperture_four_times(radius):
    """Each of the four neighbouring results gets every span once, from the row it belongs to."""
    spans = optics.disk(radius, (99, 99))
    weight, half, start = tables.steps(spans)
    for i in range(tables.ROWS):
        rebuilt = {}
        for q in range(2 * spans.reach[0] + tables.ROWS):
            for j, shares in enumerate(weight[start[q] : start[q + 1]], half[q]):
                if shares[i]:
                    rebuilt[q - spans.reach[0] - i, j] = shares[i]
        want = {(s * dy, j): w for dy, j, w in zip(spans.dy, spans.half, spans.weight, strict=True) for s in (1, -1)}
        assert rebuilt == want


# --- Arrays of other libraries ---


def test_torch_tensors_stay_torch_tensors(gpu, cpu, monkeypatch):
    """A tensor on the CPU stands for one on a GPU: same type, no copy of it, buffers from torch."""
    torch = pytest.importorskip("torch")
    given, allocated = torch.from_numpy(pictured(3, True, "uint8")), []

    class Fake(TorchMemory):
        def empty(self, shape, dtype):
            allocated.append(shape)
            return super().empty(shape, dtype).view(torch.uint8).fill_(255).view(getattr(torch, np.dtype(dtype).name))

        def stream(self):
            return 0

        def capturing(self):
            return False

        def _upload(self, array):
            return torch.tensor(array)

    fake = Fake(torch, torch.device("cpu"))
    monkeypatch.setattr("gpublur.arrays.gpu_memory", lambda value: fake if isinstance(value, torch.Tensor) else None)
    read = []
    monkeypatch.setattr(cuda, "to_device", lambda p, door=cuda.to_device: read.append(door(p)) or read[-1])
    for mask in (torch.from_numpy(MASK), MASK, torch.from_numpy(MASK)[None]):
        out = gpu.blur_background(given, "bokeh", 0.03, mask=mask, refine=True)
        want = cpu.blur_background(given.permute(1, 2, 0).numpy(), "bokeh", 0.03, mask=MASK, refine=True)
        assert isinstance(out, torch.Tensor)
        assert np.abs(out.permute(1, 2, 0).numpy().astype(int) - want).max() <= 1
    assert read[0].pixels.data_ptr() == given.data_ptr()
    assert len(allocated) > 5
    batch = torch.stack([given, given.flip(1)])
    out = gpu.remove_background(batch, mask=torch.from_numpy(np.stack([MASK, MASK[::-1]])))
    assert tuple(out.shape) == (2, 4, *MASK.shape)
    assert gpu.segment(given, refine=False).dtype == torch.float32
    half = gpu.gaussian_blur((given / 255).half(), 0.05)
    assert half.dtype == torch.float16


class FakeCupy:
    """As much of CuPy as `CupyMemory` and the door use, over NumPy's memory."""

    class ndarray(np.ndarray):  # noqa: N801
        @property
        def device(self):
            return SimpleNamespace(id=0)

    cuda = SimpleNamespace(
        get_current_stream=lambda: SimpleNamespace(ptr=0, is_capturing=lambda: False), Device=lambda n: nullcontext()
    )

    def empty(self, shape, dtype):
        return np.empty(shape, dtype).view(self.ndarray)

    def asarray(self, array):
        return np.array(array).view(self.ndarray)

    def from_dlpack(self, value):
        return np.from_dlpack(value).view(self.ndarray)

    def ascontiguousarray(self, array):
        return np.ascontiguousarray(array).view(self.ndarray)

    stack, repeat = staticmethod(np.stack), staticmethod(np.repeat)


class FakeCupyMemory(CupyMemory):
    def address(self, array):
        return array.ctypes.data


def test_cupy_arrays_and_dlpack_objects(gpu, cpu, monkeypatch):
    fake = FakeCupy()
    memory = FakeCupyMemory(fake, 0)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(
        "gpublur.arrays.gpu_memory", lambda value: memory if isinstance(value, FakeCupy.ndarray) else None
    )
    picture = pictured(3, False, "uint8")
    want = cpu.blur_background(picture, "gaussian", 0.05, mask=MASK)
    given = fake.asarray(picture)
    for mask in (MASK, fake.asarray(MASK), fake.asarray(MASK > 0.5) * True):
        out = gpu.blur_background(given, "gaussian", 0.05, mask=mask)
        assert type(out) is FakeCupy.ndarray
    np.testing.assert_allclose(gpu.blur_background(given, "gaussian", 0.05, mask=MASK).astype(int), want, atol=1)

    class OnGpu:
        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, **options):
            return picture.__dlpack__(**options)

    exported = OnGpu()
    monkeypatch.setattr(FakeCupy, "from_dlpack", lambda self, value: self.asarray(picture))
    out = gpu.blur_background(exported, "gaussian", 0.05, mask=MASK)
    assert type(out) is FakeCupy.ndarray
    np.testing.assert_allclose(out.astype(int), want, atol=1)


def test_arrays_on_a_gpu_are_refused_by_the_cpu():
    torch = pytest.importorskip("torch")
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        tensor = torch.empty((3, 8, 9), dtype=torch.uint8, device="cuda")
    assert isinstance(gpu_memory(tensor), TorchMemory)
    with pytest.raises(InvalidArgument, match=r"image lies on cuda:0, which device='cpu' does not take"):
        Editor("cpu").gaussian_blur(tensor)


# --- The model ---


def test_the_models_mask_stays_where_it_is(gpu, cpu, monkeypatch):
    torch = pytest.importorskip("torch")
    shapes = []

    def bright(pixels):
        shapes.append(tuple(pixels.shape))
        return torch.nn.functional.avg_pool2d(pixels.mean(1), 4)

    for editor in (gpu, cpu):
        editor._engine.model, editor._engine._segmenters = bright, {}
    seen = []
    perform = cuda.perform
    monkeypatch.setattr(
        cuda, "perform", lambda b, s, p, mask, *rest: seen.append(mask.values) or perform(b, s, p, mask, *rest)
    )
    for channels, planar in LAYOUTS.values():
        given = pictured(channels, planar, "float32")
        layout = "CHW" if planar else "HWC"
        got, want = (editor.blur_background(given, "gaussian", 0.03, layout=layout) for editor in (gpu, cpu))
        np.testing.assert_allclose(got, want, atol=1e-3)
    assert all(isinstance(mask, np.ndarray) for mask in seen)  # the emulated GPU's memory
    assert set(shapes) == {(1, 3, 83, 139)}
    batch = gpu.segment(np.stack([PHOTO, PHOTO[::-1]]))
    np.testing.assert_allclose(batch[0], cpu.segment(PHOTO), atol=1e-3)
    cpu._engine.model, cpu._engine._segmenters = "general", {}


# --- What the host and the kernels agree on ---

CONSTANT = re.compile(r"^constexpr (?:int|float) (.+?);", re.M)


def constants(name):
    """The constants of a kernel source, by its header's too."""
    found = {}
    for file in ("pixel.cuh", name):
        for declared in CONSTANT.findall((loader.folder() / file).read_text()):
            for one in declared.split(", "):
                constant, _, value = one.partition(" = ")
                if "<" not in constant:
                    found[constant] = eval(value.removesuffix("f").replace("/", "//"), {}, found)
    return found


@pytest.mark.parametrize(
    ("source", "ours", "names"),
    [
        ("pixel.cuh", structs, "WARP STRIP SLOTS"),
        ("pixel.cuh", tables, "QUAD"),
        ("upsampling.cuh", structs, "PARTS TAPS"),
        ("upsampling.cuh", tables, "CELLS"),
        ("fields.cuh", import_module("gpublur.backends.cpu.loops.composite"), "SLACK"),
        ("decimate.cu", structs, "COPIES"),
        ("shrink.cu", structs, "WARPS CHUNK"),
        ("spans.cu", structs, "TILE GROUPS"),
        ("spans.cu", tables, "ROWS"),
        ("separable.cu", tables, "ROWS"),
        ("matte.cu", structs, "ACROSS DOWN PLANES BLOCK"),
        ("matte.cu", matting, "WINDOW MEAN CELL"),
        ("fields.cuh", matting, "FAINT"),
        ("upload.cu", tables, "WORDS"),
    ],
)
def test_sizes_are_those_of_the_kernels(source, ours, names):
    theirs = constants(source)
    for name in names.split():
        assert getattr(ours, name) == pytest.approx(theirs[name]), name


# --- Edits ---


@pytest.mark.parametrize(
    "edit",
    [
        Edit(remove=True, clip=True),
        Edit(remove=True, color="#c08040"),
        Edit(remove=True, color="#c0804080", resize=Resize(50, 60, "canvas")),
        Edit(blur=BlurSpec(radius=0.04), clip=True, resize=Resize("50%")),
        Edit(blur=BlurSpec("gaussian", 0.02), focus="linear"),
        Edit(),
    ],
)
@pytest.mark.parametrize("planar", [False, True])
def test_edits_of_arrays_on_a_gpu(gpu, cpu, monkeypatch, edit, planar):
    """They come back where they lay, and are what the CPU makes of them."""
    picture = pictured(3, planar, "uint8")
    memory = OnGpu()
    monkeypatch.setattr("gpublur.arrays.gpu_memory", lambda value: memory if isinstance(value, GpuArray) else None)
    options = {"mask": MASK, "layout": "CHW" if planar else "HWC"}
    want = cpu.apply(picture, edit, **options)
    got = gpu.apply(picture.view(GpuArray), edit, **options)
    assert type(got) is GpuArray
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    assert np.abs(np.asarray(got).astype(int) - want).max() <= 2
    finished = edit.resize is not None or edit.color == "#c0804080"
    assert memory.downloads == (3 if edit.focus == "linear" else int(finished))


class GpuArray(np.ndarray):
    """Stands for an array on a GPU: an array of NumPy that is not one."""


class OnGpu(emulated.EmulatedMemory):
    """Its memory, which counts the copies of pictures to this machine's."""

    downloads = 0

    def empty(self, shape, dtype):
        return super().empty(shape, dtype).view(GpuArray)

    def adopt(self, array):
        return super().adopt(array).view(GpuArray)

    def to_host(self, array):
        self.downloads += array.ndim == 3
        return np.asarray(array)
