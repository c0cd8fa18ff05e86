"""Networks that are whole programs, ONNX or exported by torch. They get one photo at a time, as most are exported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .config import Config

DECLARED = ("input_size", "mean", "std", "values")  # nobody can guess them of a program
FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def read(weights: Path, beside: Path, config: Config, device: torch.device) -> Program:
    """Load a program, ready to run; whatever is wrong is raised as it comes."""
    missing = [key for key in DECLARED if key not in config.given]
    if missing:
        raise ValueError(f"{beside.name} does not declare {', '.join(missing)}")
    if config.others:
        raise ValueError(f"{', '.join(sorted(config.others))} in {beside.name} means nothing for a program")
    return (Onnx if weights.suffix == ".onnx" else Exported)(weights, config, device)


class Program(ABC):
    """A loaded program: (n, 3, side, side) normalised RGB in, (n, channels, h, w) out."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(self, photos: Tensor) -> Tensor:
        return torch.cat([self._channels(self._run(photo[None].contiguous())) for photo in photos]).to(photos.device)

    @abstractmethod
    def _run(self, photo: Tensor) -> Tensor:
        """Return the declared output for one photo (1, 3, side, side)."""

    def _channels(self, result: Tensor) -> Tensor:
        """Return a result as (1, channels, h, w)."""
        shape = tuple(result.shape)
        planes = result.reshape(-1, *shape[-2:])[None] if len(shape) in (2, 3, 4) else result
        if planes.ndim != 4 or planes.shape[1] != self.config.channels:
            wanted = f"{self.config.channels} channel{'s' * (self.config.channels > 1)}"
            raise ValueError(f"output {self.config.output!r} has shape {shape}, not (1, {wanted}, h, w)")
        return planes


class Onnx(Program):
    """An ONNX file, run by ONNX Runtime: on CUDA where its build can, else on the CPU."""

    def __init__(self, weights: Path, config: Config, device: torch.device) -> None:
        super().__init__(config)
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f"{error}: pip install 'gpublur[onnx]'") from error

        wanted = ["CPUExecutionProvider"]
        if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            wanted.insert(0, "CUDAExecutionProvider")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; they are raised as well
        self.session = onnxruntime.InferenceSession(str(weights), options, providers=wanted)
        inputs, outputs = self.session.get_inputs(), [output.name for output in self.session.get_outputs()]
        if len(inputs) != 1 or inputs[0].type not in FLOATS:
            found = ", ".join(f"{one.name} {one.type}" for one in inputs)
            raise ValueError(f"its inputs are {found}, not one photo of float32 or float16")
        self.input, self.dtype = inputs[0].name, FLOATS[inputs[0].type]
        side, shape = config.input_size, inputs[0].shape
        if len(shape) != 4 or any(
            isinstance(n, int) and n != m for n, m in zip(shape, (1, 3, side, side), strict=True)
        ):
            raise ValueError(
                f"its input {self.input} has shape {shape}, not (1, 3, {side}, {side}), as input_size says"
            )
        known = dict(enumerate(outputs)) | {name: name for name in outputs}
        if config.output not in known:
            raise ValueError(f"output={config.output!r} is not one of {', '.join(outputs)}")
        self.output = known[config.output]

    def _run(self, photo: Tensor) -> Tensor:
        [result] = self.session.run([self.output], {self.input: photo.cpu().numpy().astype(self.dtype)})
        return torch.from_numpy(result).float()


class Exported(Program):
    """A program of ``torch.export.save``. It is code as well as weights: load only what you trust."""

    def __init__(self, weights: Path, config: Config, device: torch.device) -> None:
        super().__init__(config)
        program = torch.export.load(weights)
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        self.module = program.module()

    def _run(self, photo: Tensor) -> Tensor:
        result: Any = self.module(photo)
        if not isinstance(result, Tensor):
            known = result if isinstance(result, Mapping) else dict(enumerate(result))
            if self.config.output not in known:
                raise ValueError(f"output={self.config.output!r} is not one of {', '.join(map(str, known))}")
            result = known[self.config.output]
        return result.float()
