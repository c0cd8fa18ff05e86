"""Segmentation models: the registry, and one door through which every kind of model is loaded.

Importing this package loads no torch; `load` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..edit import InvalidArgument, ModelUnavailable

if TYPE_CHECKING:
    from .network import Segmenter

__all__ = ["ModelInfo", "load", "models", "register"]

_LIBRARIES = ("torch", "segmentation_models_pytorch", "safetensors")
_OTHER_WAYS = (
    "a folder or file written by save_pretrained of segmentation_models_pytorch, a .safetensors file with its .json "
    "beside it, 'hub:owner/repo@revision', a torch module or any callable"
)


@dataclass(frozen=True)
class ModelInfo:
    """One row of the registry.

    Attributes
    ----------
    name : str
        What `load` is asked for.
    path : str
        A folder, a ``.safetensors`` file or ``"hub:owner/repo@revision"``.
    licence, trained_on : str
        The weights' licence and the data they come from, for people to read.
    """

    name: str
    path: str
    licence: str
    trained_on: str

    @property
    def size(self) -> str:
        """The weights' size as text, such as ``"5.2 MB"``; ``"unknown"`` while they are not on this disk."""
        try:
            return f"{files(self.path)[0].stat().st_size / 1e6:.1f} MB"
        except OSError:
            return "unknown"

    @property
    def status(self) -> str:
        """``"ready"``, or the reason why the model cannot be loaded now (libraries are looked for, not imported)."""
        for library in _LIBRARIES:
            if find_spec(library) is None:
                return f"{library} is not installed"
        if self.path.startswith("hub:"):
            return "not here yet: downloaded when it is first loaded"
        try:
            files(self.path)
        except FileNotFoundError as error:
            return str(error)
        return "ready"


_WEIGHTS = Path(__file__).parent / "weights"
_registry: dict[str, ModelInfo] = {
    row.name: row
    for row in [
        ModelInfo(
            name="general",
            path=str(_WEIGHTS / "general.safetensors"),
            licence="Apache-2.0",
            trained_on="photos of people, pets and things with masks (see training/), after an ImageNet encoder",
        ),
    ]
}


def models() -> list[ModelInfo]:
    """Return the registered models, the shipped ones first."""
    return list(_registry.values())


def register(
    name: str, path: str | os.PathLike[str], *, licence: str = "unknown", trained_on: str = "unknown"
) -> ModelInfo:
    """Give a model a name that `load` understands, for the life of the process.

    Parameters
    ----------
    name : str
        Letters, digits, ``_``, ``-`` and ``.``; not yet taken.
    path : str or path
        A folder, a ``.safetensors`` file or ``"hub:owner/repo@revision"``, as in `load`, which reads it.
    licence, trained_on : str, optional
        What `models` tells about it.

    Raises
    ------
    InvalidArgument
        The name is of another form, or taken.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise InvalidArgument(f"name={name!r} is not a word of letters, digits, '_', '-' and '.'")
    if name in _registry:
        raise InvalidArgument(f"name={name!r} is taken by {_registry[name].path}")
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidArgument(f"path={path!r} is not a path or 'hub:owner/repo@revision'")
    _registry[name] = ModelInfo(name, os.fspath(path), licence, trained_on)
    return _registry[name]


def load(model: str | os.PathLike[str] | Callable[..., Any], device: str = "cpu") -> Segmenter:
    """Load a segmentation model.

    Parameters
    ----------
    model : str, path or callable
        * a registered name (see `models`), such as ``"general"``, the shipped weights;
        * a folder, or the ``model.safetensors`` in it, written by ``save_pretrained`` of segmentation_models_pytorch
          (smp). The model has one class and three input channels; its output counts as logits;
        * ``NAME.safetensors`` with ``NAME.json`` beside it: a state dict (any float type; ``num_batches_tracked`` may
          be left out) and the arguments of ``smp.create_model``: ``arch``, ``encoder_name``, ...;
        * ``"hub:owner/repo@revision"``: the same two files from the Hugging Face hub (``@revision`` pins them);
        * a ``torch.nn.Module`` (moved to ``device`` and put in eval mode) or any callable. It is given one picture at
          its own size, a float32 tensor (1, 3, H, W) in [0, 1] on ``device``, and returns a float or bool mask (h, w),
          (1, h, w) or (1, 1, h, w) of any resolution in [0, 1], as a tensor or NumPy array.

        Both kinds of ``.json`` may hold ``input_size`` (the square that a photo is stretched to, default 512), ``mean``
        and ``std`` (of RGB in [0, 1], default ImageNet's). Only a ``hub:`` name reaches the network; no pickle is read.
    device : str
        As torch names it: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.

    Returns
    -------
    Segmenter
        Called with pixels, it returns their coarse mask.

    Raises
    ------
    ModelUnavailable
        The name is unknown; a file is missing, broken or of another kind; a library is missing or broken.
    DeviceUnavailable
        torch cannot use the device.
    InvalidArgument
        ``model`` or ``device`` is of another kind.
    """
    if isinstance(model, (str, os.PathLike)):
        try:
            weights, config = files(_path(model))
        except FileNotFoundError as error:
            raise ModelUnavailable(f"model={os.fspath(model)!r}: {error}") from None
        return _network(model).Network(os.fspath(model), weights, config, device)
    if callable(model):
        return _network(model).Custom(model, device)
    raise InvalidArgument(f"model={model!r} is not a registered name, {_OTHER_WAYS}")


def files(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the weights and the config that belong to a folder or a weights file; raise `FileNotFoundError`."""
    weights = Path(path)
    if weights.is_dir():
        weights /= "model.safetensors"
    if weights.suffix != ".safetensors":
        raise FileNotFoundError(f"{weights} is not a folder or a .safetensors file (pickled weights are not read)")
    config = weights.with_suffix(".json")
    if not config.is_file():
        config = weights.with_name("config.json")
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing")
    if not config.is_file():
        raise FileNotFoundError(f"{weights} has neither {weights.stem}.json nor config.json beside it")
    return weights, config


def _path(model: str | os.PathLike[str]) -> str:
    """Return where a model's files lie, having downloaded them if they are named by ``hub:``."""
    path = os.fspath(model)
    if isinstance(model, str) and model in _registry:
        path = _registry[model].path
    elif not path.startswith("hub:") and not os.path.exists(path):
        known = ", ".join(_registry)
        raise FileNotFoundError(f"no model of that name ({known}) and no such file; or give {_OTHER_WAYS}")
    return _download(path) if path.startswith("hub:") else path


def _download(name: str) -> str:
    match = re.fullmatch(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if not match:
        raise InvalidArgument(f"model={name!r} is not of the form 'hub:owner/repo@revision'")
    try:
        from huggingface_hub import snapshot_download

        wanted = ["config.json", "model.safetensors"]
        return str(snapshot_download(match[1], revision=match[2], allow_patterns=wanted))
    except Exception as error:  # no network, no such repository, no permission, a broken library: all mean "not here"
        raise ModelUnavailable(
            f"model={name!r} could not be downloaded: {type(error).__name__}: {error}. Where there is no network, put "
            "its config.json and model.safetensors in a folder and give that folder's path as model"
        ) from error


def _network(model: object) -> ModuleType:
    """Import what needs torch; a broken installation may raise anything, and becomes a named reason."""
    try:
        from . import network
    except Exception as error:
        raise ModelUnavailable(f"model={model!r} needs torch: {type(error).__name__}: {error}") from error
    return network
