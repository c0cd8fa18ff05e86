"""Reading a model of segmentation_models_pytorch (smp) from its two files, which may come from anybody."""

from __future__ import annotations

import inspect
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from .config import Config


def read(weights: Path, config: Config) -> nn.Module:
    """Build an smp model, ready to run; whatever is wrong is raised as it comes.

    Parameters
    ----------
    weights : Path
        A state dict; any float type.
    config : Config
        Its ``others`` are the arguments of ``smp.create_model``.

    Returns
    -------
    torch.nn.Module
        In eval mode; (n, 3, side, side) normalised RGB in, (n, channels, h, w) logits out.
    """
    import segmentation_models_pytorch as smp
    from safetensors.torch import load_file

    arguments = _arguments(config, smp.MODEL_ARCHITECTURES_MAPPING)
    state = load_file(weights)
    with torch.random.fork_rng(devices=[]):  # the first, random weights must not advance the caller's generator
        with torch.device("meta"), Shapes():  # a config may describe a network of any size: does it fit the weights?
            smp.create_model(**arguments).load_state_dict(state, assign=True)
        model = smp.create_model(**arguments)
    model.load_state_dict(state)  # strict, but torch itself fills in missing num_batches_tracked
    model.classification_head = None  # its label is not asked for
    model.check_input_shape(torch.empty(1, 3, config.input_size, config.input_size, device="meta"))
    return fold_norms(model.eval())


class Shapes(TorchFunctionMode):
    """Lets a network be built of shapes alone that looks at some numbers: those are made."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = {"device": "cpu"} if function is torch.linspace else {}
        return function(*args, **(kwargs or {}) | device)


def _arguments(config: Config, architectures: dict[str, Any]) -> dict[str, Any]:
    """Return what `smp.create_model` is to be called with: a config is foreign data, so nothing unknown passes."""
    settings = dict(config.others)
    arch = settings.pop("arch", None) or settings.pop("_model_class", None)
    if not isinstance(arch, str) or arch.lower() not in architectures:
        raise ValueError(f"arch (or _model_class) {arch!r} is not one of {', '.join(architectures)}")
    encoder = settings.get("encoder_name")
    if not isinstance(encoder, str) or not re.fullmatch(r"[\w.-]+", encoder):  # timm downloads from "hf-hub:..."
        raise ValueError(f"encoder_name={encoder!r} is not the name of an encoder")
    if settings.get("in_channels", 3) != 3:
        raise ValueError(f"in_channels={settings['in_channels']!r}, but only 3 can be used")
    if settings.get("classes", 1) != config.channels:
        named = f"{len(config.categories)} categories and {len(config.kinds)} kinds are named"
        raise ValueError(f"classes={settings.get('classes', 1)!r}, but {named}, which makes {config.channels}")
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
