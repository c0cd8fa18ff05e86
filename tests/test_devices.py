"""Several GPUs, streams and graphs where there is no GPU: stand-ins for CuPy and torch write down what is asked."""

import sys
import threading
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import emulated
import emulator
import numpy as np
import pytest

from gpublur import InvalidArgument, OutOfMemory, backends, pipeline, segmentation
from gpublur.api import Editor
from gpublur.arrays import Picture
from gpublur.backends import Device
from gpublur.backends.cuda import loader, transfer
from gpublur.backends.cuda import ops as cuda
from gpublur.batch import overlap
from gpublur.memory import CupyMemory, TorchMemory, torch_stream

PHOTO = np.zeros((8, 9, 3), np.uint8)
needs_emulator = pytest.mark.skipif(bool(emulator.unusable()), reason=emulator.unusable())


class TwoGpus(emulated.EmulatedGpu):
    """The current device is one of each thread, and in a new one the first."""

    def __init__(self):
        super().__init__()
        self.thread = threading.local()

    def current(self):
        return getattr(self.thread, "device", 0)

    def use(self, device):
        self.thread.device = device

    @contextmanager
    def on(self, device):
        before = self.current()
        self.use(device)
        yield
        self.use(before)


@pytest.fixture
def gpus(monkeypatch):
    gpus = TwoGpus()
    monkeypatch.setattr(loader, "gpu", lambda: gpus)
    monkeypatch.setattr(backends, "_usable", {"cuda"})
    return gpus


# --- Devices ---


def test_threads_work_where_their_caller_does(gpus):
    gpus.use(1)
    assert [outcome.value for outcome in overlap(range(5), lambda _: gpus.current(), workers=2)] == [1] * 5


def test_the_cpu_asks_no_gpu(monkeypatch):
    monkeypatch.setattr(loader, "gpu", None)
    monkeypatch.setattr(backends, "_usable", {"cpu"})
    assert [outcome.value for outcome in overlap(range(3), abs, workers=2)] == [0, 1, 2]


class Finder:
    """A model that remembers where it was asked."""

    def __init__(self, gpus, device):
        self.gpus, self.device, self.asked = gpus, device, []

    def find(self, picture, *_):
        self.asked.append(self.gpus.current())
        return np.ones(picture.size, np.float32)

    def warmup(self):
        self.asked.append(self.gpus.current())


@pytest.fixture
def loaded(gpus, monkeypatch):
    """The models that were loaded, by device."""
    found = {}

    def load(name, device, words):
        assert device not in found
        assert device == f"cuda:{gpus.current()}"
        return found.setdefault(device, Finder(gpus, device))

    monkeypatch.setattr(segmentation, "load", load)
    return found


@needs_emulator
def test_every_gpu_has_a_model_of_its_own(gpus, loaded):
    editor = Editor("cpu")
    editor._engine.device = Device("cuda", cuda)
    for device in (0, 1, 0, 1):
        gpus.use(device)
        editor.segment(PHOTO, refine=False)
    assert {name: model.asked for name, model in loaded.items()} == {"cuda:0": [0, 0], "cuda:1": [1, 1]}


@needs_emulator
def test_warmup_is_of_the_editors_own_gpu(gpus, loaded, monkeypatch):
    monkeypatch.setattr(gpus, "warmup", lambda: warmed.append(gpus.current()))
    warmed = []
    editor = Editor("cpu")
    editor._engine.device = Device("cuda:1", cuda, 1)
    editor.warmup()
    assert warmed == [1]
    assert set(loaded["cuda:1"].asked) == {1}
    assert gpus.current() == 0


def test_a_module_on_another_gpu_is_copied(torch):
    from gpublur.segmentation.torch_runtime import moved

    class Module:
        device = torch.device("cpu")

        def parameters(self):
            return [SimpleNamespace(device=self.device, is_cuda=self.device.type == "cuda")]

        def to(self, device):
            self.device = device
            return self

    module, first, second = Module(), torch.device("cuda", 0), torch.device("cuda", 1)
    assert moved(module, first) is moved(module, first) is module
    assert moved(module, second) is not module
    assert module.device == first


# --- Arrays of other libraries, streams, capture ---


class FakeStream:
    def __init__(self, log, ptr, device=0, capturing=False):
        self.log, self.ptr, self.device, self.is_captured = log, ptr, device, capturing

    def record(self):
        self.log.append(("record", self.ptr))
        return SimpleNamespace(of=self.ptr)

    def wait_event(self, event):
        self.log.append(("wait", self.ptr, event.of))

    def wait_stream(self, stream):
        self.log.append(("wait", self.ptr, stream.ptr))

    def is_capturing(self):
        assert self.ptr != 0, "CUDA refuses to tell of the null stream while another is captured"
        return self.is_captured

    def synchronize(self):
        self.log.append(("synchronize", self.ptr))

    def __enter__(self):
        self.log.append(("enter", self.ptr))

    def __exit__(self, *_):
        self.log.append(("leave", self.ptr))


class FakeArray:
    """An array of CuPy's."""

    def __init__(self, log, device):
        self.log, self.device = log, FakeDevice(log, device)


class FakeDevice:
    def __init__(self, log, device):
        self.log, self.id = log, device

    def __enter__(self):
        self.log.append(("device", self.id))

    def __exit__(self, *_):
        pass


class FakeCupy:
    """Two GPUs, each with a current stream, 10 and 11."""

    ndarray = FakeArray

    def __init__(self, capturing=False):
        self.log = []
        streams = [FakeStream(self.log, ptr, capturing=capturing) for ptr in (10, 11)]
        self.made = 100
        self.cuda = SimpleNamespace(
            get_current_stream=lambda device=0: streams[device],
            Device=lambda device: FakeDevice(self.log, device),
            Stream=self.stream,
            runtime=SimpleNamespace(
                getDevice=lambda: 0,
                streamWaitEvent=lambda stream, event: self.log.append(("wait", stream, event)),
            ),
        )

    def stream(self, non_blocking):
        assert non_blocking
        self.made += 1
        return FakeStream(self.log, self.made)

    def asarray(self, array):
        self.log.append(("asarray", array))
        return array


def test_an_array_of_another_gpu_is_copied_between_the_two_streams():
    cupy = FakeCupy()
    memory, here, there = CupyMemory(cupy, 0), FakeArray(None, 0), FakeArray(cupy.log, 1)
    memory.adopt(here)
    assert cupy.log == [("asarray", here)]
    cupy.log.clear()
    memory.adopt(there)
    assert cupy.log == [
        ("device", 1), ("record", 11), ("wait", 10, 11),  # ours begins behind what made it
        ("device", 0), ("asarray", there), ("record", 10), ("wait", 11, 10),  # and theirs reuses it behind our copy
    ]  # fmt: skip


class FakeTensor:
    def __init__(self, log):
        self.log = log

    def detach(self):
        return self

    def to(self, device, **options):
        self.log.append(("to", device, *options))
        return self

    def record_stream(self, stream):
        self.log.append(("record_stream", stream.ptr))


def fake_torch(log, current=20, initialized=True):
    """As much of torch as the handing over of arrays uses; its streams have numbers from 20 on, the default one 0."""
    return SimpleNamespace(
        Tensor=FakeTensor,
        device=lambda kind, index: f"{kind}:{index}",
        from_dlpack=lambda array: FakeTensor(log),
        cuda=SimpleNamespace(
            is_initialized=lambda: initialized,
            default_stream=lambda device: FakeStream(log, 0),
            current_stream=lambda device: FakeStream(log, current),
            ExternalStream=lambda pointer, device: FakeStream(log, pointer),
            Event=lambda: SimpleNamespace(cuda_event="done", record=lambda stream: log.append(("record", stream.ptr))),
            stream=lambda stream: nullcontext(log.append(("torch's", stream.ptr))),
        ),
    )


@pytest.mark.parametrize("pointer", [0, 1])
def test_the_null_stream_of_torch_is_its_default_one(pointer):
    torch = fake_torch([])
    assert torch_stream(torch, pointer, 0).ptr == 0
    torch.cuda.ExternalStream = lambda pointer, device: (pointer, device)
    assert torch_stream(torch, 55, 1) == (55, 1)


def test_a_tensor_for_cupy_is_read_behind_torch_and_kept_from_it(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "torch", fake_torch(cupy.log))
    tensor = FakeTensor(cupy.log)
    assert CupyMemory(cupy, 0).adopt(tensor) is tensor
    assert cupy.log == [("to", "cuda:0"), ("wait", 10, 20), ("record_stream", 10), ("asarray", tensor)]


def test_an_array_of_cupy_for_torch_is_copied_and_reused_behind_that(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    torch = fake_torch(cupy.log)
    TorchMemory(torch, SimpleNamespace(index=0)).adopt(FakeArray(cupy.log, 1))
    assert cupy.log[0][0] == "to"
    assert cupy.log[0][2:] == ("copy",)
    assert cupy.log[1:] == [("record", 20), ("wait", 11, "done")]


def test_a_host_mask_goes_through_pinned_memory(torch):
    steps = []

    class Pinned(TorchMemory):
        def capturing(self):
            return False

    def pin_memory(tensor):
        steps.append("pinned")
        return SimpleNamespace(to=lambda device, non_blocking: steps.append((device, non_blocking)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "pin_memory", pin_memory)
        Pinned(torch, torch.device("cuda", 1)).adopt(np.zeros((2, 3), np.float32))
    assert steps == ["pinned", (torch.device("cuda", 1), True)]


def test_a_graph_takes_no_mask_of_this_machine(torch, monkeypatch):
    monkeypatch.setattr(TorchMemory, "capturing", lambda self: True)
    with pytest.raises(InvalidArgument, match="mask lies in this machine's memory"):
        TorchMemory(torch, torch.device("cuda", 0)).adopt(np.zeros((2, 3), np.float32))


def test_cupys_graphs_are_refused():
    CupyMemory(FakeCupy(), 0).check_capture()
    memory = CupyMemory(FakeCupy(capturing=True), 0)
    picture = SimpleNamespace(memory=memory)
    with pytest.raises(InvalidArgument, match="capture the call with tensors of torch"):
        cuda.to_device(picture)


def test_the_null_stream_is_not_asked_whether_it_is_captured():
    cupy = FakeCupy()
    cupy.cuda.get_current_stream = lambda: FakeStream(cupy.log, 0)
    assert CupyMemory(cupy, 0).capturing() is False


def test_planes_that_lie_as_pixels_are_taken_as_they_are(torch, monkeypatch):
    if emulator.unusable():
        pytest.skip(emulator.unusable())

    class OnGpu(TorchMemory):
        def stream(self):
            return 0

        def capturing(self):
            return False

    monkeypatch.setattr(
        "gpublur.arrays.gpu_memory", lambda v: OnGpu(torch, v.device) if isinstance(v, torch.Tensor) else None
    )
    editor = emulated.editor(monkeypatch)
    planes = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 30, 40), np.uint8))
    pixels = planes.to(memory_format=torch.channels_last)
    read, door = [], cuda.to_device
    monkeypatch.setattr(cuda, "to_device", lambda picture: read.append(door(picture)) or read[-1])
    for given, want in ((pixels, planes), (pixels[0], planes[0])):
        out = editor.bokeh_blur(given, 0.03)
        assert read[-1].pixels.data_ptr() == given.data_ptr()
        assert out.shape == given.shape
        assert out.stride() == given.stride()
        assert torch.equal(out, editor.bokeh_blur(want, 0.03))


# --- Pictures of this machine's memory ---


def test_threads_have_streams_of_their_own_behind_their_callers(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "torch", fake_torch(cupy.log))
    streams = transfer.Streams(cupy)
    with streams.apart():
        assert cupy.log[:2] == [("record", 10), ("wait", 101, 10)]
        assert {("enter", 101), ("wait", 101, 20), ("torch's", 101)} <= set(cupy.log)
        with streams.apart():
            assert ("enter", 102) in cupy.log
    cupy.log.clear()
    with streams.apart(after=False):
        assert not [entry for entry in cupy.log if entry[0] == "wait"]
    assert cupy.made == 102  # given back, and used again


def test_a_torch_that_does_not_work_on_gpus_is_left_alone(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "torch", fake_torch(cupy.log, initialized=False))
    with transfer.Streams(cupy).apart():
        assert "torch's" not in [entry[0] for entry in cupy.log]


def test_a_stream_is_given_back_whatever_happens():
    streams = transfer.Streams(cupy := FakeCupy())
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), streams.apart():
            raise ZeroDivisionError
    assert cupy.made == 101


class PinnedCupy:
    """As much of CuPy as pinned memory takes."""

    def __init__(self):
        self.taken, self.free = [], 0
        error = type("CUDARuntimeError", (RuntimeError,), {})
        self.cuda = SimpleNamespace(alloc_pinned_memory=self.alloc, runtime=SimpleNamespace(CUDARuntimeError=error))
        self.full = False

    def get_default_pinned_memory_pool(self):
        return SimpleNamespace(n_free_blocks=lambda: self.free, free_all_blocks=lambda: setattr(self, "free", 0))

    def alloc(self, size):
        if self.full:
            raise self.cuda.runtime.CUDARuntimeError
        self.taken.append(size)
        return bytearray(size)


def test_results_are_pinned_within_bounds(monkeypatch):
    monkeypatch.setattr(transfer, "PINNED", 5 << 20)
    cupy = PinnedCupy()
    pinned = transfer.Pinned(cupy)
    held = [pinned.empty((2 << 20,), np.uint8) for _ in range(4)]
    assert cupy.taken == [2 << 20] * 2
    view = held[0][1:]
    del held
    again = pinned.empty((1 << 19, 4), np.float16)  # what still has a view is held
    assert len(cupy.taken) == 2
    assert again.shape == (1 << 19, 4)
    del view, again
    assert pinned.empty((1 << 20, 1), np.uint16).dtype == np.uint16
    assert len(cupy.taken) == 3
    pinned.empty((9,), np.uint8)  # small
    cupy.full = True
    pinned.empty((1 << 20,), np.uint8)
    assert len(cupy.taken) == 3


def test_pinned_memory_of_many_sizes_is_given_back():
    cupy = PinnedCupy()
    cupy.free = transfer.FREE_BLOCKS + 1
    transfer.Pinned(cupy).empty((1 << 20,), np.uint8)
    assert cupy.free == 0


def test_a_download_waits_for_its_own_stream(monkeypatch):
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    array = SimpleNamespace(shape=(2, 3), dtype=np.dtype("uint8"))
    array.get = lambda out, blocking: cupy.log.append(("get", blocking)) or out.fill(7)
    assert (loader.Gpu().download(array) == 7).all()
    assert cupy.log == [("get", False), ("synchronize", 10)]


# --- Memory that is full ---


class OutOfMemoryError(RuntimeError):
    """What CuPy's and torch's errors are called, too."""


def full(times, cause=None):
    """A work that finds the memory full so many times."""
    left = [times]

    def work(device, picture):
        if left[0]:
            left[0] -= 1
            raise OutOfMemoryError if cause is None else cause from OutOfMemoryError()
        return "done"

    return pipeline.with_room(work)


def test_room_is_made_once_where_the_memory_is_full(gpus, monkeypatch):
    freed = []
    monkeypatch.setattr(gpus, "free", lambda: freed.append(gpus.current()))
    device, picture = Device("cuda:1", cuda, 1), Picture(PHOTO, planar=False)
    assert full(1)(device, picture) == "done"
    assert full(1, ValueError("the model's"))(device, picture) == "done"
    assert freed == [1, 1]
    with pytest.raises(OutOfMemory, match="device='cuda:1' has no room"):
        full(2)(device, picture)
    with pytest.raises(ValueError, match="other"):
        pipeline.with_room(lambda *_: int("other"))(device, picture)
    with pytest.raises(OutOfMemoryError):
        full(1)(Device("cpu", backends.load("cpu")[0]), picture)
    assert freed == [1, 1, 1]


def test_the_pools_of_both_libraries_are_emptied(monkeypatch):
    emptied = []
    cupy = FakeCupy()
    cupy.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: emptied.append("cupy"))
    torch = fake_torch([])
    torch.cuda.empty_cache = lambda: emptied.append("torch")
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "torch", torch)
    torch.cuda.is_current_stream_capturing = lambda: True
    loader.Gpu().free()
    assert emptied == []  # a capture forbids it
    torch.cuda.is_current_stream_capturing = lambda: False
    loader.Gpu().free()
    assert emptied == ["cupy", "torch"]
