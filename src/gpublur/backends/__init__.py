"""Choose where to work: an ordered list of backends, each with the reason why it cannot run here."""

from __future__ import annotations

import importlib
import logging
import re
import sys
from functools import cache
from typing import Any, NamedTuple, cast

from ..errors import DeviceUnavailable, InvalidArgument
from .base import Backend

log = logging.getLogger("gpublur")

BACKENDS = ("cuda", "cpu")  # best first; each is a package in this one, whose `ops` is a `Backend`
NUMBERED = re.compile(r"cuda:\d+", re.ASCII)
_usable: set[str] = set()  # those that have been seen to be


def reasons() -> list[tuple[str, bool, str]]:
    """Return (name, usable, reason) for every backend, best first; a broken library is a reason, never a crash."""
    found = []
    for name in BACKENDS:
        try:
            found.append((name, True, load(name)[1]))
        except DeviceUnavailable as error:
            found.append((name, False, str(error)))
    return found


def load(name: str) -> tuple[Backend, str]:
    """Return a backend and what it runs on; raise `DeviceUnavailable` with the reason why it cannot."""
    try:
        backend = cast(Backend, importlib.import_module(f"{__name__}.{name}.ops"))
        description = backend.describe()
        _usable.add(name)
        return backend, description
    except DeviceUnavailable as error:
        raise DeviceUnavailable(f"device={name!r} cannot run here: {error}") from error
    except Exception as error:  # whatever a broken dependency raises
        raise DeviceUnavailable(f"device={name!r} cannot run here: {type(error).__name__}: {error}") from error


class Device(NamedTuple):
    """Where to work.

    Attributes
    ----------
    name : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    backend : Backend
    ordinal : int, optional
        Of the GPU; None: the current one, or wherever a picture lies.
    """

    name: str
    backend: Backend
    ordinal: int | None = None


def device_name(device: Any) -> str:
    """Return what a caller gave as a device by its name: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Examples
    --------
    >>> device_name("cuda:1")
    'cuda:1'
    """
    library = type(device).__module__.partition(".")[0]
    name = f"cuda:{device.id}" if library == "cupy" else str(device) if library == "torch" else device
    if isinstance(name, str) and (name in ("auto", *BACKENDS) or NUMBERED.fullmatch(name)):
        return name
    known = ", ".join(map(repr, ("auto", *BACKENDS)))
    raise InvalidArgument(
        f"device={device!r} is not one of {known}, one GPU of several such as 'cuda:1', or an object "
        "of torch or CuPy that names one"
    )


def choose(device: Any) -> Device:
    """Return the device that was asked for, or for ``"auto"`` the best that can run.

    Raises
    ------
    InvalidArgument
        It names no device, or a GPU that is not there.
    DeviceUnavailable
        Naming the reason, or for ``"auto"`` the reasons of all.
    """
    name = device_name(device)
    if name != "auto":
        kind, _, number = name.partition(":")
        return Device(name, load(kind)[0], int(number) if number else None)
    refused: list[str] = []
    for name in BACKENDS:
        try:
            backend, description = load(name)
        except DeviceUnavailable as error:
            refused.append(str(error))
        else:
            _log_once(f"device='auto' took {name} ({description})" + "".join(f"; {why}" for why in refused))
            return Device(name, backend)
    raise DeviceUnavailable("no device can run here: " + "; ".join(refused))


def threads() -> int:
    """Return how many threads the calling thread may use: Numba's number, which `share` sets."""
    import numba

    return int(numba.get_num_threads())


def current_gpu() -> int | None:
    """Return the current GPU of the calling thread, or None where nothing has asked for one."""
    return _gpu().current() if "cuda" in _usable else None


def share(callers: int, gpu: int | None = None) -> None:
    """Leave the calling thread its share of the CPUs, where ``callers`` threads work at once, on the current GPU."""
    if gpu is not None:
        _gpu().use(gpu)  # a new thread's is the first one
    numba = sys.modules.get("numba")  # not loaded: nothing here runs on the CPU
    if numba is not None:
        numba.set_num_threads(max(numba.config.NUMBA_NUM_THREADS // callers, 1))  # of this thread alone


def codec_told() -> str:
    """Return in words what decodes and encodes JPEG of many pictures; of the GPU if `reasons` found one."""
    obstacle = load("cuda")[0].codec_obstacle(None) if "cuda" in _usable else "no GPU is usable"
    return f"on the CPU ({obstacle})" if obstacle else "on the GPU, by nvImageCodec; what that cannot do on the CPU"


def _gpu() -> Any:
    return importlib.import_module(f"{__name__}.cuda.loader").gpu()


@cache
def _log_once(message: str) -> None:
    log.info(message)
