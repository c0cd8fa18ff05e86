"""The network, its loss, and the files that it is shipped as."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from gpublur.segmentation.checkpoint import fold_norms

from .batches import Answers
from .kinds import CATEGORIES, KINDS

ARCHITECTURE = {
    "arch": "FPN",
    "encoder_name": "mobilenet_v2",
    "decoder_pyramid_channels": 96,
    "decoder_segmentation_channels": 96,
    "decoder_interpolation": "bilinear",
    "decoder_dropout": 0.1,
    "classes": len(CATEGORIES) + len(KINDS),
}
SIDE = 320  # of the pictures that it learns from
USED = 384  # of those that it is used on: small things are found better (README.md)
CONFIG = {"input_size": USED, "mean": [0.5] * 3, "std": [0.5] * 3, "categories": CATEGORIES, "kinds": KINDS}


def build(encoders: Sequence[Path] = (), init: Path | None = None) -> nn.Module:
    """Return the network, the encoder's batch norms folded into its convolutions: a fifth of the time is saved.

    Parameters
    ----------
    encoders : sequence of Path
        Each an npz of MobileNetV2's weights under torchvision's names, batch norm folded into the convolutions; later
        ones win. Of a DeepLab's own layers the first, ``aspp0``, becomes the first part of the encoder's last one.
    init : Path, optional
        Weights of an earlier run, of which every tensor that has the same shape is taken.
    """
    model = smp.create_model(encoder_weights=None, **ARCHITECTURE)
    state = model.encoder.state_dict()
    for path in encoders:
        given = {name: torch.from_numpy(value).float() for name, value in np.load(path).items()}
        features = {name: value for name, value in given.items() if name.startswith("features.")}
        if not features:
            raise click.ClickException(f"{path} holds no features.* of a MobileNetV2, but {', '.join([*given][:3])}")
        state |= features
        if "aspp0.weight" in given:
            wide = len(given["aspp0.bias"])
            state["features.18.0.weight"] = torch.cat([given["aspp0.weight"], state["features.18.0.weight"][wide:]])
            state["features.18.1.bias"] = torch.cat([given["aspp0.bias"], state["features.18.1.bias"][wide:]])
    model.encoder.load_state_dict(state)
    if init:
        own = model.state_dict()
        given = {name: value.float() for name, value in load_file(init).items()}
        fits = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
        click.echo(f"{init}: {len(fits)} of {len(given)} tensors taken")
        model.load_state_dict(fits, strict=False)
    fold_norms(model.encoder.eval())
    return model.to(memory_format=torch.channels_last)


def answer(model: nn.Module, photos: torch.Tensor) -> torch.Tensor:
    """Return the logits (n, 24, side / 4, side / 4) of photos (n, 3, side, side) in [0, 1]."""
    features = model.encoder(((photos - 0.5) / 0.5).contiguous(memory_format=torch.channels_last))
    return model.segmentation_head[0](model.decoder(features))


def enlarged(logits: torch.Tensor) -> torch.Tensor:
    """Return logits at the photo's size, exactly as the network's own last layer enlarges them when it is used."""
    return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=True)


def loss_of(logits: torch.Tensor, answers: Answers, balance: torch.Tensor) -> torch.Tensor:
    """Cross-entropies of masks and kinds, and of each mask one minus the soft intersection over union.

    The union counts p^2 + t^2 - pt, so that a soft target is best met by itself, not by the next of 0 and 1.
    ``balance`` weighs the kinds, see `Batches.balance`.
    """
    masks, kinds = logits[:, : len(CATEGORIES)].float(), logits[:, len(CATEGORIES) :].float()
    target, weight = answers.masks, answers.weights
    masks = F.avg_pool2d(enlarged(masks), 2)
    entropy = F.binary_cross_entropy_with_logits(masks, target, weight=weight) * len(CATEGORIES)
    p = masks.sigmoid()
    both = (weight * p * target).sum((2, 3))
    iou = (both + 16) / ((weight * (p * p + target * target - p * target)).sum((2, 3)) + 16)
    named = -(balance.view(-1, 1, 1) * answers.kinds * kinds.log_softmax(1)).sum(1).mean()
    return entropy + ((1 - iou).mean(0) * torch.tensor([0.5, 0.25, 0.25])).sum() + 0.5 * named


def save(model: nn.Module, out: Path) -> None:
    """Write half-precision weights and their config to the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() for name, value in unfolded(model).items() if "num_batches" not in name}
    save_file(state, out / "general.safetensors")
    (out / "general.json").write_text(json.dumps(ARCHITECTURE | CONFIG, indent=2) + "\n")


def unfolded(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the network's state under smp's names: a folded convolution's bias is that of the norm behind it."""
    state = smp.create_model(encoder_weights=None, **ARCHITECTURE).state_dict()
    for name, value in model.state_dict().items():
        if name not in state:
            block, index, leaf = name.rsplit(".", 2)
            name = f"{block}.{int(index) + 1}.{leaf}"
        state[name] = value
    return state
