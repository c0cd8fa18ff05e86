"""What only a machine with a GPU can show: arrays that lie there, streams, graphs, no hidden wait; else skipped."""

import numpy as np
import pytest
import reference
from conftest import matte, scene

import gpublur
from gpublur.api import Editor
from gpublur.arrays import Picture
from gpublur.backends.cuda import loader
from gpublur.backends.cuda import ops as cuda
from gpublur.memory import gpu_memory

usable, why = loader.status()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not usable, reason=why)]

PHOTO, MASK = (scene(241, 333) * 255).astype(np.uint8), matte(241, 333)
JOBS = {
    "gaussian": lambda e, p, m: e.blur_background(p, "gaussian", 0.03, mask=m),
    "bokeh": lambda e, p, m: e.blur_background(p, "bokeh", 0.03, mask=m, refine=True),
    "cut": lambda e, p, m: e.remove_background(p, mask=m),
    "paint": lambda e, p, m: e.remove_background(p, "#c08040", mask=m),
    "bare": lambda e, p, m: e.bokeh_blur(p, 0.05),
}


@pytest.fixture(scope="module")
def editor():
    editor = Editor("cuda")
    editor.backend.warmup()
    return editor


def tensor(torch, array=PHOTO):
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).cuda()


def close(got, want):
    got, want = np.asarray(got).astype(int), np.asarray(want).astype(int)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1


@pytest.mark.parametrize("job", JOBS)
def test_every_kind_gives_the_picture_of_the_cpu(editor, torch, cupy, job):
    work, want = JOBS[job], JOBS[job](Editor("cpu"), PHOTO, MASK)
    close(work(editor, PHOTO, MASK), want)
    out = work(editor, tensor(torch), torch.from_numpy(MASK).cuda())
    assert (out.device.type, out.dtype) == ("cuda", torch.uint8)
    close(out.permute(1, 2, 0).cpu(), want)
    out = work(editor, cupy.asarray(PHOTO), cupy.asarray(MASK))
    assert isinstance(out, cupy.ndarray)
    close(out.get(), want)

    class Exported:
        """Known by DLPack alone."""

        held = cupy.asarray(PHOTO)

        def __dlpack__(self, **options):
            return self.held.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.held.__dlpack_device__()

    close(work(editor, Exported(), MASK).get(), want)
    close(work(editor, tensor(torch), cupy.asarray(MASK)).permute(1, 2, 0).cpu(), want)  # of another library


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_types_against_the_reference(editor, torch, dtype):
    top = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    given = (scene(90, 120) * top).astype(dtype)
    shown = given.astype(np.float64) / top
    alpha = matte(90, 120)
    want = reference.blur_background(shown, alpha, "bokeh", 0.03, 0.5, (0.6, 0.95), True)
    out = editor.blur_background(
        tensor(torch, given), "bokeh", 0.03, highlights=0.5, highlight_threshold=(0.6, 0.95), mask=alpha
    )
    got = out.permute(1, 2, 0).cpu().numpy().astype(np.float64) / top
    assert reference.max_lsb(got, want) <= {"uint8": 0.51, "float16": 0.13}.get(dtype, 0.1)


def test_a_batch_is_its_pictures(editor, torch):
    batch, masks = (
        torch.stack([tensor(torch), tensor(torch).flip(1)]),
        torch.from_numpy(np.stack([MASK, MASK[::-1]])).cuda(),
    )
    for work in list(JOBS.values())[:4]:
        singles = torch.stack([work(editor, p, m) for p, m in zip(batch, masks, strict=True)])
        assert torch.equal(work(editor, batch, masks), singles)


@pytest.mark.parametrize("job", JOBS)
def test_nothing_waits_for_the_gpu(editor, torch, job):
    picture, mask = tensor(torch), torch.from_numpy(MASK).cuda()
    JOBS[job](editor, picture, mask)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        JOBS[job](editor, picture, mask)
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("job", JOBS)
def test_a_graph_replays_the_call(editor, torch, job):
    picture, mask = tensor(torch), torch.from_numpy(MASK).cuda()
    want = JOBS[job](editor, picture, mask)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = JOBS[job](editor, picture, mask)
    out.fill_(0)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out, want)
    picture.copy_(tensor(torch, PHOTO[::-1]))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out, JOBS[job](editor, picture, mask))


@pytest.mark.parametrize("job", JOBS)
def test_the_callers_stream(editor, torch, job):
    """Work follows what is already on the caller's stream, in whatever order others run."""
    picture, mask = tensor(torch), torch.from_numpy(MASK).cuda()
    want = JOBS[job](editor, picture, mask)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late = torch.zeros_like(picture)
        torch.cuda._sleep(20_000_000)
        late.copy_(picture)
        out = JOBS[job](editor, late, mask)
    stream.synchronize()
    assert torch.equal(out, want)


def test_cupys_stream(editor, cupy):
    want = editor.blur_background(cupy.asarray(PHOTO), mask=MASK)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        out = editor.blur_background(cupy.asarray(PHOTO), mask=MASK)
    stream.synchronize()
    cupy.testing.assert_array_equal(out, want)


def test_buffers_come_from_torchs_pool(editor, torch):
    picture = torch.zeros((3, 2000, 3000), dtype=torch.uint8, device="cuda")
    editor.gaussian_blur(picture, 0.002)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    editor.gaussian_blur(picture, 0.002)
    assert torch.cuda.max_memory_allocated() - before > picture.numel()


def test_runs_are_bit_equal(editor, torch):
    picture, mask = tensor(torch), torch.from_numpy(MASK).cuda()
    for work in JOBS.values():
        first = work(editor, picture, mask)
        assert all(torch.equal(work(editor, picture, mask), first) for _ in range(5))


def test_pictures_beyond_2_31_bytes(editor, torch):
    if torch.cuda.mem_get_info()[0] < 40 << 30:
        pytest.skip("needs 40 GB of free GPU memory")
    picture = torch.zeros((3, 26_000, 30_000), dtype=torch.uint8, device="cuda")
    picture[:, -300:, -300:] = tensor(torch, scene(300, 300).__mul__(255).astype(np.uint8))
    out = editor.gaussian_blur(picture, 0.001)
    assert int(out[:, :-800].max()) == 0
    want = editor.gaussian_blur(
        picture[:, -600:, -600:].contiguous(), 0.001 * np.hypot(26_000, 30_000) / np.hypot(600, 600)
    )
    inner = slice(-350, -250)
    assert int((out[:, inner, inner].int() - want[:, inner, inner].int()).abs().max()) <= 1


def test_the_model_runs_on_the_device(torch):
    pytest.importorskip("segmentation_models_pytorch")
    from gpublur import arrays, backends, segmentation

    model = segmentation.load("general", "cuda")
    assert model.runtime.dtype is torch.float16
    [picture] = arrays.read(tensor(torch), gpu=True).pictures
    mask = model.find(picture, backends.load("cuda")[0].shrink)
    assert mask.device.type == "cuda"
    host = segmentation.load("general", "cpu")(PHOTO)
    assert float(np.abs(mask.float().cpu().numpy() - host).mean()) < 0.02
    out = Editor("cuda").blur_background(torch.stack([tensor(torch)] * 2))
    assert torch.equal(out[0], out[1])


def test_an_onnx_file_runs_in_the_memory_of_tensors(torch, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has no CUDA provider: install onnxruntime-gpu in its place")
    from test_programs import DECLARED, as_onnx

    from gpublur import arrays, backends, segmentation

    path = as_onnx(tmp_path, DECLARED | {"values": "probabilities", "output": "mask"})
    model = segmentation.load(path, "cuda")
    assert type(model.runtime).__name__ == "OnnxOnGpu"
    host, shrink = segmentation.load(path, "cpu"), backends.load("cuda")[0].shrink
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            for turn in range(20):  # each picture is made just before, and its mask is used just after
                picture = tensor(torch).roll(turn, -1)
                mask = model.find(arrays.read(picture[None], gpu=True).pictures[0], shrink)[0]
                want = host(np.roll(PHOTO, turn, 1))
                assert float(np.abs((mask + 0).cpu().numpy() - want).max()) < 0.01


@pytest.mark.parametrize("size", [(241, 333), (1500, 2001), (33, 65)])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_shrink_is_torchs_resize(torch, dtype, size):
    white = 255 if dtype == "uint8" else 1
    for channels in (1, 3, 4):
        given = (torch.rand((2, channels, *size), device="cuda") * white).to(getattr(torch, dtype))
        shown = (given[:, :3].double() / white).expand(-1, 3, -1, -1)
        want = torch.nn.functional.interpolate(shown, (320, 320), mode="bilinear", antialias=True)
        for planar in (True, False):
            pixels = given if planar else given.movedim(1, 3).contiguous()
            got = cuda.shrink(Picture(pixels, planar, gpu_memory(pixels)), 320)
            assert got.device.type == "cuda"
            assert float((got - want).abs().max()) < 1e-5


def test_the_model_waits_for_nothing(editor, torch):
    picture = tensor(torch)
    editor.blur_background(picture)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        editor.blur_background(picture)
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_auto_takes_the_gpu_and_the_cpu_refuses_its_arrays(torch):
    assert Editor("auto").device == "cuda"
    with pytest.raises(gpublur.InvalidArgument, match="cuda:0"):
        Editor("cpu").bokeh_blur(tensor(torch))
