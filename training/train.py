"""Train the default model from packed photos and masks (see pack.py); README.md beside this file holds the command.

The encoder starts from ImageNet weights with batch norm folded into the convolutions, so its norm layers are plain
scales and offsets: they train, their (unit) statistics stay fixed.
"""

import math
import time
from collections import defaultdict
from pathlib import Path

import click
import torch
from torch import nn

from .batches import Batches
from .evaluate import measures, pictures
from .network import SIDE, answer, build, enlarged, loss_of, save

SMALL = 256


@click.command()
@click.argument("pack", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--val", type=click.Path(exists=True, path_type=Path), help="A second pack, to choose by and report.")
@click.option("--without", multiple=True, type=click.Path(exists=True, path_type=Path), help="Stems to leave out.")
@click.option(
    "--encoder", multiple=True, type=click.Path(exists=True, path_type=Path), help="Folded MobileNetV2 weights (npz)."
)
@click.option("--init", type=click.Path(exists=True, path_type=Path), help="Go on from weights of an earlier run.")
@click.option("--share", multiple=True, default=["train=0.5", "more=0.5"], help="FOLDER=SHARE of the pictures drawn.")
@click.option("--negatives", default=0.1, help="Share of pictures without a subject.")
@click.option("--minutes", default=75.0, help="Wall-clock budget; the learning rate follows it.")
@click.option("--small", default=0.6, help="Part of the time that is spent on small pictures.")
@click.option("--batch", default=16)
@click.option("--lr", default=1.5e-3)
@click.option("--seed", default=1)
@click.option("--threads", default=2, help="One is best beside other work: waiting threads spin.")
def main(pack, out, val, without, encoder, init, share, negatives, minutes, small, batch, lr, seed, threads) -> None:
    """Train on PACK and write the averaged weights (fp16 safetensors) and their config to the folder OUT."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    kept = {stem for path in without for stem in path.read_text().split()}
    shares = {name: float(value) for name, value in (item.split("=") for item in share)}
    model = build(encoder, init)
    # Edges, corners and textures stay as they came: their backward pass is a third of the time.
    model.encoder.features[:7].requires_grad_(False)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    groups = [
        {"params": model.encoder.parameters(), "scale": 0.15},
        {"params": model.decoder.parameters(), "scale": 1.0},
        {"params": model.segmentation_head.parameters(), "scale": 1.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=lr, weight_decay=0.01)
    begin = said = time.monotonic()

    def part() -> float:
        return (time.monotonic() - begin) / (60 * minutes)

    def sides():  # small pictures first: twice as many an hour, and the last part sees the size that is used
        while True:
            yield SMALL if part() < small else SIDE

    step, running = 0, 0.0
    batches = Batches(pack, kept, shares, negatives, seed)
    balance = batches.balance()
    for answers in batches.stream(batch, sides()):
        if part() >= 1:
            break
        rate = min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * part()))
        for group in optimiser.param_groups:
            group["lr"] = lr * group["scale"] * rate
        model.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = answer(model, answers.photos)
        loss = loss_of(logits, answers, balance)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        average.update_parameters(model)
        step, running = step + 1, running + loss.item()
        if step % 100 == 0:
            now = time.monotonic()
            click.echo(
                f"{(now - begin) / 60:6.1f} min  step {step}  loss {running / 100:.4f}  "
                f"{100 * batch / (now - said):.1f}/s"
            )
            running, said = 0.0, now
        if step % 600 == 0:
            report(average.module, out, val, step * batch)
    report(average.module, out, val, step * batch)


@torch.inference_mode()
def report(model: nn.Module, out: Path, val: Path | None, seen: int) -> None:
    """Save the weights, and print the mean of the first measure of each group of categories."""
    save(model, out)
    model.eval()
    found = defaultdict(list)
    for category, pixels in pictures(val) if val else ():
        photo = torch.from_numpy(pixels[..., :3]).permute(2, 0, 1)[None].float() / 255
        photo = nn.functional.interpolate(photo, (SIDE, SIDE), mode="bilinear", antialias=True)
        mask = enlarged(answer(model, photo)[:, :1])[0, 0].sigmoid().numpy()
        found[category.split("-")[0]].append(next(iter(measures(mask, pixels[..., 3]).values())))
    click.echo(f"seen {seen}  " + "  ".join(f"{group} {sum(v) / len(v):.4f}" for group, v in found.items()))


if __name__ == "__main__":
    main()
