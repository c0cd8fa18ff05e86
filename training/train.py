"""Train the default model from packed photos and masks (see pack.py); README.md beside this file holds the command.

The encoder starts from ImageNet weights with batch norm folded into the convolutions, so its norm layers are plain
scales and offsets: they train, their (unit) statistics stay fixed.
"""

import json
import math
import time
from pathlib import Path

import click
import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from . import augment

ARCHITECTURE = {
    "arch": "FPN",
    "encoder_name": "mobilenet_v2",
    "decoder_pyramid_channels": 128,
    "decoder_segmentation_channels": 96,
    "decoder_interpolation": "bilinear",
    "decoder_dropout": 0.1,
    "classes": 1,
}
SIDE = 320


def build(encoder: Path | None) -> nn.Module:
    """Return the network; ``encoder`` is an npz of folded MobileNetV2 weights under torchvision's names."""
    model = smp.create_model(encoder_weights=None, **ARCHITECTURE)
    if encoder:
        state = {name: torch.from_numpy(value).float() for name, value in np.load(encoder).items()}
        missing, unexpected = nn.Module.load_state_dict(model.encoder, state, strict=False)
        lost = [name for name in missing if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
        # Folded: every convolution weight and every norm bias is given; norm scales stay at their initial 1.
        if unexpected or any(not is_norm_scale(model.encoder, name) for name in lost):
            raise click.ClickException(f"{encoder}: unexpected {unexpected[:3]}, missing {lost[:3]}")
    return model


def is_norm_scale(encoder: nn.Module, name: str) -> bool:
    module, _, leaf = name.rpartition(".")
    return leaf == "weight" and isinstance(encoder.get_submodule(module), nn.BatchNorm2d)


def loss_of(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, doubled near the mask's edge, plus one minus the soft intersection over union."""
    edge = F.max_pool2d(target, 9, 1, 4) + F.max_pool2d(-target, 9, 1, 4)
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight=1 + edge)
    p = logits.sigmoid()
    both = (p * target).sum((1, 2, 3))
    iou = (both + 64) / ((p + target - p * target).sum((1, 2, 3)) + 64)
    return entropy + 0.5 * (1 - iou).mean()


class Batches:
    """Draw augmented batches: folders by share, kinds within a folder by the root of their number."""

    def __init__(self, pack: Path, shares: dict[str, float], negatives: float, rng: np.random.Generator):
        self.pixels = np.load(pack / "pixels.npy", mmap_mode="r")
        rows = json.loads((pack / "rows.json").read_text())
        self.rng = rng
        self.scenes = np.array([i for i, row in enumerate(rows) if row["kind"] == "background"])
        self.weights = np.zeros(len(rows))
        for folder, share in shares.items():
            mine = [i for i, row in enumerate(rows) if row["folder"] == folder and row["kind"] != "background"]
            of_kind: dict[str, int] = {}
            for i in mine:
                of_kind[rows[i]["kind"]] = of_kind.get(rows[i]["kind"], 0) + 1
            weight = np.array([of_kind[rows[i]["kind"]] ** -0.5 for i in mine])
            self.weights[mine] = share * weight / weight.sum()
        if len(self.scenes):
            self.weights *= 1 - negatives
            self.weights[self.scenes] = negatives / len(self.scenes)
        self.weights /= self.weights.sum()
        self.plain = np.array([row["folder"] != "train" for row in rows])

    def take(self, index: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.pixels[index]).permute(0, 3, 1, 2).float() / 255

    def draw(self, n: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = self.rng
        index = rng.choice(len(self.weights), n, p=self.weights)
        batch = augment.warp(self.take(index), side, rng, (0.65, 1.6))
        if len(self.scenes):
            scenes = augment.warp(self.take(rng.choice(self.scenes, n)), side, rng, (0.35, 1.0))
            chosen = rng.random(n) < np.where(self.plain[index], 0.5, 0.25)
            batch = augment.paste(batch, scenes, torch.from_numpy(chosen))
        return augment.camera(batch[:, :3], rng), batch[:, 3:].clamp(0, 1)


@torch.inference_mode()
def validate(model: nn.Module, pack: Path) -> dict[str, float]:
    """Mean IoU at threshold 0.5 for each kind of subject."""
    pixels = np.load(pack / "pixels.npy", mmap_mode="r")
    scores: dict[str, list[float]] = {}
    model.eval()
    for row, picture in zip(json.loads((pack / "rows.json").read_text()), pixels, strict=True):
        x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        found, truth = model((x[:, :3] - 0.5) / 0.5) > 0, x[:, 3:] > 0.5
        union = (found | truth).sum().item()
        scores.setdefault(row["kind"], []).append((found & truth).sum().item() / union if union else 1.0)
    return {kind: sum(values) / len(values) for kind, values in scores.items()}


@click.command()
@click.argument("pack", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--val", type=click.Path(exists=True, path_type=Path), help="A second pack, to choose by and report.")
@click.option("--encoder", type=click.Path(exists=True, path_type=Path), help="Folded MobileNetV2 weights (npz).")
@click.option("--init", type=click.Path(exists=True, path_type=Path), help="Go on from weights of an earlier run.")
@click.option("--share", multiple=True, default=["train=0.65", "more=0.35"], help="FOLDER=SHARE of the pictures drawn.")
@click.option("--minutes", default=75.0, help="Wall-clock budget; the learning rate follows it.")
@click.option("--batch", default=16)
@click.option("--lr", default=1.5e-3)
@click.option("--seed", default=1)
@click.option("--threads", default=2, help="One is best beside other work: waiting threads spin.")
def main(pack, out, val, encoder, init, share, minutes, batch, lr, seed, threads) -> None:
    """Train on PACK and write the averaged weights (fp16 safetensors) and their config to the folder OUT."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    shares = {name: float(value) for name, value in (item.split("=") for item in share)}
    batches = Batches(pack, shares, 0.06, np.random.default_rng(seed))
    model = build(encoder).to(memory_format=torch.channels_last)
    if init:
        model.load_state_dict(load_file(init), strict=False)  # what is missing: counters of batches, which are not used
    model.encoder.features[:4].requires_grad_(
        False
    )  # edges and corners stay ImageNet's; their backward pass is a third of the time
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    groups = [
        {"params": model.encoder.parameters(), "scale": 0.3},
        {"params": model.decoder.parameters(), "scale": 1.0},
    ]
    groups.append({"params": model.segmentation_head.parameters(), "scale": 1.0})
    optimiser = torch.optim.AdamW(groups, lr=lr, weight_decay=0.01)
    begin, step, seen, running = time.monotonic(), 0, 0, 0.0
    said = begin
    while (part := (time.monotonic() - begin) / (60 * minutes)) < 1:
        rate = min(1.0, step / 200) * (0.5 + 0.5 * math.cos(math.pi * part))
        for group in optimiser.param_groups:
            group["lr"] = lr * group["scale"] * rate
        # Small pictures first: twice as many an hour, and the last part sees the size that is used.
        photos, masks = batches.draw(batch, 224 if part < 0.65 else SIDE)
        model.train()
        model.encoder.eval()  # its norm statistics are folded away
        logits = model(((photos - 0.5) / 0.5).contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits, masks)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        average.update_parameters(model)
        step, seen, running = step + 1, seen + batch, running + loss.item()
        if step % 100 == 0:
            now = time.monotonic()
            click.echo(
                f"{(now - begin) / 60:6.1f} min  step {step}  loss {running / 100:.4f}  "
                f"{100 * batch / (now - said):.1f}/s"
            )
            running, said = 0.0, now
            if step % 500 == 0:
                report(average.module, out, val, seen)
    report(average.module, out, val, seen)


def report(model: nn.Module, out: Path, val: Path | None, seen: int) -> None:
    scores = validate(model, val) if val else {}
    click.echo(f"seen {seen}  " + "  ".join(f"{kind} {score:.4f}" for kind, score in scores.items()))
    out.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() for name, value in model.state_dict().items() if "num_batches" not in name}
    save_file(state, out / "general.safetensors")
    config = ARCHITECTURE | {"input_size": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3}
    (out / "general.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
