"""What an engineer would use otherwise, beside `test_road.py`: same photo, mask, radius and threads."""

from __future__ import annotations

import functools
import importlib
import math

import numpy as np
import pytest

from . import truth
from .peers import PEERS
from .test_road import RADII
from .torch_peers import TORCH_PEERS

slow: dict[str, str] = {}  # who, and why no larger radius


@pytest.fixture(scope="session")
def intended(centre):
    """The crops on which a radius is judged, and what each kind of peer means to make of them."""

    @functools.cache
    def made(mode, r, border):
        rows = max(truth.ROWS, math.ceil(6 * r))  # no kernel is wider: OpenCV would cut its stackBlur short
        small = truth.crop(centre.photo, rows), truth.crop(centre.mask, rows)
        return small, truth.pasted(*small, mode, r, border)

    return made


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("peer", [*PEERS, *TORCH_PEERS], ids=lambda p: f"{p.name} on {p.device}".replace(" ", "-"))
def test_peer(peer, radius, centre, intended, pytestconfig, place, measure):
    if peer.device != place.name:
        pytest.skip(f"needs --device {peer.device}")
    if peer.name in slow:
        pytest.skip(slow[peer.name])
    try:
        importlib.import_module(peer.module)
    except Exception as error:  # a missing shared library is not an ImportError
        pytest.skip(f"{peer.module}: {type(error).__name__}: {error}")
    r = centre.pixels_of(radius)
    small, want = intended(peer.mode, r, peer.border)
    # Against its own intention, so that nobody is blamed for another definition.
    error = truth.error(shown(peer.prepare(*small, r)()), want)
    median = measure(
        peer.prepare(centre.photo, centre.mask, r), who=peer.name, job=peer.mode, radius=radius,
        megapixels=centre.megapixels, error=error, bound=peer.bound,
    )  # fmt: skip
    if median > pytestconfig.getoption("slow"):
        slow[peer.name] = f"took {median:.1f} s at radius {radius:g}"


def shown(result):
    return np.asarray(result.cpu() if hasattr(result, "cpu") else result)
