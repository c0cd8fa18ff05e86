"""Devices of many pictures: each goes to the one with least to do, and from one that fails to another.

Where that is a GPU with a codec of its own, a JPEG is decoded, worked on and encoded there.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from threading import Lock
from typing import Any

from . import backends
from .checks import choice
from .errors import DeviceUnavailable, InvalidArgument, said

log = logging.getLogger("gpublur")

# Errors of torch and CuPy that come from CUDA itself, after which a device answers nothing else; too little memory is
# another kind, of the picture's making.
BROKEN = ("AcceleratorError", "CUDARuntimeError", "CUDADriverError")
CODECS = ("auto", "cpu", "gpu")


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


def coder(work: Any, device: str | None = None, codec: str = "auto") -> backends.Device | None:
    """Return the GPU that decodes and encodes the JPEG of a work's pictures, or None: the CPU does.

    Parameters
    ----------
    work
        An Editor, one of its methods, or any other callable.
    device : str, optional
        Where it is asked to work.
    codec : {"auto", "cpu", "gpu"}
        ``"auto"``: the GPU only if the work is an Editor's, which takes pixels that lie there, and the library is
        there; ``"gpu"``: it must.

    Raises
    ------
    InvalidArgument
        ``codec`` is none of these, or the work's device is no GPU.
    DeviceUnavailable
        The GPU was asked for, and cannot; the message gives the reason.
    """
    place = None if choice("codec", codec, CODECS) == "cpu" else place_of(work, device)
    if place is None and codec == "gpu":
        place = backends.choose(device or "cuda")
    if place is None:
        return None
    if not place.backend.ON_GPU:
        if codec == "gpu":
            raise InvalidArgument(f"codec='gpu' excludes device={place.name!r}")
        return None
    obstacle = place.backend.codec_obstacle(place.ordinal)
    if obstacle and codec == "gpu":
        raise DeviceUnavailable(f"codec='gpu' cannot be had on {place.name}: {obstacle}")
    log.info("JPEG is decoded and encoded on %s%s", "the CPU: " if obstacle else place.name, obstacle)
    return None if obstacle else place


def place_of(work: Any, device: str | None) -> backends.Device | None:
    """Return where an Editor, or a method of one, works; None for any other work."""
    if isinstance(work, partial):
        device, work = work.keywords.get("device", device), work.func
    editor = getattr(work, "__self__", work)
    engine_for = getattr(editor, "_engine_for", None)  # the class itself is of a higher layer
    return None if engine_for is None else engine_for(None, device, None).device


def over(
    make: Callable[[Any, Any, Any], Any], work: Any, coders: Mapping[str | None, backends.Device | None]
) -> Callable[[Any], Any]:
    """Return what makes something of an item with a ``work`` and the codec of the device that takes it.

    Parameters
    ----------
    make : callable
        Takes the item, the work, with its ``device`` where there are several, and a `jpeg.Codec` or None.
    coders : mapping
        The `coder` of each device; under None that of a work which knows its own.
    """

    def on(item: Any, device: str | None = None) -> Any:
        own, place = work if device is None else partial(work, device=device), coders[device]
        with nullcontext() if place is None else place.backend.codec(place.ordinal) as codec:
            return make(item, own, codec)

    return on if None in coders else spread(on, [name for name in coders if name is not None])


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
