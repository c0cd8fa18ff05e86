"""Several devices at once: a picture goes to the one with least to do, and from one that fails to another."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Any

from . import backends
from .errors import DeviceUnavailable, InvalidArgument, said

log = logging.getLogger("gpublur")

# Errors of torch and CuPy that come from CUDA itself, after which a device answers nothing else; too little memory is
# another kind, of the picture's making.
BROKEN = ("AcceleratorError", "CUDARuntimeError", "CUDADriverError")


def chosen(devices: Any) -> list[str]:
    """Return the names of devices: of a sequence of names or GPUs' numbers, or of ``"all"`` GPUs, or else the CPU.

    Raises
    ------
    InvalidArgument
        One is named twice, or is no device, or a GPU that is not there.
    DeviceUnavailable
        One cannot run here.

    Examples
    --------
    >>> chosen(["cpu"])
    ['cpu']
    """
    if isinstance(devices, str) and devices != "all":
        raise InvalidArgument(f"devices={devices!r} is not 'all' or a list of devices, such as ['cuda:0', 'cuda:1']")
    if isinstance(devices, str):
        return [f"cuda:{number}" for number in range(gpus())] or ["cpu"]
    names = [f"cuda:{each}" if isinstance(each, int) else backends.device_name(each) for each in devices]
    if not names or len(set(names)) < len(names):
        raise InvalidArgument(f"devices={devices!r} names {'a device twice' if names else 'none'}")
    for name in names:
        backends.choose(name)
        number = name.partition(":")[2]
        if number and int(number) >= gpus():
            raise InvalidArgument(f"devices: there is no {name}; the GPUs here are cuda:0 to cuda:{gpus() - 1}")
    return names


def gpus() -> int:
    """Return how many GPUs can be used."""
    try:
        backends.load("cuda")
    except DeviceUnavailable:
        return 0
    return int(sys.modules["cupy"].cuda.runtime.getDeviceCount())  # the backend has loaded it


def spread(work: Callable[..., Any], devices: Sequence[str]) -> Callable[..., Any]:
    """Return what does ``work`` with one of the ``devices`` as its ``device``, from several threads at once."""
    return Spread(work, devices) if len(devices) > 1 else partial(work, device=devices[0])


class Spread:
    """Work for several devices, from which one that fails is taken out.

    Attributes
    ----------
    busy : dict of str to int
        How much each device that works has to do.
    failed : dict of str to str
        Why another does not.
    """

    def __init__(self, work: Callable[..., Any], devices: Sequence[str]) -> None:
        self.work, self.busy = work, dict.fromkeys(devices, 0)
        self.failed: dict[str, str] = {}
        self._lock = Lock()

    def __call__(self, *args: Any) -> Any:
        """Do the work on the device with least to do; where that fails, on another.

        Raises
        ------
        DeviceUnavailable
            All have failed.
        """
        while True:
            device = self._take()
            try:
                return self.work(*args, device=device)
            except Exception as error:
                if not broken(error):
                    raise
                self._take_out(device, error)
            finally:
                self._give_back(device)

    def _take(self) -> str:
        with self._lock:
            if not self.busy:
                told = "; ".join(f"{device}: {why}" for device, why in self.failed.items())
                raise DeviceUnavailable(f"every device has failed: {told}")
            device = min(self.busy, key=self.busy.__getitem__)
            self.busy[device] += 1
            return device

    def _give_back(self, device: str) -> None:
        with self._lock:
            if device in self.busy:
                self.busy[device] -= 1

    def _take_out(self, device: str, error: Exception) -> None:
        with self._lock:
            if self.busy.pop(device, None) is not None:
                self.failed[device] = said(error)
                log.warning("%s works no more, its pictures go to others: %s", device, self.failed[device])


def broken(error: Exception) -> bool:
    """Return whether an error is of the device rather than of the picture."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, DeviceUnavailable) or not names.isdisjoint(BROKEN)
