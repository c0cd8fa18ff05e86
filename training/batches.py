"""Batches for training: what is drawn, how scenes are put together, and what the network is to answer."""

import json
import queue
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
import torch.nn.functional as F

from . import augment
from .kinds import KINDS, VEHICLES, is_product, kind_of

STRIDE = 4  # of the network's own grid, on which kinds are compared
MINOR = 0.6  # of the subject's area: a thing smaller than this beside it is no subject
HELD = 0.25  # of its own area before the subject: such a thing is held, and belongs to it
MOVED = 0.25  # of the pictures: their subjects get another background
PAIRED = 0.25  # of the pictures: they get a second subject


class Answers(NamedTuple):
    """A batch, and what the network is to say of it."""

    photos: torch.Tensor  # (n, 3, side, side) in [0, 1]
    masks: torch.Tensor  # (n, 3, side / 2, side / 2): subject, product, vehicle
    weights: torch.Tensor  # the same: double at edges, 0 where nobody knows
    kinds: torch.Tensor  # (n, 21, side / STRIDE, side / STRIDE), shares of one


class Layer(NamedTuple):
    """Photos with subjects, before they are put together."""

    rgb: torch.Tensor
    mask: torch.Tensor  # (n, 1, side, side)
    product: torch.Tensor  # (n, 1, side, side) in [0, 1]
    known: torch.Tensor  # the same: whether `product` is
    kinds: torch.Tensor


def over(front: Layer, back: Layer) -> Layer:
    """Return ``front``'s subjects before ``back``."""
    soft, small = augment.feathered(front.mask), F.avg_pool2d(front.mask, STRIDE)
    return Layer(
        front.rgb * soft + back.rgb * (1 - soft),
        front.mask + back.mask * (1 - front.mask),
        front.product + back.product * (1 - front.mask),
        front.known * front.mask + back.known * (1 - front.mask),
        front.kinds * small + back.kinds * (1 - small),
    )


def beside(front: Layer, back: Layer) -> Layer:
    """Return two subjects together: what is small beside the other one is a passer-by, no subject of the picture.

    Before it, it is: what somebody holds is kept with them. Its kind, and whether it is for sale, stay known.
    """
    both = over(front, back)
    left, before, area = (
        part.mean((1, 2, 3), keepdim=True)
        for part in (back.mask * (1 - front.mask), back.mask * front.mask, front.mask)
    )
    passing = (area < MINOR * left) & (before < HELD * area)
    return both._replace(mask=torch.where(passing, back.mask, both.mask))


def pick(layer: Layer, which: np.ndarray) -> Layer:
    """Return the chosen pictures of a layer."""
    return Layer(*(part[which] for part in layer))


def put(layer: Layer, which: np.ndarray, pictures: Layer) -> None:
    """Replace the chosen pictures of a layer."""
    for part, new in zip(layer, pictures, strict=True):
        part[which] = new


class Batches:
    """Draw augmented batches, folders by share; the same number is always the same batch.

    Parameters
    ----------
    pack : Path
        As `training.pack` and `training.teach` write it.
    without : set of str
        Stems and categories that are kept for checking.
    shares : dict
        How often each folder of the pack is drawn; within it a category by the root of its number of photos.
    negatives : float
        Share of pictures without a subject.
    """

    def __init__(self, pack: Path, without: set[str], shares: dict[str, float], negatives: float, seed: int):
        self.pixels = np.load(pack / "pixels.npy", mmap_mode="r")
        self.taught = np.load(pack / "kinds.npy", mmap_mode="r")
        self.rows = json.loads((pack / "rows.json").read_text())
        self.seed = seed
        use = [without.isdisjoint((row["stem"], row["category"])) for row in self.rows]
        empty = [row["category"] == "background" for row in self.rows]
        self.scenes = np.flatnonzero(np.logical_and(use, empty))
        number = Counter(row["category"] for row, used in zip(self.rows, use, strict=True) if used)
        weights = np.zeros(len(self.rows))
        for folder, share in shares.items():
            mine = [i for i, row in enumerate(self.rows) if use[i] and not empty[i] and row["folder"] == folder]
            if not mine:
                raise click.ClickException(f"no photo of folder {folder!r} to draw from in {pack}")
            rare = np.array([number[self.rows[i]["category"]] ** -0.5 for i in mine])
            weights[mine] = share * rare / rare.sum()
        weights *= (1 - negatives) / weights.sum()
        weights[self.scenes] = negatives / len(self.scenes)
        self.weights = weights
        self.kind = [kind_of(row["category"]) for row in self.rows]
        self.product = np.array([is_product(row["category"]) for row in self.rows])
        self.empty = np.array(empty)
        # Second subjects: half of them by kind, so that the network hears every name often enough.
        filled = np.where(self.empty, 0, weights)
        names = np.array([-1 if kind is None else kind for kind in self.kind])
        named = np.array(
            [(kind >= 0) * (filled[i] > 0) / max(1, (names == kind).sum()) for i, kind in enumerate(names)]
        )
        self.others = (filled / filled.sum() + named / max(named.sum(), 1e-9)) / (2 if named.any() else 1)

    def layer(
        self,
        index: np.ndarray,
        side: int,
        rng: np.random.Generator,
        zoom: tuple[float, float],
        shift: float,
        outside: str,
    ) -> Layer:
        """Return pictures of the pack, moved about, with what is known of them."""
        n = len(index)
        grid = augment.places(n, side, rng, zoom, shift)
        pixels = torch.from_numpy(self.pixels[index]).permute(0, 3, 1, 2).float() / 255
        moved = augment.sample(pixels, grid, outside)
        mask = moved[:, 3:].clamp(0, 1)
        taught = torch.from_numpy(self.taught[index]).permute(0, 3, 1, 2).float() / 255
        coarse = grid.view(n, side // STRIDE, STRIDE, side // STRIDE, STRIDE, 2).mean((2, 4))
        kinds = augment.sample(taught, coarse, outside)
        for i, there in enumerate(F.avg_pool2d(mask, STRIDE)):
            kind = self.kind[index[i]]
            if kind is not None:
                kinds[i] *= 1 - there
                kinds[i, kind] += there[0]
        product = mask * torch.from_numpy(self.product[index]).view(n, 1, 1, 1)
        known = 1 - mask * torch.from_numpy(~self.product[index]).view(n, 1, 1, 1)
        return Layer(moved[:, :3], mask, product, known, kinds / kinds.sum(1, keepdim=True).clamp_min(1e-3))

    def balance(self) -> torch.Tensor:
        """Return what a pixel of each kind is to weigh, (21,): the less often it is drawn, the more; 1 on average."""
        share = sum(self.draw(32, 64, number).kinds.mean((0, 2, 3)) for number in range(8)) / 8
        weight = share.clamp_min(1e-4) ** -0.5
        return weight / (weight * share).sum()

    def draw(self, n: int, side: int, number: int) -> Answers:
        """Return n pictures, augmented: the batch of that number."""
        rng = np.random.default_rng((self.seed, number))
        index = rng.choice(len(self.weights), n, p=self.weights)
        layer = self.layer(index, side, rng, (0.55, 1.05), 0.05, "reflection")
        moved = np.flatnonzero(rng.random(n) < MOVED)
        if len(moved):  # only these may be small: past its frame a photo would repeat its subject
            subjects = self.layer(index[moved], side, rng, (0.65, 2.0), 0.3, "zeros")
            scenes = self.layer(rng.choice(self.scenes, len(moved)), side, rng, (0.35, 1.0), 0.1, "reflection")
            put(layer, moved, over(subjects, scenes))
        paired = np.flatnonzero(rng.random(n) < np.where(self.empty[index], 0, PAIRED))
        if len(paired):  # two subjects: one small and anywhere, before the other or behind it
            other = rng.choice(len(self.weights), len(paired), p=self.others)
            others = self.layer(other, side, rng, (1.1, 3.0), 0.7, "zeros")
            first = pick(layer, paired)
            behind = torch.from_numpy(rng.random((len(paired), 1, 1, 1)) < 0.6)
            others = others._replace(mask=torch.where(behind, others.mask * (1 - first.mask), others.mask))
            put(layer, paired, beside(others, first))
        # Which of the things on a photo is for sale is known once a product is among them.
        sold = layer.product.amax((1, 2, 3), keepdim=True) > 0.5
        known = torch.where(sold, 1.0, layer.known)
        mask, product, known = (F.avg_pool2d(part, 2) for part in (layer.mask, layer.product, known))
        vehicles = layer.kinds[:, [KINDS.index(kind) for kind in VEHICLES]].sum(1, keepdim=True)
        vehicles = F.interpolate(vehicles, mask.shape[2:], mode="bilinear")
        masks = torch.cat([mask, product, vehicles], 1).clamp(0, 1)
        edge = F.max_pool2d(masks, 5, 1, 2) + F.max_pool2d(-masks, 5, 1, 2)
        weights = (1 + edge) * torch.cat([torch.ones_like(known), 0.5 * known, 0.5 * torch.ones_like(known)], 1)
        return Answers(augment.camera(layer.rgb, rng), masks, weights, layer.kinds)

    def stream(self, n: int, sides: Iterable[tuple[int, int]]) -> Iterator[Answers]:
        """Yield a batch for each number and side; a thread prepares it while the last one is learnt from."""
        ready: queue.Queue[Answers | None] = queue.Queue(3)

        def work() -> None:
            torch.set_num_threads(1)
            for number, side in sides:
                ready.put(self.draw(n, side, number))
            ready.put(None)

        threading.Thread(target=work, daemon=True).start()
        while (answers := ready.get()) is not None:
            yield answers
