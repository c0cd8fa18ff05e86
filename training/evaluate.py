"""Measure a model as users run it, on packed photos and masks.

    python -m training.evaluate WEIGHTS.safetensors PACK [--only NAMES] [--scenes N]

For each group of categories: mean IoU at threshold 0.5, mean absolute error, boundary F (edges within 0.75 % of the
diagonal of each other); for pictures without a subject the share that is taken for one. Then how far
`gpublur.MaskInfo.uncertainty` tells the error, in sixths of the pictures. With ``--scenes`` also how often words
keep the right one of two subjects.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gpublur.segmentation import load
from gpublur.types import MaskInfo

from .scenes import generate

NEAR = 0.0075  # of the diagonal: how far edges may lie apart to be the same
INVENTED = 0.002  # of an empty picture: what may be taken for a subject without being wrong
SIXTHS = 6


def pictures(pack: Path, only: set[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield category and pixels (S, S, 4) uint8 of each picture of a pack, or of given stems or categories."""
    pixels = np.load(pack / "pixels.npy", mmap_mode="r")
    for i, row in enumerate(json.loads((pack / "rows.json").read_text())):
        if only is None or not only.isdisjoint((row["stem"], row["category"])):
            yield row["category"], np.array(pixels[i])


def measures(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compare a mask (h, w) in [0, 1] of any size with the true one (S, S) uint8."""
    alpha = torch.from_numpy(truth)[None, None].float() / 255
    mask = F.interpolate(torch.from_numpy(found)[None, None], alpha.shape[2:], mode="bilinear")
    if not (alpha > 0.5).any():
        return {"taken": (mask > 0.5).float().mean().item()}
    return {
        "IoU": overlap(mask > 0.5, alpha > 0.5),
        "MAE": (mask - alpha).abs().mean().item(),
        "F": boundary_f(mask > 0.5, alpha > 0.5),
    }


def overlap(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> float:
    """Return the intersection over union of two masks; 1 where both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def boundary_f(a: Tensor, b: Tensor) -> float:
    """Return the harmonic mean of the shares of each mask's edge that lie near the other's."""
    reach = round(NEAR * float(np.hypot(*a.shape[2:])))
    edges = [(F.max_pool2d(m.float(), 3, 1, 1) > m.float()) for m in (a, b)]
    near = [F.max_pool2d(edge.float(), 2 * reach + 1, 1, reach) > 0 for edge in edges]
    shares = [float((e & n).sum() / e.sum().clamp_min(1)) for e, n in zip(edges, near[::-1], strict=True)]
    return 2 * shares[0] * shares[1] / max(sum(shares), 1e-9)


def kept(segmenter, scenes) -> tuple[int, int, list[float]]:
    """Ask for either subject of each scene; return how often most of it and little else was kept, of how many, IoUs."""
    ious, right = [], 0
    for scene in scenes:
        for this, kind in enumerate(scene.kinds):
            mask = torch.from_numpy(segmenter(scene.photo, kind))[None, None]
            mask = (F.interpolate(mask, scene.photo.shape[:2], mode="bilinear")[0, 0] > 0.5).numpy()
            mine, other = scene.masks[this], scene.masks[1 - this]
            ious.append(overlap(mask, mine))
            right += (mask & mine).sum() > 0.5 * mine.sum() and (mask & other).sum() < 0.25 * other.sum()
    return right, len(ious), ious


def error(measured: dict[str, float]) -> float:
    """Return the error that an uncertainty is to tell: 1 - IoU, or 0 or 1 where there is no subject."""
    return 1 - measured["IoU"] if "IoU" in measured else float(measured["taken"] > INVENTED)


def reliability(told: list[float], true: list[float]) -> tuple[float, list[tuple[float, float]]]:
    """Return the correlation of uncertainties and errors, and the means of both in sixths by the former."""
    pairs = np.array([told, true])
    parts = np.array_split(pairs[:, np.argsort(pairs[0], kind="stable")], SIXTHS, axis=1)
    return float(np.corrcoef(pairs)[0, 1]), [(float(a.mean()), float(b.mean())) for a, b in parts]


@click.command()
@click.argument("weights", type=click.Path(exists=True, path_type=Path))
@click.argument("packs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--only", type=click.Path(exists=True, path_type=Path), help="A list of stems and categories.")
@click.option("--scenes", default=0, help="How many scenes of two subjects, from all packs.")
def main(weights: Path, packs: tuple[Path, ...], only: Path | None, scenes: int) -> None:
    """Print what WEIGHTS reach on PACKS."""
    torch.set_num_threads(1)
    segmenter = load(weights)
    names = set(only.read_text().split()) if only else None
    everything: list[tuple[str, np.ndarray]] = []
    told, true = [], []
    for pack in packs:
        group: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        mine = list(pictures(pack, names if len(packs) == 1 or pack == packs[-1] else None))
        everything += mine
        for category, pixels in mine:
            mask = segmenter(pixels[..., :3])
            measured = measures(mask, pixels[..., 3])
            told.append(MaskInfo(mask).uncertainty)
            true.append(error(measured))
            for name, value in measured.items():
                group[category.split("-")[0]][name].append(value)
                if category != "background":
                    group["all"][name].append(value)
        for name, values in group.items():
            count = len(next(iter(values.values())))
            click.echo(f"{name:14} ({count:3})  " + "  ".join(f"{k} {np.mean(v):.4f}" for k, v in values.items()))
    correlation, parts = reliability(told, true)
    for name, values in zip(("told", "true"), zip(*parts, strict=True), strict=True):
        click.echo(f"uncertainty, {name}: " + "  ".join(f"{value:.3f}" for value in values))
    click.echo(f"correlation {correlation:.2f}, {len(told)} pictures")
    if scenes:
        right, asked, ious = kept(segmenter, generate(everything, scenes, 0))
        click.echo(f"scenes: {right} of {asked} right ({right / asked:.1%}), mean IoU {np.mean(ious):.3f}")


if __name__ == "__main__":
    main()
