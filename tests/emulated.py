"""The CUDA backend on a machine without a GPU: its own host code and kernels, emulated; NumPy arrays for CuPy's."""

from contextlib import nullcontext

import emulator
import numpy as np

from gpublur.api import Editor
from gpublur.backends import Device
from gpublur.backends.cuda import loader
from gpublur.backends.cuda import ops as cuda
from gpublur.memory import Memory


class EmulatedMemory(Memory):
    """NumPy arrays that stand for a GPU's. What nobody wrote is not a number, or a glaring 0xCD."""

    on_gpu = True

    def empty(self, shape, dtype):
        out = np.empty(shape, dtype)
        out.view(np.uint8).fill(0xFF if out.dtype.kind == "f" else 0xCD)
        return out

    def scratch(self, room):
        """Buffers apart from each other, so that what is written beside one is seen; gpu_check's sanitizer, too."""
        buffers = [self.empty((size,), "float32") for size in room.sizes.values()]
        return buffers, np.array([self.address(buffer) for buffer in buffers], np.uint64)

    def adopt(self, array):
        return np.array(array) if isinstance(array, np.ndarray) and not array.flags.writeable else np.asarray(array)


class EmulatedGpu:
    """What `loader.Gpu` is, with kernels that run at once."""

    def __init__(self, sanitize=False):
        self.sanitize, self.modules, self.launches = sanitize, {}, []

    def launch(self, source, entry, grid, block, args, shared, stream):
        if source not in self.modules:
            self.modules[source] = emulator.Module(loader.folder() / f"{source}.cu", sanitize=self.sanitize)
        function = self.modules[source].get_function(entry)
        if shared > loader.DEFAULT_SHARED:
            function.max_dynamic_shared_size_bytes = shared
        self.launches.append(entry)
        function(grid, block, args, shared_mem=shared)

    def warmup(self):
        pass

    def memory(self):
        return EmulatedMemory()

    def download(self, array):
        return array

    def on(self, device):
        return nullcontext()

    def apart(self, after=True):
        return nullcontext()

    def wait(self):
        pass

    wait_for_all = free = wait

    def current(self):
        return 0

    def describe(self):
        return "emulator"


class Emulated:
    """The operations of `cuda`, with models on the CPU."""

    def model_device(self):
        return "cpu"

    def __getattr__(self, name):
        return getattr(cuda, name)


def editor(monkeypatch, model="general", sanitize=False):
    """Return an Editor whose GPU is emulated, for as long as the patch holds."""
    gpu = EmulatedGpu(sanitize)
    monkeypatch.setattr(loader, "gpu", lambda: gpu)
    out = Editor(device="cpu", model=model)
    out._engine.device = Device("emulated", Emulated())
    return out
