"""The models that have a name, and where the files of a model lie."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument
from ..extras import install
from . import config, hub
from .onnx import without_cuda
from .published import Published

# What it takes to run each kind of file.
LIBRARIES = {
    ".safetensors": ("torch", "segmentation_models_pytorch", "safetensors"),
    ".onnx": ("onnxruntime",),
    ".pt2": ("torch",),
}
OTHER_WAYS = (
    "a folder or file written by save_pretrained of segmentation_models_pytorch, a .safetensors, .onnx or .pt2 file "
    "with its .json beside it, 'hub:owner/repo@revision', a torch module or any callable"
)


@dataclass(frozen=True)
class Trusted(os.PathLike[str]):
    """A model that may run code: what a ``.pt2`` file needs, which is a program with the rights of who loads it.

    Parameters
    ----------
    path : str or path
        As `load` takes it.

    Examples
    --------
    >>> os.fspath(Trusted("mine.pt2"))
    'mine.pt2'
    """

    path: str | os.PathLike[str]

    def __fspath__(self) -> str:
        return os.fspath(self.path)


@dataclass(frozen=True)
class ModelInfo:
    """One row of the registry.

    Attributes
    ----------
    name : str
        What `load` is asked for.
    path : str
        A folder, a weights file or ``"hub:owner/repo@revision#sha256=..."``; of a published file its URL.
    licence, trained_on : str
        The weights' licence and the data they come from, for people to read.
    category : str, optional
        Which of the network's categories it is; by default the first.
    on_cpu : str, optional
        The same network in another file, which a CPU runs instead of ``path``.
    trusted : bool
        Whether it may run code, as a ``.pt2`` file does.
    published : Published, optional
        Whose weights they are: a file that `gpublur.segmentation.fetch` downloads.
    """

    name: str
    path: str
    licence: str
    trained_on: str
    category: str | None = None
    on_cpu: str | None = None
    published: Published | None = None
    trusted: bool = False

    def file_for(self, device: str) -> str:
        """Return the path of what runs on a device, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``."""
        return self.on_cpu if device == "cpu" and self.on_cpu is not None else self.path

    @property
    def size(self) -> str:
        """The weights' size as text, such as ``"5.2 MB"``; ``"unknown"`` where nothing tells it."""
        try:
            size = self.published.bytes if self.published else files(self.path)[0].stat().st_size
        except OSError:
            return "unknown"
        return f"{size / 1e6:.1f} MB"

    @property
    def quality(self) -> str:
        """The measured mean IoU on each of some sets of photos; ``"not measured"`` where none was."""
        figures = measured().get(self.name, {})
        return ", ".join(f"{name} {iou:.3f}" for name, iou in figures.items()) or "not measured"

    @property
    def status(self) -> str:
        """``"ready"``, or the reason why the model cannot run on a CPU now."""
        return self.status_on("cpu")

    def served_by(self, device: str) -> str:
        """Return what runs the model on a device, such as ``"ONNX Runtime"``, or the reason why nothing can."""
        status = self.status_on(device)
        if status != "ready":
            return status
        suffix = Path(self.file_for(device)).suffix
        if suffix != ".onnx":
            return "torch" if suffix == ".pt2" else "torch (smp)"
        hindrance = "" if device == "cpu" else without_cuda()
        return f"ONNX Runtime, on the CPU: {hindrance}" if hindrance else "ONNX Runtime"

    def status_on(self, device: str) -> str:
        """Return ``"ready"``, or why the model cannot be loaded now (libraries are looked for, not imported)."""
        path = self.file_for(device)
        if missing := [library for library in libraries(path, device) if find_spec(library) is None]:
            how = "pip install onnxruntime" if missing == ["onnxruntime"] else install("torch")
            return f"{', '.join(missing)} not installed: {how}"
        if self.published is not None:
            return "ready" if self.published.is_here else f"not here yet: gpublur models fetch {self.name}"
        if path.startswith(hub.PREFIX):
            return "ready" if hub.here(path) else "not here yet: downloaded when it is first loaded"
        try:
            _weights, beside = files(path)
            channels = config.read(beside).categories
        except FileNotFoundError as error:
            return str(error)
        except (OSError, ValueError, TypeError) as error:
            return f"its config cannot be read: {error}"
        if self.category is not None and self.category not in channels:
            return f"its network has no output for {self.category}"
        return "ready"


_WEIGHTS = Path(__file__).parent / "weights"
_GENERAL = ModelInfo(
    name="general",
    path=str(_WEIGHTS / "general.safetensors"),
    on_cpu=str(_WEIGHTS / "general.onnx"),
    licence="Apache-2.0",
    trained_on="photos of some thirty collections and the masks that IS-Net gives them (NOTICE); ImageNet, Pascal VOC",
)
SHIPPED = {
    row.name: row for row in (_GENERAL, *(replace(_GENERAL, name=name, category=name) for name in ("products", "cars")))
}


def _published(name: str, licence: str, trained_on: str, *where: Any) -> ModelInfo:
    file = Published(*where)
    return ModelInfo(name, file.url, licence, trained_on, published=file)


_RELEASES = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"
_SALIENT = "DIS5K, DUTS, HRSOD, UHRSD, HRS10K, P3M-10k, TR-humans"
# Licences and data as the authors state them; each sum was found in two independent places.
PUBLISHED = {
    row.name: row
    for row in (
        _published(
            "isnet",
            "Apache-2.0 (xuebinqin/DIS)",
            "not stated",
            f"{_RELEASES}/isnet-general-use.onnx",
            178_648_008,
            "60920e99c45464f2ba57bee2ad08c919a52bbf852739e96947fbb4358c0d964a",
            "isnet.json",
        ),
        _published(
            "birefnet-lite",
            "MIT (ZhengPeng7/BiRefNet)",
            _SALIENT,
            "https://github.com/ZhengPeng7/BiRefNet/releases/download/v1/"
            "BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
            224_005_088,
            "5600024376f572a557870a5eb0afb1e5961636bef4e1e22132025467d0f03333",
            "birefnet.json",
        ),
        _published(
            "birefnet",
            "MIT (ZhengPeng7/BiRefNet)",
            _SALIENT,
            f"{_RELEASES}/BiRefNet-general-epoch_244.onnx",
            972_666_916,
            "58f621f00f5d756097615970a88a791584600dcf7c45b18a0a6267535a1ebd3c",
            "birefnet.json",
        ),
        _published(
            "u2net",
            "Apache-2.0 (xuebinqin/U-2-Net)",
            "DUTS",
            f"{_RELEASES}/u2net.onnx",
            175_997_641,
            "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
            "u2net.json",
        ),
        _published(
            "u2netp",
            "Apache-2.0 (xuebinqin/U-2-Net)",
            "DUTS",
            f"{_RELEASES}/u2netp.onnx",
            4_574_861,
            "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            "u2net.json",
        ),
    )
}
registered: dict[str, ModelInfo] = {}


@cache
def measured() -> dict[str, dict[str, float]]:
    """Return the quality figures of this package: for each model that was measured its mean IoU on each set."""
    figures: dict[str, dict[str, float]] = json.loads((Path(__file__).parent / "measured.json").read_text())["iou"]
    return figures


def named() -> dict[str, ModelInfo]:
    """Return the models that have a name: the shipped ones first, then other people's, then the registered ones."""
    return SHIPPED | PUBLISHED | registered


def libraries(path: str, device: str) -> tuple[str, ...]:
    """Return the libraries that a file needs on a device."""
    suffix = ".safetensors" if path.startswith(hub.PREFIX) else Path(path).suffix
    needed = LIBRARIES.get(suffix, LIBRARIES[".safetensors"])
    return needed if device == "cpu" or "torch" in needed else ("torch", *needed)


def models() -> list[ModelInfo]:
    """Return the models that have a name: the shipped ones, those that can be fetched, and the registered ones."""
    return list(named().values())


def register(
    name: str,
    path: str | os.PathLike[str],
    *,
    licence: str = "unknown",
    trained_on: str = "unknown",
    category: str | None = None,
) -> ModelInfo:
    """Give a model a name that `load` understands, for the life of the process.

    Parameters
    ----------
    name : str
        Letters, digits, ``_``, ``-`` and ``.``; not yet registered; of the models that `models` lists from the
        beginning it replaces one.
    path : str or path
        A folder, a weights file or ``"hub:owner/repo@revision"``, as in `load`, which reads it; `Trusted` or not.
    licence, trained_on : str, optional
        What `models` tells about it.
    category : str, optional
        Which of the categories that its config declares; by default the first.

    Raises
    ------
    InvalidArgument
        The name is of another form, or taken.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise InvalidArgument(f"name={name!r} is not a word of letters, digits, '_', '-' and '.'")
    if name in registered:
        raise InvalidArgument(f"name={name!r} is taken by {registered[name].path}")
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidArgument(f"path={path!r} is not a path or 'hub:owner/repo@revision'")
    trusted = isinstance(path, Trusted)
    registered[name] = ModelInfo(name, os.fspath(path), licence, trained_on, category, trusted=trusted)
    return registered[name]


def ready_category(category: str, default: object) -> bool:
    """Return whether a category of an edit has a model of its own, to be taken instead of the default one.

    A registered model of that name has; a shipped one only where its network has that output, and where the default is
    the shipped one too: whoever brings a model wants that one.
    """
    if category in registered:
        return True
    return category in SHIPPED and category != default == _GENERAL.name and SHIPPED[category].status == "ready"


def find(model: str | os.PathLike[str]) -> ModelInfo:
    """Return the row of a name, or one made for a path; raise `FileNotFoundError` where it is neither."""
    path = os.fspath(model)
    rows = named()
    if isinstance(model, str) and model in rows:
        return rows[model]
    if not path.startswith(hub.PREFIX) and not os.path.exists(path):
        raise FileNotFoundError(f"no model of that name ({', '.join(rows)}) and no such file; or give {OTHER_WAYS}")
    return ModelInfo(path, path, "unknown", "unknown", trusted=isinstance(model, Trusted))


def locate(row: ModelInfo, device: str) -> tuple[Path, Path]:
    """Return the weights and config that run on a device, having downloaded them if they are named by ``hub:``."""
    if row.published is not None:
        return row.published.files(row.name)
    path = row.file_for(device)
    found = files(hub.download(path) if path.startswith(hub.PREFIX) else path)
    if found[0].suffix == ".pt2" and not row.trusted:
        raise PermissionError(
            f"{path} is a program, which may do whatever you may; if you trust it, say so: --trust-model, or in Python "
            f"model=gpublur.segmentation.Trusted({path!r})"
        )
    return found


def files(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the weights and the config that belong to a folder or a weights file; raise `FileNotFoundError`."""
    weights = Path(path)
    if weights.is_dir():
        weights /= "model.safetensors"
    if weights.suffix not in LIBRARIES:
        kinds = ", ".join(LIBRARIES)
        raise FileNotFoundError(f"{weights} is not a folder or a {kinds} file (pickled weights are not read)")
    beside = weights.with_suffix(".json")
    if not beside.is_file():
        beside = weights.with_name("config.json")
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing")
    if not beside.is_file():
        raise FileNotFoundError(f"{weights} has neither {weights.stem}.json nor config.json beside it")
    return weights, beside
