"""The square that a network sees, on the CPU and on emulated kernels: torch's antialiased resize, and one mask."""

import json

import emulated
import emulator
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from safetensors.torch import save_file  # noqa: E402
from torch.nn.functional import interpolate  # noqa: E402

from gpublur import segmentation  # noqa: E402
from gpublur.api import Editor  # noqa: E402
from gpublur.arrays import Picture  # noqa: E402
from gpublur.backends.cpu import ops as cpu  # noqa: E402
from gpublur.backends.cuda import loader, structs  # noqa: E402
from gpublur.backends.cuda import ops as cuda  # noqa: E402

pytestmark = [
    pytest.mark.skipif(bool(emulator.unusable()), reason=emulator.unusable()),
    pytest.mark.usefixtures("one_thread"),
]

WHITE = {"uint8": 255, "uint16": 65535}  # every float's is 1
LAYOUTS = {"grey": (1, False), "rgb": (3, False), "rgba": (4, False), "planar rgb": (3, True), "planar rgba": (4, True)}
# Rows, columns, side: smaller and larger than the square, thin, ends within a word, a lane, a warp and a block; with
# windows of more pixels than a block sums at a time, and cells that begin between two of its chunks.
SIZES = [
    (83, 139, 32), (301, 437, 64), (129, 255, 320), (17, 5, 64), (1, 1, 32), (1, 700, 64), (700, 1, 64), (64, 64, 64),
    (1, 33, 32), (65, 2049, 64), (2049, 65, 64), (7, 16001, 32), (3, 16500, 32),
]  # fmt: skip


@pytest.fixture
def gpu(monkeypatch):
    return emulated.editor(monkeypatch)


def noise(shape, dtype, planar=False):
    """Random pixels (..., H, W, C), or planar (..., C, H, W)."""
    values = np.random.default_rng(shape).random(shape)
    values = np.moveaxis(values, -1, -3) if planar else values
    top = WHITE.get(dtype, 1)
    return np.ascontiguousarray((values * top + (0.5 if top > 1 else 0)).astype(dtype))


def square(given, planar, side):
    """The kernel's square, (..., 3, side, side)."""
    return cuda.shrink(cuda.to_device(Picture(given, planar, emulated.EmulatedMemory())), side)


def on_the_cpu(given, planar, side):
    """The same by the CPU's loop, of one picture."""
    return cpu.shrink(Picture(given, planar), side)


def wanted(given, planar, side):
    """The same by torch, in float64."""
    shown = torch.from_numpy(given.astype(np.float64)) / WHITE.get(given.dtype.name, 1)
    shown = shown if planar else shown.movedim(-1, -3)
    shown = shown.reshape(-1, *shown.shape[-3:])[:, :3].expand(-1, 3, -1, -1)
    return interpolate(shown, (side, side), mode="bilinear", antialias=True).numpy()


def close(given, planar, side):
    want = wanted(given, planar, side)
    ways = [square] if given.ndim == 4 or given.dtype == np.float16 else [square, on_the_cpu]
    for way in ways:
        got = way(given, planar, side)
        assert got.dtype == np.float32
        assert got.shape == (len(want), 3, side, side)
        worst = np.abs(got - want).max()
        assert worst < 1e-5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_type_and_layout(gpu, dtype, layout):
    channels, planar = LAYOUTS[layout]
    for shape in ((83, 139), (3, 61, 50), (2, 21, 17)):
        close(noise((*shape, channels), dtype, planar), planar, 32)


@pytest.mark.parametrize("size", SIZES)
def test_every_size(gpu, size):
    *shape, side = size
    close(noise((*shape, 3), "uint8"), False, side)
    close(noise((*shape, 3), "float32", True), True, side)


@pytest.mark.parametrize("order", ["reverse", 5])
def test_blocks_and_warps_may_come_in_any_order(gpu, monkeypatch, order):
    monkeypatch.setattr(emulator, "order", order)
    close(noise((2, 65, 2049, 3), "uint8"), False, 64)


def test_a_constant_stays_itself(gpu):
    for value in (0, 37, 255):
        got = square(np.full((101, 203, 3), value, np.uint8), False, 64)
        np.testing.assert_allclose(got, value / 255, rtol=2e-7)


def test_floats_beyond_white_are_clipped(gpu):
    given = np.zeros((40, 60, 3), np.float32)
    given[:, :30], given[:, 30:40] = 1.25, np.nan
    assert np.ptp(square(given, False, 32)[..., :15]) == 0
    close(np.nan_to_num(given).clip(0, 1), False, 32)
    np.testing.assert_array_equal(square(given, False, 32), square(np.nan_to_num(given).clip(0, 1), False, 32))


def test_blocks_are_as_wide_as_a_chunk_allows(gpu, monkeypatch):
    """Their cells' pixels are one chunk wherever two cells' are, and no cell is left out or done twice."""
    launched = []
    monkeypatch.setattr(loader.gpu(), "launch", lambda *launch: launched.append(launch))
    for side in (32, 320, 1024):
        for width in (1, 33, 319, 1000, 1024, 4000, 5472, 12000, 40003):
            square(np.zeros((1, width, 3), np.uint8), False, side)
            _, _, (blocks, rows, count), _, args, *_ = launched.pop()
            run, scale = int(args[3]), width / side
            assert (blocks - 1) * run < side <= blocks * run
            assert (rows, count) == (side, 1)
            assert run <= structs.WARP * structs.WARPS
            assert run == 1 or (run + 1) * max(scale, 1) + 1 <= structs.CHUNK


# --- The road ---


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small random network."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(7)
    architecture = {"arch": "FPN", "encoder_name": "mobilenet_v2", "classes": 1}
    network = smp.create_model(encoder_weights=None, **architecture)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({key: value for key, value in network.state_dict().items() if "num_batches" not in key}, path)
    path.with_suffix(".json").write_text(json.dumps(architecture | {"input_size": 64}))
    return path


def test_the_mask_is_that_of_the_cpu(monkeypatch, weights):
    gpu, cpu = emulated.editor(monkeypatch, weights), Editor("cpu", weights)
    for channels, planar in LAYOUTS.values():
        given = noise((2, 131, 203, channels), "float32", planar)
        options = {"layout": "NCHW" if planar else "NHWC", "refine": False}
        want = cpu.segment(given, **options)  # in float: bytes are rounded between its two passes
        got = gpu.segment(given, **options)
        assert np.ptp(want) > 0.1, "the network says nothing, so the comparison would not either"
        np.testing.assert_allclose(got, want, atol=1e-3)


def test_a_batch_is_shrunk_in_one_launch(monkeypatch, weights):
    gpu = emulated.editor(monkeypatch, weights)
    batch = noise((3, 70, 91, 3), "uint8")
    masks = gpu.segment(batch, refine=False)
    assert loader.gpu().launches.count("shrink_uint8_3_3") == 1
    singles = np.stack([gpu.segment(one, refine=False) for one in batch])
    np.testing.assert_allclose(masks, singles, atol=1e-4)


def test_a_text_model_sees_squares_of_its_own_size(monkeypatch, weights):
    gpu, seen = emulated.editor(monkeypatch, weights), []

    class Text:
        side = 48

        def find(self, squares, words):
            seen.append((squares.shape, words))
            return np.ones((len(squares), 8, 8), np.float32)

    gpu._engine._segmenters["cpu"] = segmentation.load(weights, "cpu")
    gpu._engine._segmenters["cpu"].text_model, gpu._engine._segmenters["cpu"]._text = "some", Text()
    monkeypatch.setattr("gpublur.segmentation.check_words", lambda *args, **options: None)
    masks = gpu.segment(noise((2, 70, 91, 3), "uint8"), prompt="a red hat")
    assert masks.shape == (2, 70, 91)
    assert seen == [((2, 3, 48, 48), "a red hat")]
