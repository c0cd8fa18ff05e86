"""Models that torch runs: checkpoints, exported programs, and anybody's own module or function."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import Picture
from ..color import max_value
from ..errors import DeviceUnavailable, InvalidArgument
from . import checkpoint
from .config import Config
from .masks import Array, joined
from .network import Found, Runtime, Segmenter, Shrink, each
from .onnx import NoCuda, Onnx, OnnxOnCuda


class TorchRuntime(Runtime):
    """A network in torch: on a CPU arrays are NumPy's, on a GPU torch's on the caller's stream."""

    def __init__(self, config: Config, device: str) -> None:
        super().__init__(config)
        self.device = available(device)

    def adopt(self, array: Array) -> Array:
        return as_given(as_tensor(array).to(self.device))

    @torch.inference_mode()
    def run(self, photos: Array) -> Array:
        return as_given(self._channels(as_tensor(photos)).float())

    @abstractmethod
    def _channels(self, photos: Tensor) -> Tensor:
        """Return the channels (n, channels, h, w) of normalised photos."""


class Checkpoint(TorchRuntime):
    """A model of segmentation_models_pytorch: half precision on a GPU, whole batches, channels last."""

    def __init__(self, weights: Path, config: Config, device: str) -> None:
        super().__init__(config, device)
        self.dtype = torch.float32 if self.device.type == "cpu" else torch.float16
        self.module = checkpoint.read(weights, config).to(self.device, self.dtype)
        self.module.to(memory_format=torch.channels_last)

    def _channels(self, photos: Tensor) -> Tensor:
        photos = photos.to(self.dtype).contiguous(memory_format=torch.channels_last)
        # On a CPU as many at a time as there are threads: what stays in the caches takes a third less time.
        at_once = torch.get_num_threads() if self.device.type == "cpu" else len(photos)
        return torch.cat([self.module(part) for part in photos.split(at_once)])


class Exported(TorchRuntime):
    """A program of ``torch.export.save``. It is code as well as weights: load only what you trust."""

    def __init__(self, weights: Path, config: Config, device: str) -> None:
        super().__init__(config, device)
        program = torch.export.load(weights)
        if self.device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self.device)
        self.module = program.module()

    def _channels(self, photos: Tensor) -> Tensor:
        return each(self._output, self.config, photos)

    def _output(self, photo: Tensor) -> Tensor:
        """Return the declared output for one photo (1, 3, side, side)."""
        result: Any = self.module(photo.contiguous())
        if isinstance(result, Tensor):
            return result
        known = result if isinstance(result, Mapping) else dict(enumerate(result))
        if self.config.output not in known:
            raise ValueError(f"output={self.config.output!r} is not one of {', '.join(map(str, known))}")
        output: Tensor = known[self.config.output]
        return output


class OnnxOnGpu(TorchRuntime):
    """An ONNX file on a GPU: ONNX Runtime reads and writes the tensors' own memory, and nothing waits for it.

    A session is bound to one stream when it is made, and takes the default stream for none. So it has a stream of its
    own, whose work begins after what the caller's stream has been given so far, and which that stream then waits for:
    one copy of the weights serves every stream.
    """

    def __init__(self, weights: Path, config: Config, device: str) -> None:
        super().__init__(config, device)
        self.stream = torch.cuda.Stream(self.device)
        self.program = OnnxOnCuda(weights, config, self.stream.device_index, self.stream.cuda_stream)
        self.takes, self.gives = (getattr(torch, np.dtype(t).name) for t in (self.program.takes, self.program.gives))
        self._lock = Lock()  # one caller's work at a time between the two waits
        photo = torch.zeros(self.program.given, dtype=self.takes, device=self.device)
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        self.shape = self.program.shape(photo.data_ptr())

    def _channels(self, photos: Tensor) -> Tensor:
        photos = photos.to(self.takes).contiguous()
        results = photos.new_empty((len(photos), *self.shape), dtype=self.gives)
        caller = torch.cuda.current_stream(self.device)
        with self._lock:
            self.stream.wait_stream(caller)
            for photo, result in zip(photos, results, strict=True):
                self.program(photo.data_ptr(), result.data_ptr(), self.shape)
            caller.wait_stream(self.stream)
        channels: Tensor = joined([self.config.channels_of(result) for result in results])
        return channels


class OnnxByCpu(TorchRuntime):
    """An ONNX file for tensors on a GPU that ONNX Runtime cannot use: by way of this machine's memory."""

    def __init__(self, weights: Path, config: Config, device: str) -> None:
        super().__init__(config, device)
        self.program = Onnx(weights, config)

    def _channels(self, photos: Tensor) -> Tensor:
        return torch.from_numpy(each(self.program, self.config, photos.cpu().numpy())).to(photos.device)


def onnx(weights: Path, config: Config, device: str) -> TorchRuntime:
    """Return what runs an ONNX file for tensors on a GPU."""
    try:
        return OnnxOnGpu(weights, config, device)
    except NoCuda:
        return OnnxByCpu(weights, config, device)


KINDS: dict[str, Callable[[Path, Config, str], TorchRuntime]] = {
    ".safetensors": Checkpoint,
    ".pt2": Exported,
    ".onnx": onnx,
}


def loaded(weights: Path, config: Config, device: str) -> Runtime:
    """Return what runs a file of any kind in torch, on any stream."""
    runtime = KINDS[weights.suffix](weights, config, device)
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)  # other streams do not wait for what this one still copies or converts
    return runtime


class Custom(Segmenter):
    """Somebody's own module or function, given each picture at its own size; its masks are taken as they are."""

    def __init__(self, model: Callable[[Tensor], Any], device: str, text_model: str | None = None) -> None:
        super().__init__(getattr(model, "__name__", type(model).__name__), device, text_model)
        self.where = available(device)
        self.model = moved(model, self.where).eval() if isinstance(model, nn.Module) else model

    @torch.inference_mode()
    def _run(self, pictures: Sequence[Picture], shrink: Shrink) -> list[Found]:
        photos = (photo for picture in pictures for photo in whole(picture, self.where))
        return [Found(as_given(plane(self.name, self.model(photo), self.where))) for photo in photos]


def moved(module: nn.Module, device: torch.device) -> nn.Module:
    """Return a module on a device: itself, or a copy where another GPU works with it already."""
    elsewhere = {one.device for one in module.parameters() if one.is_cuda} - {device}
    return (deepcopy(module) if elsewhere else module).to(device)


def whole(picture: Picture, device: torch.device) -> list[Tensor]:
    """Return float copies (1, 3, H, W) in [0, 1] of pictures, so that nothing a model does reaches the caller."""
    pixels = as_tensor(np.array(picture.pixels) if isinstance(picture.pixels, np.ndarray) else picture.pixels)
    pixels = pixels if picture.planar else pixels.movedim(-1, -3)
    colour = pixels.reshape(-1, *pixels.shape[-3:])[:, :3]
    return [
        one[None].expand(1, 3, -1, -1).to(device, torch.float32, copy=True).contiguous().div_(max_value(picture.dtype))
        for one in colour
    ]


def plane(name: str, result: Any, device: torch.device) -> Tensor:
    """Return a copy of a model's result as a float32 tensor (h, w) on a device.

    It is a copy because a model may write its next result into the same memory.

    Raises
    ------
    InvalidArgument
        The result cannot be a mask.
    """
    said = f"model={name!r} returned"
    if not isinstance(result, (np.ndarray, Tensor)):
        raise InvalidArgument(f"{said} a {type(result).__name__}, not a tensor or NumPy array")
    mask = result if isinstance(result, Tensor) else torch.from_numpy(np.array(result))
    if mask.ndim not in (2, 3, 4) or any(n != 1 for n in mask.shape[:-2]) or 0 in mask.shape:
        raise InvalidArgument(f"{said} shape {tuple(mask.shape)}, not (h, w), (1, h, w) or (1, 1, h, w)")
    if not (mask.is_floating_point() or mask.dtype == torch.bool):
        raise InvalidArgument(f"{said} dtype {mask.dtype}, not a float or bool")
    return mask.reshape(mask.shape[-2:]).to(device, torch.float32, copy=isinstance(result, Tensor))


def as_tensor(array: Any) -> Tensor:
    """Return a tensor over the memory of an array, where that lies."""
    if isinstance(array, Tensor):
        return array
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else torch.from_dlpack(array)


def as_given(tensor: Tensor) -> Array:
    """Return a tensor as the array that goes on from here: NumPy's in this machine's memory, else itself."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def available(device: str) -> torch.device:
    """Return the device, having seen that torch can allocate there."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidArgument(f"device={device!r} is not 'cpu', 'cuda' or 'cuda:N'") from error
    try:
        torch.empty(1, device=found)
    except Exception as error:  # torch raises AssertionError, RuntimeError or its own kinds here
        raise DeviceUnavailable(f"device={device!r} cannot be used by torch: {error}") from error
    return found
