"""The network, its loss, and the files that it is shipped as."""

import json
from pathlib import Path

import click
import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from .batches import Answers
from .kinds import CATEGORIES, KINDS

ARCHITECTURE = {
    "arch": "FPN",
    "encoder_name": "mobilenet_v2",
    "decoder_pyramid_channels": 96,
    "decoder_segmentation_channels": 64,
    "decoder_interpolation": "bilinear",
    "decoder_dropout": 0.1,
    "classes": len(CATEGORIES) + len(KINDS),
}
SIDE = 320
CONFIG = {"input_size": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3, "categories": CATEGORIES, "kinds": KINDS}


def build(encoder: Path | None = None, init: Path | None = None) -> nn.Module:
    """Return the network.

    Parameters
    ----------
    encoder : Path, optional
        An npz of MobileNetV2's ImageNet weights under torchvision's names, batch norm folded into the convolutions.
    init : Path, optional
        Weights of an earlier run, of which every tensor that has the same shape is taken.
    """
    model = smp.create_model(encoder_weights=None, **ARCHITECTURE)
    if encoder:
        state = {name: torch.from_numpy(value).float() for name, value in np.load(encoder).items()}
        missing, unexpected = nn.Module.load_state_dict(model.encoder, state, strict=False)
        lost = [name for name in missing if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
        # Folded: every convolution weight and every norm bias is given; norm scales stay at their initial 1.
        if unexpected or any(not is_norm_scale(model.encoder, name) for name in lost):
            raise click.ClickException(f"{encoder}: unexpected {unexpected[:3]}, missing {lost[:3]}")
    if init:
        own = model.state_dict()
        given = {name: value.float() for name, value in load_file(init).items()}
        fits = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
        click.echo(f"{init}: {len(fits)} of {len(given)} tensors taken")
        model.load_state_dict(fits, strict=False)
    return model.to(memory_format=torch.channels_last)


def is_norm_scale(encoder: nn.Module, name: str) -> bool:
    module, _, leaf = name.rpartition(".")
    return leaf == "weight" and isinstance(encoder.get_submodule(module), nn.BatchNorm2d)


def answer(model: nn.Module, photos: torch.Tensor) -> torch.Tensor:
    """Return the logits (n, 24, side / 4, side / 4) of photos (n, 3, side, side) in [0, 1]."""
    features = model.encoder(((photos - 0.5) / 0.5).contiguous(memory_format=torch.channels_last))
    return model.segmentation_head[0](model.decoder(features))


def loss_of(logits: torch.Tensor, answers: Answers, balance: torch.Tensor) -> torch.Tensor:
    """Cross-entropies of masks and kinds, and of each mask one minus the soft intersection over union.

    ``balance`` weighs the kinds, see `Batches.balance`.
    """
    masks, kinds = logits[:, : len(CATEGORIES)].float(), logits[:, len(CATEGORIES) :].float()
    target, weight = answers.masks, answers.weights
    masks = F.interpolate(masks, target.shape[2:], mode="bilinear")
    entropy = F.binary_cross_entropy_with_logits(masks, target, weight=weight) * len(CATEGORIES)
    p = masks.sigmoid()
    both = (weight * p * target).sum((2, 3))
    iou = (both + 16) / ((weight * (p + target - p * target)).sum((2, 3)) + 16)
    named = -(balance.view(-1, 1, 1) * answers.kinds * kinds.log_softmax(1)).sum(1).mean()
    return entropy + ((1 - iou).mean(0) * torch.tensor([0.5, 0.25, 0.25])).sum() + 0.5 * named


def save(model: nn.Module, out: Path) -> None:
    """Write half-precision weights and their config to the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() for name, value in model.state_dict().items() if "num_batches" not in name}
    save_file(state, out / "general.safetensors")
    (out / "general.json").write_text(json.dumps(ARCHITECTURE | CONFIG, indent=2) + "\n")
