"""Segmentation models: the registry, and one door through which every kind of model is loaded.

Importing this package loads no torch. `load` does for what torch runs: everything on a GPU, and on a CPU what is not an
ONNX file, as the shipped network is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ..checks import text
from ..errors import InvalidArgument, ModelUnavailable
from ..extras import install
from . import config, network, sharing, words
from .hub import PREFIX, download
from .published import Progress
from .registry import OTHER_WAYS, ModelInfo, Trusted, find, locate, models, ready_category, register

__all__ = ["ModelInfo", "Trusted", "check_words", "fetch", "load", "models", "ready_category", "register"]

TEXT_MODEL = "GPUBLUR_TEXT_MODEL"  # environment variable


def load(
    model: str | os.PathLike[str] | Callable[..., Any],
    device: str = "cpu",
    text_model: str | os.PathLike[str] | None = None,
) -> network.Segmenter:
    """Load a segmentation model. One file is loaded once for each device, however often it is asked for.

    Parameters
    ----------
    model : str, path or callable
        * a name (see `models`): ``"general"``, the shipped weights; ``"products"``, ``"cars"``, other outputs of the
          same network; ``"isnet"``, ``"birefnet-lite"``, ``"birefnet"``, ``"u2net"``, ``"u2netp"``, weights of other
          people, which `fetch` brings here: loading them downloads nothing;
        * a folder, or the ``model.safetensors`` in it, written by ``save_pretrained`` of segmentation_models_pytorch
          (smp). The model has three input channels; its output counts as logits;
        * ``NAME.safetensors`` with ``NAME.json`` beside it: a state dict (any float type; ``num_batches_tracked`` may
          be left out) and the arguments of ``smp.create_model``: ``arch``, ``encoder_name``, ...;
        * ``NAME.onnx`` or ``NAME.pt2`` of ``torch.export.save`` with ``NAME.json`` beside it: one
          input, float (1, 3, side, side) normalised RGB. A ``.pt2`` is code: it is refused unless you call it
          `Trusted`;
        * ``"hub:owner/repo@revision#sha256=..."``: an smp checkpoint from the Hugging Face hub (``@revision`` pins it,
          the sum of its ``model.safetensors`` is verified);
        * a ``torch.nn.Module`` (moved to ``device`` and put in eval mode) or any callable. It is given one picture at
          its own size, a float32 tensor (1, 3, H, W) in [0, 1] on ``device``, and returns a float or bool mask (h, w),
          (1, h, w) or (1, 1, h, w) of any resolution in [0, 1], as a tensor or NumPy array.

        A ``.json`` may hold ``input_size`` (the square that a photo is stretched to), ``mean`` and ``std`` (of RGB in
        [0, 1]), ``categories`` and ``kinds`` (what the channels mean), ``output`` and ``values``; docs/models.md tells
        them all. Only a ``hub:`` name reaches the network; no pickle is read but within a ``.pt2``.
    device : str
        As torch names it: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    text_model : str or path, optional
        CLIPSeg for words that name none of the model's kinds: a folder written by transformers' ``save_pretrained`` of
        the model and its processor, or ``"hub:owner/repo@revision"``. By default what the environment variable
        ``GPUBLUR_TEXT_MODEL`` says. It is loaded when such words are met.

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
        ``model``, ``device`` or ``text_model`` is of another kind.
    """
    text_model = _text_model(text_model)
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        try:
            row = find(model)
            files = locate(row, device)
        except (FileNotFoundError, PermissionError) as error:
            raise ModelUnavailable(f"model={name!r}: {error}") from None
        # The network is kept as long as a segmenter has it.
        runtime = sharing.once("network", files, device, lambda: network.loaded(name, *files, device))
        return network.Network(name, runtime, device, text_model, row.category)
    if callable(model):
        custom: network.Segmenter = network.on_torch(model, "torch_runtime").Custom(model, device, text_model)
        return custom
    raise InvalidArgument(f"model={model!r} is not a registered name, {OTHER_WAYS}")


def check_words(
    argument: str,
    prompt: str | None,
    model: Any = "general",
    text_model: str | os.PathLike[str] | None = None,
    *,
    negative: bool = False,
) -> None:
    """Raise what is wrong with words for a subject, without loading a model.

    Parameters
    ----------
    argument : str
        The words' own name, for the message.
    prompt : str, optional
        Such as ``"bottle"``, ``"the cat and the sofa"``.
    model, text_model
        As in `load`.
    negative : bool
        They say what is to go, not what is to stay.

    Raises
    ------
    PromptUnsupported
        They name none of the model's kinds, and there is no text model.
    InvalidArgument
        They are no text.
    ModelUnavailable
        The model's files cannot be found.
    """
    if prompt is None:
        return
    text(argument, prompt)
    kinds = _kinds(model)
    known, asked = words.meaning(prompt, kinds, negative=negative), _text_model(text_model) is not None
    if known is None and not asked:
        raise words.unsupported(argument, prompt, kinds)
    if known in (None, "thing") and asked and find_spec("transformers") is None:
        raise words.unsupported(argument, prompt, kinds, f"transformers is not installed: {install('text')}")


def fetch(name: str, progress: Progress | None = None) -> str:
    """Download a model, where it is not here yet.

    Parameters
    ----------
    name : str
        One of `models`, or ``"hub:owner/repo@revision#sha256=..."``.
    progress : callable, optional
        Called with the bytes that have arrived, and how many there are, while a named model is downloaded.

    Returns
    -------
    str
        The path of a named model's file; the folder of a ``hub:`` name's.

    Raises
    ------
    ModelUnavailable
        It cannot be had: the message says why, and where to put the file. Nothing is left half-written.
    """
    try:
        row = find(name)
    except FileNotFoundError as error:
        raise ModelUnavailable(f"model={name!r}: {error}") from None
    if row.published is not None:
        return str(row.published.fetch(row.name, progress))
    return str(download(row.path)) if row.path.startswith(PREFIX) else row.path


def _kinds(model: Any) -> tuple[str, ...]:
    """Return the kinds of things that a model knows, as its config says."""
    if not isinstance(model, (str, os.PathLike)):
        return ()
    try:
        return config.read(locate(find(model), "cpu")[1]).kinds
    except (OSError, ValueError, TypeError) as error:
        raise ModelUnavailable(f"model={os.fspath(model)!r}: {error}") from None


def _text_model(given: str | os.PathLike[str] | None) -> str | None:
    if given is not None and not isinstance(given, (str, os.PathLike)):
        raise InvalidArgument(f"text_model={given!r} is not a path or 'hub:owner/repo@revision'")
    return (os.fspath(given) if given is not None else os.environ.get(TEXT_MODEL)) or None
