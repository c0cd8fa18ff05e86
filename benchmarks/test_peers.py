"""What an engineer would use otherwise, beside `test_road.py`: same photo, mask, radius and threads."""

from __future__ import annotations

import importlib
import math

import pytest

from . import truth
from .peers import PEERS
from .test_road import RADII


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name.replace(" ", "-"))
def test_peer(peer, radius, photo, mask, pixels_of, measure):
    try:
        importlib.import_module(peer.module)
    except Exception as error:  # a missing shared library is not an ImportError
        pytest.skip(f"{peer.name}: {type(error).__name__}: {error}")
    r = pixels_of(radius)
    rows = max(truth.ROWS, math.ceil(6 * r))  # no kernel is wider than the crop: OpenCV would cut its stackBlur short
    small = truth.crop(photo, rows), truth.crop(mask, rows)
    # Against its own intention, so that nobody is blamed for another definition.
    error = truth.error(peer.prepare(*small, r)(), truth.pasted(*small, peer.mode, r, peer.border))
    assert error.within(peer.bound), error
    measure(peer.prepare(photo, mask, r), who=peer.name, job=peer.mode, radius=radius, error=error)
