"""Train the default model from packed photos and masks (see pack.py); README.md beside this file holds the command.

The encoder starts from weights with batch norm folded into the convolutions, so its norm layers are plain scales and
offsets: they train, their (unit) statistics stay fixed. A run is planned by pictures, and goes on where it was stopped:
with the same arguments it learns from the same pictures.
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
from .network import SIDE, USED, answer, build, enlarged, loss_of, save

SMALL = 256
SAVED = 50  # steps between checkpoints


@click.command()
@click.argument("pack", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--val", type=click.Path(exists=True, path_type=Path), help="A second pack, to choose by and report.")
@click.option(
    "--without", multiple=True, type=click.Path(exists=True, path_type=Path), help="Stems and categories to leave out."
)
@click.option(
    "--encoder", multiple=True, type=click.Path(exists=True, path_type=Path), help="Folded MobileNetV2 weights (npz)."
)
@click.option("--init", type=click.Path(exists=True, path_type=Path), help="Go on from weights of an earlier run.")
@click.option(
    "--share",
    multiple=True,
    default=["pool=0.5", "train=0.25", "more=0.25"],
    help="FOLDER=SHARE of the pictures drawn.",
)
@click.option("--negatives", default=0.1, help="Share of pictures without a subject.")
@click.option("--pictures", default=12_000, help="How many are learnt from; the learning rate follows it.")
@click.option("--small", default=0.5, help="Part of the pictures, the first ones, that are small.")
@click.option("--batch", default=8)
@click.option("--lr", default=7e-4)
@click.option("--seed", default=1)
@click.option("--threads", default=2, help="One is best beside other work: waiting threads spin.")
@click.option("--bfloat16", is_flag=True, help="Convolve in bfloat16: faster where the processor has it (AMX).")
def main(
    pack, out, val, without, encoder, init, share, negatives, pictures, small, batch, lr, seed, threads, bfloat16
) -> None:
    """Train on PACK and write the averaged weights (fp16 safetensors) and their config to the folder OUT."""
    torch.set_num_threads(threads)
    kept = {stem for path in without for stem in path.read_text().split()}
    shares = {name: float(value) for name, value in (item.split("=") for item in share)}
    model = build(encoder, init)
    # Edges, corners and textures stay as they came: their backward pass is a third of the time.
    model.encoder.features[:7].requires_grad_(False)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995))
    groups = [
        {"params": model.encoder.parameters(), "scale": 0.3},
        {"params": model.decoder.parameters(), "scale": 1.0},
        {"params": model.segmentation_head.parameters(), "scale": 1.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=lr, weight_decay=0.01)
    steps, first, checkpoint = pictures // batch, 0, out / "checkpoint.pt"
    parts = {"model": model, "average": average, "optimiser": optimiser}
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        first = saved.pop("step")
        for name, state in saved.items():
            parts[name].load_state_dict(state)
        click.echo(f"goes on after step {first}")
    out.mkdir(parents=True, exist_ok=True)
    batches = Batches(pack, kept, shares, negatives, seed)
    balance = batches.balance()
    # Small pictures first: nearly twice as many an hour; the last part sees the size that is used.
    sides = ((step, SMALL if step < small * steps else SIDE) for step in range(first, steps))
    begin, losses = time.monotonic(), []
    for step, answers in enumerate(batches.stream(batch, sides), first):
        rate = min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = lr * group["scale"] * rate
        model.train()
        torch.manual_seed(step)  # of the dropout
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = answer(model, answers.photos)
        loss = loss_of(logits, answers, balance)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        average.update_parameters(model)
        losses.append(loss.item())
        done = step + 1
        if done % SAVED == 0:
            part = checkpoint.with_suffix(".part")
            torch.save({"step": done} | {name: value.state_dict() for name, value in parts.items()}, part)
            part.rename(checkpoint)
            pace = len(losses) * batch / (time.monotonic() - begin)
            click.echo(f"{done * batch} of {pictures}  loss {sum(losses[-SAVED:]) / SAVED:.4f}  {pace:.2f}/s")
        if done % (8 * SAVED) == 0:
            report(average.module, out, val, done * batch)
    report(average.module, out, val, steps * batch)


@torch.inference_mode()
def report(model: nn.Module, out: Path, val: Path | None, seen: int) -> None:
    """Save the weights, and print the mean of the first measure of each group of categories."""
    save(model, out)
    model.eval()
    found = defaultdict(list)
    for category, pixels in pictures(val) if val else ():
        photo = torch.from_numpy(pixels[..., :3]).permute(2, 0, 1)[None].float() / 255
        photo = nn.functional.interpolate(photo, (USED, USED), mode="bilinear", antialias=True)
        mask = enlarged(answer(model, photo)[:, :1])[0, 0].sigmoid().numpy()
        found[category.split("-")[0]].append(next(iter(measures(mask, pixels[..., 3]).values())))
    click.echo(f"seen {seen}  " + "  ".join(f"{group} {sum(v) / len(v):.4f}" for group, v in found.items()))


if __name__ == "__main__":
    main()
