"""Choose where the verbs run: an ordered list of backends, each with the reason why it cannot run here."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType

from ..edit import DeviceUnavailable, choice

log = logging.getLogger("gpublur")

BACKENDS = ("cpu",)  # best first; each is a module of this package


def reasons() -> list[tuple[str, bool, str]]:
    """Return (name, usable, reason) for every backend, best first; a broken library is a reason, never a crash."""
    found = []
    for name in BACKENDS:
        try:
            module = load(name)
        except DeviceUnavailable as error:
            found.append((name, False, str(error)))
        else:
            found.append((name, True, (module.__doc__ or "").partition(":")[0]))
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
    refused = []
    for name, usable, reason in reasons():
        if usable:
            log.info("device='auto' took %s%s", name, "".join(f"; {why}" for why in refused))
            return name, load(name)
        refused.append(reason)
    raise DeviceUnavailable("no device can run here: " + "; ".join(refused))
