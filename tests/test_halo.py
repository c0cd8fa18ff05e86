"""No halo: the subject's colour never enters the blur; with figures."""

import numpy as np
import pytest
import reference
from conftest import matte

MODES = ("gaussian", "bokeh")
BLURRED = {}


def backs(mode, radius, clean, picture):
    """The reference's blurs of the clean background and of the whole picture, which the backends share."""
    if (mode, radius) not in BLURRED:
        BLURRED[mode, radius] = [reference.blur(p, mode, radius, 0.0, (0.6, 0.95), True) for p in (clean, picture)]
    return BLURRED[mode, radius]


@pytest.mark.parametrize("quality", ["fast", "high", "exact"])
@pytest.mark.parametrize("mode", MODES)
def test_a_red_subject_leaves_no_red_in_a_grey_background(editor, mode, quality):
    height, width = 300, 400
    alpha = matte(height, width)
    grey, red = reference.decode(np.full(3, 0.5)), reference.decode(np.array([0.9, 0.05, 0.05]))
    picture = reference.encode(alpha[..., None] * red + (1 - alpha[..., None]) * grey).astype(np.float32)
    out = editor.blur_background(picture, mode, 0.03, quality=quality, highlights=0.5, mask=alpha).astype(np.float64)
    background = alpha == 0
    chroma = 255 * np.abs(out[..., 0] - out[..., 1])[background].max()
    print(f"{mode} {quality}: chroma leaked {chroma:.4f} LSB")
    assert chroma < 0.1


@pytest.mark.parametrize("radius", [0.01, 0.03, 0.05])
@pytest.mark.parametrize("mode", MODES)
def test_ring_around_the_subject_against_blur_and_paste(editor, mode, radius):
    """A composite with a known clean background: error in the ring one radius wide around the subject."""
    height, width = 360, 480
    alpha = matte(height, width)[..., None]
    y, x = np.mgrid[:height, :width]
    # A gentle slope and a texture finer than the blur: what the subject hides can be told from what it leaves.
    tone = 0.35 + 0.3 * (0.6 * x / width + 0.4 * y / height) + 0.08 * np.sin((x + 2 * y) / 1.7)
    clean = tone[..., None] * np.array([0.7, 0.9, 1.0])
    subject = np.array([0.95, 0.15, 0.1])
    mixed = alpha * reference.decode(subject) + (1 - alpha) * reference.decode(clean)
    picture = reference.encode(mixed).astype(np.float32)
    ideal_back, pasted_back = backs(mode, radius, clean, picture)

    def over(back):
        return reference.encode(alpha * reference.decode(subject) + (1 - alpha) * reference.decode(back))

    ideal = over(ideal_back)
    ours = editor.blur_background(picture, mode, radius, highlights=0.0, mask=alpha[..., 0])
    pasted = over(pasted_back)
    r = radius * np.hypot(height, width)
    inside = np.argwhere(alpha[..., 0] > 0)
    near = np.zeros((height, width), bool)
    for dy, dx in [(round(r * np.sin(t)), round(r * np.cos(t))) for t in np.linspace(0, 2 * np.pi, 32, endpoint=False)]:
        rows, columns = np.clip(inside[:, 0] + dy, 0, height - 1), np.clip(inside[:, 1] + dx, 0, width - 1)
        near[rows, columns] = True
    ring = near & (alpha[..., 0] == 0)
    ours_error = 255 * np.abs(ours - ideal)[ring].mean()
    pasted_error = 255 * np.abs(pasted - ideal)[ring].mean()
    print(f"{mode} radius {radius}: mean error in the ring {ours_error:.2f} LSB, blur and paste {pasted_error:.2f}")
    assert ours_error <= pasted_error / 5
