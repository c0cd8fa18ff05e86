"""Reading a model of segmentation_models_pytorch (smp) from its two files, which may come from anybody."""

from __future__ import annotations

import inspect
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..edit import ModelUnavailable

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INPUT_SIZE = 512  # where a config says nothing: a usual crop in training


def read(name: str, weights: Path, config: Path) -> tuple[nn.Module, int, list[float], list[float]]:
    """Build an smp model from its two files (see `load`), ready to run.

    Parameters
    ----------
    name : str
        For messages.
    weights, config : Path
        As `files` finds them.

    Returns
    -------
    model : torch.nn.Module
        In eval mode; (n, 3, side, side) normalised RGB in, (n, 1, h, w) logits out.
    side : int
        Of the input square, pixels.
    mean, std : list of 3 floats
        Of RGB in [0, 1].

    Raises
    ------
    ModelUnavailable
        With the reason.
    """
    try:
        import segmentation_models_pytorch as smp
        from safetensors.torch import load_file

        settings = json.loads(config.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError(f"{config.name} is not an object")
        side, mean, std = _input(settings)
        with torch.random.fork_rng(devices=[]):  # the first, random weights must not advance the caller's generator
            model = smp.create_model(**_arguments(settings, smp.MODEL_ARCHITECTURES_MAPPING))
        model.load_state_dict(load_file(weights))  # strict, but torch itself fills in missing num_batches_tracked
        model.classification_head = None  # its label is not asked for
        model.check_input_shape(torch.empty(1, 3, side, side, device="meta"))
    except Exception as error:  # foreign files and libraries can fail in any way; the reason is what matters
        reason = f"{type(error).__name__}: {error}"
        reason = reason if len(reason) < 500 else reason[:500] + " ..."
        raise ModelUnavailable(f"model={name!r} cannot be loaded from {weights}: {reason}") from error
    return fold_norms(model.eval()), side, mean, std


def _input(settings: dict[str, Any]) -> tuple[int, list[float], list[float]]:
    """Take our own keys (input_size, mean, std) out of a config."""
    side = settings.pop("input_size", INPUT_SIZE)
    mean, std = settings.pop("mean", IMAGENET_MEAN), settings.pop("std", IMAGENET_STD)
    if type(side) is not int or not 32 <= side <= 4096:
        raise ValueError(f"input_size={side!r} is not an integer in [32, 4096]")
    for key, values in (("mean", mean), ("std", std)):
        if len(values) != 3 or not all(math.isfinite(value) for value in values) or (key == "std" and min(values) <= 0):
            raise ValueError(f"{key}={values!r} is not three {'positive ' * (key == 'std')}numbers")
    return side, list(mean), list(std)


def _arguments(settings: dict[str, Any], architectures: dict[str, Any]) -> dict[str, Any]:
    """Return what `smp.create_model` is to be called with: a config is foreign data, so nothing unknown passes."""
    arch = settings.pop("arch", None) or settings.pop("_model_class", None)
    if not isinstance(arch, str) or arch.lower() not in architectures:
        raise ValueError(f"arch (or _model_class) {arch!r} is not one of {', '.join(architectures)}")
    encoder = settings.get("encoder_name")
    if not isinstance(encoder, str) or not re.fullmatch(r"[\w.-]+", encoder):  # timm downloads from "hf-hub:..."
        raise ValueError(f"encoder_name={encoder!r} is not the name of an encoder")
    for key, expected in (("classes", 1), ("in_channels", 3)):
        if settings.get(key, expected) != expected:
            raise ValueError(f"{key}={settings[key]!r}, but only {expected} can be used")
    if settings.get("activation") not in (None, "identity", "sigmoid"):
        raise ValueError(f"activation={settings['activation']!r} is not null, 'identity' or 'sigmoid'")
    # Other keys would reach timm, which takes paths and addresses.
    unknown = settings.keys() - inspect.signature(architectures[arch.lower()].__init__).parameters.keys()
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} is no argument of {arch}")
    return settings | {"arch": arch, "encoder_weights": None, "activation": None}


def fold_norms(model: nn.Module) -> nn.Module:
    """Fold every batch norm that directly follows a convolution in an ``nn.Sequential`` into it, in place.

    Statistics are fixed in eval mode, so the result is the same to rounding, and a fifth of the time is saved.
    """
    for block in list(model.modules()):
        if type(block).forward is nn.Sequential.forward:
            children = list(block.named_children())
            for (before, conv), (after, norm) in pairwise(children):
                if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                    setattr(block, before, fuse_conv_bn_eval(conv, norm))
                    setattr(block, after, nn.Identity())
    return model
