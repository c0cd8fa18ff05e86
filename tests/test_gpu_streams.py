"""What only a machine with GPUs can show of streams, threads, graphs and a second GPU; else skipped."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import find_ellipse
from test_gpu import JOBS, MASK, PHOTO, close, tensor

import gpublur
from gpublur import InvalidArgument, image_io
from gpublur.api import Editor
from gpublur.backends.cuda import loader, tables

usable, why = loader.status()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not usable, reason=why)]


@pytest.fixture(scope="module")
def editor():
    editor = Editor("cuda")
    editor.backend.warmup()
    return editor


@pytest.fixture(scope="module")
def two(torch):
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")


def slow(torch, work):
    """Do a work on torch's current stream behind 10 ms of another one."""
    torch.cuda._sleep(20_000_000)
    return work()


# --- Streams ---


def test_threads_pictures_are_their_own(editor):
    pictures = [np.roll(PHOTO, turn, axis=1) for turn in range(16)]
    want = [editor.blur_background(picture, mask=MASK) for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda picture: editor.blur_background(picture, mask=MASK), pictures * 4))
    for one, other in zip(got, want * 4, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mask_of_either_library_is_awaited_and_not_reused_too_early(editor, torch, cupy):
    want = JOBS["gaussian"](editor, PHOTO, MASK)
    mask, hosts = torch.from_numpy(MASK), cupy.asarray(MASK)
    theirs, ours = cupy.cuda.Stream(non_blocking=True), torch.cuda.Stream()
    for _ in range(10):
        with torch.cuda.stream(ours):  # torch's mask, made late, for CuPy's picture
            late = slow(torch, lambda: mask.cuda().clone())
            out = JOBS["gaussian"](editor, cupy.asarray(PHOTO), late)
            del late
            torch.zeros(MASK.shape, device="cuda")
        close(out.get(), want)
        with theirs:  # CuPy's mask for torch's picture
            late = hosts.copy()
            with torch.cuda.stream(ours):
                out = slow(torch, lambda late=late: JOBS["gaussian"](editor, tensor(torch), late))
            del late
            cupy.zeros(MASK.shape, "float32")
        torch.cuda.synchronize()
        close(out.permute(1, 2, 0).cpu(), want)


def test_a_mask_that_is_still_made_serves_a_picture_of_this_machine(editor, torch):
    want = JOBS["gaussian"](editor, PHOTO, MASK)
    with torch.cuda.stream(torch.cuda.Stream()):
        late = slow(torch, lambda: torch.from_numpy(MASK).cuda().clone())
        close(JOBS["gaussian"](editor, PHOTO, late), want)


def test_a_host_mask_does_not_wait(editor, torch):
    picture = tensor(torch)
    editor.blur_background(picture, mask=MASK)
    torch.cuda.set_sync_debug_mode("error")
    try:
        editor.blur_background(picture, mask=MASK)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_channels_last_stays_so_and_is_not_copied(editor, torch):
    batch = torch.stack([tensor(torch), tensor(torch).flip(1)])
    for work in (JOBS["gaussian"], JOBS["cut"]):
        want = work(editor, batch, torch.from_numpy(MASK).cuda())
        got = work(editor, batch.to(memory_format=torch.channels_last), torch.from_numpy(MASK).cuda())
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(got, want)


# --- Graphs ---


def test_a_graph_uploads_no_table_that_is_there(editor, torch, monkeypatch):
    picture = tensor(torch)
    editor.gaussian_blur(picture, 0.03)
    torch.cuda.synchronize()
    monkeypatch.setattr(tables, "uploaded", None)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = editor.gaussian_blur(picture, 0.03)
    graph.replay()
    assert torch.equal(out, editor.gaussian_blur(picture, 0.03))


def test_every_layout_is_loaded_before_a_capture(torch):
    editor = Editor("cuda")
    editor.warmup()
    for dtype in (torch.uint8, torch.float16, torch.float32):
        for channels in (1, 3, 4):
            picture = torch.zeros((channels, 60, 80), dtype=dtype, device="cuda")
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                editor.bokeh_blur(picture, 0.03)


def test_cupys_graphs_are_refused(editor, cupy):
    picture, stream = cupy.asarray(PHOTO), cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            with pytest.raises(InvalidArgument, match="capture the call with tensors of torch"):
                editor.bokeh_blur(picture, 0.03)
        finally:
            stream.end_capture()


# --- Memory ---


def test_room_is_made_of_what_the_other_pool_keeps(torch, cupy, editor):
    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(int(free * 0.97), dtype=torch.uint8, device="cuda")
    del held  # torch's pool keeps it
    photo = np.zeros((8000, 12000, 3), np.uint8)
    assert editor.gaussian_blur(photo, 0.001).shape == photo.shape
    torch.cuda.empty_cache()


# --- Two GPUs ---


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("model", ["general", find_ellipse])
def test_a_picture_is_worked_on_where_it_lies(torch, cupy, model):
    editor = Editor("cuda", model)
    want = editor.blur_background(PHOTO)
    for device in (0, 1, 0):
        out = editor.blur_background(tensor(torch).to(f"cuda:{device}"))
        assert out.device.index == device
        close(out.permute(1, 2, 0).cpu(), want)
        with cupy.cuda.Device(device):
            given = cupy.asarray(PHOTO)
        out = editor.blur_background(given)
        assert out.device.id == device
        close(out.get(), want)


@pytest.mark.usefixtures("two")
def test_a_mask_on_the_other_gpu(torch, cupy, editor):
    want = JOBS["gaussian"](editor, PHOTO, MASK)
    with cupy.cuda.Device(1):
        masks = [torch.from_numpy(MASK).to("cuda:1"), cupy.asarray(MASK)]
    for mask in masks:
        close(JOBS["gaussian"](editor, tensor(torch), mask).permute(1, 2, 0).cpu(), want)
        close(JOBS["gaussian"](editor, cupy.asarray(PHOTO), mask).get(), want)
        close(JOBS["gaussian"](editor, PHOTO, mask), want)


@pytest.mark.usefixtures("two")
def test_process_stays_on_its_callers_gpu(torch, cupy):
    photo, seen = image_io.encode(image_io.Photo(PHOTO)), []
    editor = Editor("cuda")

    def work(pixels):
        seen.append(cupy.cuda.runtime.getDevice())
        return editor.blur_background(pixels)

    with torch.cuda.device(1):
        assert [error for _, _, error in gpublur.process([photo] * 6, work, workers=3)] == [None] * 6
    assert seen == [1] * 6
