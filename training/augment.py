"""Augmentation of packed batches: subjects over other backgrounds and beside each other, then what a camera can do."""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from gpublur.segmentation.exposure import even

EVEN = 0.7  # of the pictures: the others stay as dark as they are, as at night with a lamp on the picture


def places(n: int, side: int, rng: np.random.Generator, zoom: tuple[float, float], shift: float = 0.08) -> torch.Tensor:
    """Return where n pictures are sampled to flip, rotate, scale, stretch and shift them: (n, side, side, 2)."""
    angle = rng.normal(0, 12, n).clip(-40, 40) * math.pi / 180
    scale = np.exp(rng.uniform(math.log(zoom[0]), math.log(zoom[1]), n))
    stretch = np.exp(rng.normal(0, 0.15, n))
    flip = rng.choice([-1.0, 1.0], n)
    cos, sin = np.cos(angle), np.sin(angle)
    room = np.maximum(shift, np.abs(scale - 1))
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = flip * scale * stretch * cos, -scale * stretch * sin
    theta[:, 1, 0], theta[:, 1, 1] = flip * scale / stretch * sin, scale / stretch * cos
    theta[:, :, 2] = rng.uniform(-1, 1, (n, 2)) * room[:, None]
    return F.affine_grid(torch.from_numpy(theta), [n, 1, side, side], align_corners=False)


def sample(batch: torch.Tensor, grid: torch.Tensor, outside: str = "reflection") -> torch.Tensor:
    """Return pictures (n, c, S, S) sampled at `places`."""
    return F.grid_sample(batch, grid, padding_mode=outside, align_corners=False)


def feathered(alpha: torch.Tensor) -> torch.Tensor:
    """Return masks with an edge as a lens draws it."""
    return F.avg_pool2d(alpha, 3, 1, 1, count_include_pad=False) * alpha.gt(0)


def camera(rgb: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Colour, contrast, exposure, defocus, noise, JPEG: each picture of (n, 3, S, S) in [0, 1] gets its own mixture."""
    n = len(rgb)

    def some(share: float) -> torch.Tensor:
        return torch.from_numpy(rng.random((n, 1, 1, 1)) < share)

    def draw(spread: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(np.exp(rng.normal(0, spread, (n, *shape))).astype(np.float32))

    rgb = rgb.clamp(0, 1) ** draw(0.25, 1, 1, 1)
    rgb = rgb * draw(0.15, 1, 1, 1) * draw(0.06, 3, 1, 1)
    mean = rgb.mean((1, 2, 3), keepdim=True)
    rgb = mean + (rgb - mean) * draw(0.2, 1, 1, 1)
    grey = rgb.mean(1, keepdim=True)
    rgb = (grey + (rgb - grey) * draw(0.35, 1, 1, 1) * ~some(0.06)).clamp(0, 1)
    rgb = torch.where(some(0.2), rgb * draw(0.15, 3, 1, 1), rgb)  # light of a colour
    # Underexposed: the pixels' values go with the root of the light, and few of them are left.
    light = rng.uniform(math.log(0.03), 0, (n, 1, 1, 1))
    dark = (rgb * torch.from_numpy(np.exp(light / 2.2).astype(np.float32)) * 255).round() / 255
    rgb = torch.where(some(0.25), dark, rgb).clamp(0, 1)
    out = []
    for picture in rgb:
        if rng.random() < 0.25:  # lost detail: small originals, defocus
            small = F.interpolate(picture[None], scale_factor=float(rng.uniform(0.25, 0.8)), mode="area")
            picture = F.interpolate(small, picture.shape[1:], mode="bilinear")[0]
        if rng.random() < 0.3:
            spread = rng.uniform(0.005, 0.06) * float(picture.max())  # what is left of the light stands out
            picture = picture + torch.from_numpy(rng.normal(0, spread, picture.shape).astype(np.float32))
        if rng.random() < 0.25:
            buffer = io.BytesIO()
            pixels = (picture.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
            picture = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float() / 255
        out.append(picture)
    seen = torch.stack(out).clamp(0, 1)
    return torch.where(some(EVEN), even(seen), seen)
