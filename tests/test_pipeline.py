"""Many pictures at once: order, backpressure, failures, memory, and what ends a run."""

import gc
import threading
import time
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
from conftest import PATIENCE

import gpublur
from gpublur import batch, image_io
from gpublur.batch import overlap
from gpublur.errors import ImageFileError, InvalidArgument, ModelUnavailable
from gpublur.image_io import Photo

PICTURE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
PNG = image_io.encode(Photo(PICTURE), "PNG")


def values(outcomes):
    return [outcome.value for outcome in outcomes]


def test_results_keep_the_order_of_their_sources():
    second_done = threading.Event()

    def work(n):
        if n == 1:
            assert second_done.wait(PATIENCE)
        if n == 2:
            second_done.set()
        return -n

    assert values(overlap(range(5), work, workers=2)) == [0, -1, -2, -3, -4]


def test_or_come_as_they_are_finished():
    second_given = threading.Event()

    def work(n):
        assert n != 1 or second_given.wait(PATIENCE)
        return n

    found = []
    for outcome in overlap(range(5), work, workers=2, ordered=False):
        found.append(outcome.value)
        if outcome.value == 2:
            second_given.set()
    assert found.index(2) < found.index(1)
    assert sorted(found) == [0, 1, 2, 3, 4]


def test_pictures_are_worked_on_at_the_same_time():
    met = threading.Barrier(3, timeout=PATIENCE)
    outcomes = overlap(range(7), lambda n: n and met.wait(), workers=3)
    assert [outcome.error for outcome in outcomes] == [None] * 7


def test_the_first_goes_alone():
    begun = []

    def work(n):
        begun.append(n)
        if n == 0:
            time.sleep(0.1)  # others would begin meanwhile
        return len(begun)

    assert values(overlap(range(4), work, workers=3))[0] == 1


@pytest.mark.parametrize("ordered", [True, False])
def test_no_more_is_begun_than_may_wait(ordered):
    taken = []

    def sources():
        for n in range(1000):
            taken.append(n)
            yield n

    outcomes = overlap(sources(), lambda n: n, workers=2, queue=3, ordered=ordered)
    assert not taken  # nothing before the first result is asked for
    for given in range(1, 20):
        next(outcomes)
        assert len(taken) <= given + 2 + 3
    outcomes.close()
    assert len(taken) < 30
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpublur_")]


def test_one_failure_does_not_stop_the_rest():
    outcomes = list(overlap([1, 0, 2], lambda n: 2 / n, workers=2))
    assert values(outcomes) == [2, None, 1]
    assert isinstance(outcomes[1].error, ZeroDivisionError)
    assert outcomes[1].source == 0


def test_a_failure_does_not_keep_the_picture():
    class Large:
        pass

    alive = []

    def work(_n):
        large = Large()
        alive.append(weakref.ref(large))
        raise ValueError("broken")

    outcomes = list(overlap(range(3), work, workers=1))
    gc.collect()
    assert len(outcomes) == 3
    assert not [ref for ref in alive if ref() is not None]


def test_what_no_picture_would_be_spared_ends_the_run():
    begun = []

    def work(n):
        begun.append(n)
        if n == 1:
            raise ModelUnavailable("no weights")
        return n

    outcomes = overlap(range(1000), work, workers=2)
    assert next(outcomes).value == 0
    with pytest.raises(ModelUnavailable, match="no weights"):
        list(outcomes)
    assert len(begun) < 20


def test_progress_counts_what_is_over():
    counts = []
    for outcome in overlap([1, 0, 2], lambda n: 1 / n, progress=counts.append):
        assert counts[-1] == len(counts)
        assert outcome.source == [1, 0, 2][len(counts) - 1]
    assert counts == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"workers": 0}, r"workers=0 is not a number in \[1, 1024\]"),
        ({"workers": 1.5}, r"workers=1\.5 is not a whole number"),
        ({"workers": True}, "workers=True"),
        ({"queue": -1}, "queue=-1"),
        ({"format": "GIF"}, "format='GIF'"),
        ({"jpeg_quality": 0}, "jpeg_quality=0"),
    ],
)
def test_arguments_are_refused_at_once(options, told):
    with pytest.raises(InvalidArgument, match=told):
        gpublur.process([PNG], lambda pixels: pixels, **options)


def test_files_and_bytes_become_bytes(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    sources = [path, str(path), PNG, tmp_path / "missing.jpg", b"no picture"]
    outcomes = list(gpublur.process(sources, lambda pixels: 255 - pixels))
    assert [outcome.source for outcome in outcomes] == sources
    for outcome in outcomes[:3]:
        np.testing.assert_array_equal(image_io.decode(outcome.value).pixels, 255 - PICTURE)
    assert [type(outcome.error) for outcome in outcomes[3:]] == [ImageFileError, ImageFileError]


@pytest.mark.parametrize(
    ("given", "format", "channels", "written"),
    [("JPEG", None, 3, "JPEG"), ("JPEG", None, 4, "PNG"), ("JPEG", "WEBP", 4, "WEBP"), ("BMP", None, 4, "PNG")],
)
def test_the_format_holds_the_result(given, format, channels, written):
    source = image_io.encode(Photo(PICTURE), given)
    [outcome] = gpublur.process([source], lambda pixels: np.zeros((4, 5, channels), np.uint8), format=format)
    assert image_io.decode(outcome.value).format == written


def test_each_picture_has_its_own_blur():
    editor = gpublur.Editor("cpu")
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (40 + n, 60, 3), np.uint8) for n in range(12)]

    def blur(pixels):
        return editor.blur_background(pixels, mask=np.eye(*pixels.shape[:2], dtype=bool))

    sources = [image_io.encode(Photo(photo), "PNG") for photo in photos]
    outcomes = gpublur.process(sources, blur, workers=4)
    for photo, outcome in zip(photos, outcomes, strict=True):
        assert outcome.error is None, outcome.error
        np.testing.assert_array_equal(image_io.decode(outcome.value).pixels, blur(photo))


def test_memory_does_not_grow_with_the_number_of_pictures():
    """Few beside the 10,000 of benchmarks/throughput.py, but exact: what is allocated, not what is resident."""
    source = image_io.encode(Photo(np.zeros((200, 300, 3), np.uint8)), "PNG")

    tracemalloc.start()
    for outcome in gpublur.process((source for _ in range(100)), lambda pixels: 255 - pixels, workers=2, queue=2):
        assert outcome.error is None
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * 5 * 200 * 300 * 3  # four pictures, and what their decoder and encoder need


def test_cpus_are_shared_among_the_workers(monkeypatch):
    import numba

    before = numba.get_num_threads()
    cpus = numba.config.NUMBA_NUM_THREADS
    shares = set(values(overlap(range(9), lambda _n: numba.get_num_threads(), workers=cpus))[1:])
    assert shares == {1}
    assert numba.get_num_threads() == before  # the caller's own


def test_usable_cpus():
    assert 1 <= batch.usable_cpus() <= 4096


def test_what_is_no_picture_is_named():
    black = image_io.encode(Photo(np.zeros((4, 4, 3), np.uint8), "PNG"))
    [outcome] = gpublur.process([black], lambda pixels: (pixels, None))
    assert isinstance(outcome.error, InvalidArgument)
    assert str(outcome.error) == "work returned a tuple, not an array of pixels"
