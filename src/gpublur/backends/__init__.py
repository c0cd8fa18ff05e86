"""Choose where the verbs run: an ordered list of backends, each with the reason why it cannot run here."""

from __future__ import annotations

import importlib
import logging
import sys
from functools import cache
from types import ModuleType

from ..edit import DeviceUnavailable, choice

log = logging.getLogger("gpublur")

BACKENDS = ("cuda", "cpu")  # best first; each is a module of this package


def reasons() -> list[tuple[str, bool, str]]:
    """Return (name, usable, reason) for every backend, best first; a broken library is a reason, never a crash."""
    found = []
    for name in BACKENDS:
        try:
            found.append((name, True, load(name)[1]))
        except DeviceUnavailable as error:
            found.append((name, False, str(error)))
    return found


def load(name: str) -> tuple[ModuleType, str]:
    """Return a backend and what it runs on; raise `DeviceUnavailable` with the reason why it cannot."""
    try:
        backend = importlib.import_module(f"{__name__}.{name}")
        return backend, backend.describe()
    except DeviceUnavailable as error:
        raise DeviceUnavailable(f"device={name!r} cannot run here: {error}") from error
    except Exception as error:  # whatever a broken dependency raises
        raise DeviceUnavailable(f"device={name!r} cannot run here: {type(error).__name__}: {error}") from error


def choose(device: str) -> tuple[str, ModuleType]:
    """Return the name and module of a backend: the one asked for, or for ``"auto"`` the best that can run.

    Raises
    ------
    DeviceUnavailable
        Naming the reason, or for ``"auto"`` the reasons of all.
    """
    choice("device", device, ("auto", *BACKENDS))
    if device != "auto":
        return device, load(device)[0]
    refused: list[str] = []
    for name in BACKENDS:
        try:
            backend, description = load(name)
        except DeviceUnavailable as error:
            refused.append(str(error))
        else:
            _log_once(f"device='auto' took {name} ({description})" + "".join(f"; {why}" for why in refused))
            return name, backend
    raise DeviceUnavailable("no device can run here: " + "; ".join(refused))


def threads() -> int:
    """Return how many threads the calling thread may use: Numba's number, which `share` sets."""
    import numba

    return int(numba.get_num_threads())


def share(callers: int) -> None:
    """Leave the calling thread its share of the CPUs, where ``callers`` threads work at once."""
    numba = sys.modules.get("numba")  # not loaded: nothing here runs on the CPU
    if numba is not None:
        numba.set_num_threads(max(numba.config.NUMBA_NUM_THREADS // callers, 1))  # of this thread alone


@cache
def _log_once(message: str) -> None:
    log.info(message)
