"""ONNX files, run by ONNX Runtime: the shipped network on a CPU, and anybody's own."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import backends
from .config import Config

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Onnx:
    """A network in an ONNX file: one photo of (1, 3, side, side) float32 or float16 in, its declared output out.

    Parameters
    ----------
    gpu : bool
        Run on CUDA where ONNX Runtime's build can; else on the CPU.

    Raises
    ------
    ValueError
        The file does not take what the config declares.
    """

    def __init__(self, weights: Path, config: Config, gpu: bool = False) -> None:
        self.weights, self.config, self.gpu = weights, config, gpu
        self._sessions: dict[int, Any] = {}
        self._lock = Lock()
        session = self._session()
        inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
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

    def __call__(self, photo: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the declared output, float32, for one photo (1, 3, side, side)."""
        [result] = self._session().run([self.output], {self.input: photo.astype(self.dtype, copy=False)})
        return np.asarray(result, np.float32)

    def _session(self) -> Any:
        """Return a session with as many threads as the caller may use: their number is fixed when it is made."""
        threads = backends.threads()
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = self._load(threads)
            return self._sessions[threads]

    def _load(self, threads: int) -> Any:
        # Unless told not to it reports its use to its makers (1.32), and keeps a file for that in the user's cache.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; they are raised as well
        options.intra_op_num_threads = threads
        # Threads that wait actively for more work would take the CPUs from the blur's.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = ["CPUExecutionProvider"]
        if self.gpu and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            wanted.insert(0, "CUDAExecutionProvider")
        return onnxruntime.InferenceSession(str(self.weights), options, providers=wanted)
