"""ONNX files, run by ONNX Runtime: the shipped network on a CPU, and anybody's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import backends
from .config import Config

FLOATS: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Signature(NamedTuple):
    """What a session takes and gives: the names of its input and of the declared output, and their types."""

    input: str
    takes: type[np.floating[Any]]
    output: str
    gives: str


class NoCuda(RuntimeError):
    """ONNX Runtime cannot run on a GPU here."""


class Onnx:
    """A network in an ONNX file on the CPU: one photo (1, 3, side, side) in, its declared output out.

    Raises
    ------
    ValueError
        The file does not take what the config declares.
    """

    def __init__(self, weights: Path, config: Config) -> None:
        self.weights = weights
        self._sessions: dict[int, Any] = {}
        self._lock = Lock()
        self._signature = signature(self._session(), config)

    def __call__(self, photo: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the declared output, float32, for one photo (1, 3, side, side)."""
        name, takes, output, _gives = self._signature
        [result] = self._session().run([output], {name: photo.astype(takes, copy=False)})
        return np.asarray(result, np.float32)

    def _session(self) -> Any:
        """Return a session with as many threads as the caller may use: their number is fixed when it is made."""
        threads = backends.threads()
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = self._load(threads)
            return self._sessions[threads]

    def _load(self, threads: int) -> Any:
        return session(self.weights, [CPU], threads)


class OnnxOnCuda:
    """A network in an ONNX file on a GPU: reads and writes memory that others own there, on one stream.

    Parameters
    ----------
    device : int
        The GPU's ordinal.
    stream : int
        A ``cudaStream_t``, on which all work is put. Not 0, which ONNX Runtime takes for none.

    Raises
    ------
    NoCuda
        ONNX Runtime's build has no CUDA provider, or that cannot work here.
    ValueError
        The file does not take what the config declares, or gives anything but float32 or float16.
    """

    def __init__(self, weights: Path, config: Config, device: int, stream: int) -> None:
        if hindrance := without_cuda():
            raise NoCuda(hindrance)
        import onnxruntime

        options = {
            "device_id": str(device),
            "user_compute_stream": str(stream),
            "arena_extend_strategy": "kSameAsRequested",  # by default up to twice as much, and others need it
        }
        self.device, self._session = device, session(weights, [(CUDA, options), CPU], backends.threads())
        if CUDA not in self._session.get_providers():  # a library is missing: it goes on with the rest
            raise NoCuda("ONNX Runtime's CUDA provider cannot be loaded")
        name, takes, output, gives = signature(self._session, config)
        if gives not in FLOATS:
            raise ValueError(f"its output {output} is {gives}, not float32 or float16")
        self.input, self.takes, self.output, self.gives = name, takes, output, FLOATS[gives]
        self.given = (1, 3, config.input_size, config.input_size)
        self._no_wait = onnxruntime.RunOptions()
        self._no_wait.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def shape(self, photo: int) -> tuple[int, ...]:
        """Return the shape of the output for the photo at an address, having run once and waited for that."""
        binding = self._bound(photo)
        binding.bind_output(self.output, "cuda", self.device)  # in memory of ONNX Runtime's
        self._session.run_with_iobinding(binding)
        return tuple(binding.get_outputs()[0].shape())

    def __call__(self, photo: int, result: int, shape: tuple[int, ...]) -> None:
        """Put on the stream what reads the photo at one address, and writes the output at another."""
        binding = self._bound(photo)
        binding.bind_output(self.output, "cuda", self.device, self.gives, shape, result)
        self._session.run_with_iobinding(binding, self._no_wait)

    def _bound(self, photo: int) -> Any:
        binding = self._session.io_binding()
        binding.bind_input(self.input, "cuda", self.device, self.takes, self.given, photo)
        return binding


def session(weights: Path, providers: Sequence[Any], threads: int) -> Any:
    """Return a session that runs in the first of some providers that can."""
    onnxruntime = _library()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised as well
    options.intra_op_num_threads = threads
    # Threads that wait actively for more work would take the CPUs from the blur's.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(weights), options, providers=providers)


def signature(session: Any, config: Config) -> Signature:
    """Return what a session takes and gives; raise `ValueError` where that is not what the config declares."""
    inputs, outputs = session.get_inputs(), {output.name: output.type for output in session.get_outputs()}
    if len(inputs) != 1 or inputs[0].type not in FLOATS:
        found = ", ".join(f"{one.name} {one.type}" for one in inputs)
        raise ValueError(f"its inputs are {found}, not one photo of float32 or float16")
    name, side, shape = inputs[0].name, config.input_size, inputs[0].shape
    if len(shape) != 4 or any(isinstance(n, int) and n != m for n, m in zip(shape, (1, 3, side, side), strict=True)):
        raise ValueError(f"its input {name} has shape {shape}, not (1, 3, {side}, {side}), as input_size says")
    known = dict(enumerate(outputs)) | {name: name for name in outputs}
    if config.output not in known:
        raise ValueError(f"output={config.output!r} is not one of {', '.join(outputs)}")
    output = known[config.output]
    return Signature(name, FLOATS[inputs[0].type], output, outputs[output])


def without_cuda() -> str:
    """Return why ONNX Runtime cannot use a GPU; empty where its build can."""
    if CUDA in _library().get_available_providers():
        return ""
    return "its build has no CUDA provider (onnxruntime-gpu has)"


def _library() -> Any:
    # Unless told not to it reports its use to its makers (1.32), and keeps a file for that in the user's cache.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
