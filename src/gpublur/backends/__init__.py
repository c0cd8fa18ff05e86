"""Choose where the verbs run: an ordered list of backends, each with the reason why it cannot run here."""

from __future__ import annotations

import importlib
import logging
from contextlib import AbstractContextManager, nullcontext
from threading import RLock
from types import ModuleType
from typing import Any

from ..edit import DeviceUnavailable, choice

log = logging.getLogger("gpublur")

BACKENDS = ("cpu",)  # best first; each is a module of this package

_one_at_a_time = RLock()


def reasons() -> list[tuple[str, bool, str]]:
    """Return (name, usable, reason) for every backend, best first; a broken library is a reason, never a crash."""
    found = []
    for name in BACKENDS:
        try:
            module = load(name)
        except DeviceUnavailable as error:
            found.append((name, False, str(error)))
        else:
            found.append((name, True, module.describe()))
    return found


def load(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"{__name__}.{name}")
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
        return device, load(device)
    refused: list[str] = []
    for name, usable, reason in reasons():
        if usable:
            log.info("device='auto' took %s%s", name, "".join(f"; {why}" for why in refused))
            return name, load(name)
        refused.append(reason)
    raise DeviceUnavailable("no device can run here: " + "; ".join(refused))


def turn(name: str) -> AbstractContextManager[Any]:
    """Return what a caller holds while a backend's threads work for it: nothing, or a lock of the whole process.

    Numba takes its threads from TBB or OpenMP, which serve several Python threads at once. Where neither is there, or
    NUMBA_THREADING_LAYER says so, its own 'workqueue' does, and that ends the process at a second caller.
    """
    if name != "cpu":
        return nullcontext()
    import numba

    numba.get_num_threads()  # starts the threads, by which the layer is chosen
    return _one_at_a_time if numba.threading_layer() == "workqueue" else nullcontext()
