"""Make pictures without a subject that photo collections lack: pages of writing, gradients, patterns, lights at night.

    python -m training.empty DATA [--number N]

``DATA`` receives ``backgrounds/`` and an empty ``images/``, so that `training.pack` takes it as it is.
"""

from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 400
LETTERS = "aaabcdeeeefghiiijklmnnoooprrssttttuuvwyz"


def colour(rng: np.random.Generator, low: float = 0, high: float = 256) -> tuple[int, ...]:
    return tuple(int(v) for v in rng.uniform(low, high, 3))


def gradient(rng: np.random.Generator) -> Image.Image:
    """A sweep between two colours, as a wall or a studio's backdrop has."""
    a, b = np.array(colour(rng)), np.array(colour(rng))
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    t = np.clip(0.5 + rng.uniform(0.2, 1.2) * (x * np.cos(angle) + y * np.sin(angle)), 0, 1)
    if rng.random() < 0.4:  # lit in the middle
        t = np.exp(-(x**2 + y**2) * rng.uniform(2, 8))
    noise = rng.normal(0, rng.uniform(0, 10), (SIDE, SIDE, 1))
    return Image.fromarray((a + t[..., None] * (b - a) + noise).clip(0, 255).astype(np.uint8))


def page(rng: np.random.Generator) -> Image.Image:
    """Lines of letters on paper, sometimes ruled, sometimes in columns."""
    image = Image.new("RGB", (SIDE, SIDE), colour(rng, 170))
    draw, ink = ImageDraw.Draw(image), colour(rng, 0, 110)
    size = int(rng.integers(8, 36))
    font, step = ImageFont.load_default(size), int(size * rng.uniform(1.15, 2))
    columns = int(rng.integers(1, 4))
    for column in range(columns):
        left = column * SIDE // columns + int(rng.uniform(4, 40))
        for y in range(int(rng.uniform(0, 60)), SIDE, step):
            if rng.random() < 0.3:
                draw.line((0, y + size, SIDE, y + size), colour(rng, 120, 200))
            words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 9))) for _ in range(rng.integers(1, 12))]
            draw.text((left, y), " ".join(words)[: int(SIDE / columns / size * 1.6)], ink, font)
    return image.rotate(float(rng.normal(0, 6)), expand=False, fillcolor=colour(rng, 120))


def pattern(rng: np.random.Generator) -> Image.Image:
    """Stripes, tiles or bricks."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    angle = rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    wide, high = rng.uniform(6, 90, 2)
    row = np.floor(v / high)
    cell = np.floor(u / wide + 0.5 * (row % 2) * (rng.random() < 0.5))
    joints = (rng.random() < 0.6) & ((v / high) % 1 < 0.08)
    shade = rng.uniform(0.6, 1, (64, 64))[row.astype(int) % 64, cell.astype(int) % (2 if rng.random() < 0.5 else 64)]
    pixels = np.array(colour(rng)) * shade[..., None] * np.where(joints, 0.5, 1)[..., None]
    return Image.fromarray((pixels + rng.normal(0, 5, (SIDE, SIDE, 1))).clip(0, 255).astype(np.uint8))


def lights(rng: np.random.Generator) -> Image.Image:
    """Points and windows in the dark."""
    image = Image.new("RGB", (SIDE, SIDE), colour(rng, 0, 50))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(20, 400))):
        x, y, size = rng.uniform(0, SIDE), rng.uniform(0, SIDE), rng.uniform(1, 7)
        shape = draw.ellipse if rng.random() < 0.6 else draw.rectangle
        shape((x, y, x + size, y + size * rng.uniform(0.7, 1.5)), colour(rng, 120))
    return image


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--number", default=160)
def main(out: Path, number: int) -> None:
    """Write NUMBER pictures below OUT."""
    rng = np.random.default_rng(0)
    for folder in ("images", "backgrounds"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for i in range(number):
        image = (gradient, page, pattern, lights)[i % 4](rng)
        if rng.random() < 0.4:
            image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 3))))
        image.save(out / "backgrounds" / f"empty_{i:03}.png")


if __name__ == "__main__":
    main()
