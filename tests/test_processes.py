"""An Editor in worker processes, as data loaders and executors start them."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from conftest import PATIENCE

import gpublur

STARTS = sorted(multiprocessing.get_all_start_methods())


def photo(index):
    return np.random.default_rng(index).integers(0, 256, (40, 60, 3), np.uint8)


class Photos:
    """A dataset whose workers blur what they load."""

    def __init__(self, editor):
        self.editor = editor

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.editor.blur_background(photo(index), radius=0.03)


@pytest.fixture(scope="module")
def editor():
    """An Editor that has worked already: its model is loaded, its loops have run in threads."""
    editor = gpublur.Editor("cpu")
    editor.blur_background(photo(0), radius=0.03)
    return editor


@pytest.mark.parametrize("start", STARTS)
def test_in_a_data_loader(editor, start):
    data = pytest.importorskip("torch.utils.data")
    loader = data.DataLoader(
        Photos(editor), batch_size=None, num_workers=2, multiprocessing_context=start, timeout=PATIENCE
    )
    for got, want in zip(loader, map(Photos(editor).__getitem__, range(4)), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("start", STARTS)
def test_in_an_executor(editor, start):
    """Editors travel with the work, whose methods are pickled."""
    with ProcessPoolExecutor(1, multiprocessing.get_context(start)) as pool:
        got = [pool.submit(editor.blur_background, photo(i), radius=0.03) for i in range(2)]
        for i, result in enumerate(got):
            want = editor.blur_background(photo(i), radius=0.03)
            np.testing.assert_array_equal(result.result(timeout=PATIENCE), want)
