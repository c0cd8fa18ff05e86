"""What the CUDA backend keeps of a call for the next one of its kind: programs, which hold no picture and no memory."""

import gc
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import emulated
import emulator
import numpy as np
import pytest
from conftest import matte, scene
from test_counts import CALLS_SLACK, calls_of

import gpublur
from gpublur import InvalidArgument, backends, pipeline
from gpublur.api import Editor
from gpublur.backends.cuda import launches, loader, programs, structs
from gpublur.backends.cuda import ops as cuda
from gpublur.memory import Room
from gpublur.pipeline import Mask
from gpublur.types import BlurSpec

SIZE = 45, 70
PHOTOS = [(np.roll(scene(*SIZE), turn, axis=1) * 255).astype(np.uint8) for turn in (0, 30)]
MASKS = [np.roll(matte(*SIZE), turn, axis=1) for turn in (0, 30)]
RGBA = np.concatenate([PHOTOS[0], np.full((*SIZE, 1), 200, np.uint8)], 2)
CALLS = {
    "gaussian": lambda editor, photo, mask: editor.blur_background(photo, "gaussian", 0.05, mask=mask),
    "bokeh, refined": lambda editor, photo, mask: editor.blur_background(
        photo, "bokeh", mask=mask[::3, ::3], refine=True
    ),
    "floats": lambda editor, photo, mask: editor.blur_background(photo / np.float32(255), "gaussian", mask=mask),
    "cut out": lambda editor, photo, mask: editor.remove_background(photo, mask=mask),
    "painted": lambda editor, photo, mask: editor.remove_background(photo, "red", mask=mask),
    "matte": lambda editor, photo, mask: editor.blur_background(photo, mask=mask, on_no_subject="keep"),
    "no mask": lambda editor, photo, mask: editor.bokeh_blur(photo, 0.03),
}
needs_emulator = pytest.mark.skipif(bool(emulator.unusable()), reason=emulator.unusable())
FLOATS, BYTES = np.dtype("float32"), np.dtype("uint8")


@pytest.fixture
def editor(monkeypatch):
    return emulated.editor(monkeypatch)


@needs_emulator
@pytest.mark.parametrize("name", CALLS)
def test_a_program_serves_other_pictures_of_its_kind(editor, monkeypatch, name):
    call = CALLS[name]
    call(editor, PHOTOS[0], MASKS[0])
    hits = programs.program.cache_info().hits
    got = call(editor, PHOTOS[1], MASKS[1])
    assert programs.program.cache_info().hits == hits + 1
    monkeypatch.setattr(programs, "program", lambda *_: None)  # step by step
    np.testing.assert_array_equal(got, call(editor, PHOTOS[1], MASKS[1]))


def recorded(step, shape, *settings, mask=SIZE, policy="blur_all"):
    given = None if mask is None else Mask(programs.Kind(mask, FLOATS), False, policy)
    return programs.program(cuda, step, programs.Kind(shape, BYTES), False, given, *settings)


BLUR, RED = BlurSpec("gaussian").checked(), (1.0, 0.0, 0.0)


def test_steps_that_do_more_than_launch_are_not_recorded():
    for step, channels, settings in (
        (pipeline.blur, 1, [BLUR]), (pipeline.blur, 4, [BLUR]), (pipeline.segment, 3, []), (pipeline.remove, 4, [None]),
        (pipeline.remove, 3, [RED]),
    ):  # fmt: skip
        assert recorded(step, (*SIZE, channels), *settings).launches
    assert (
        recorded(pipeline.blur, (*SIZE, 3), BLUR, policy="keep") is None
    )  # whether there is a subject, the mask tells
    assert recorded(pipeline.remove, (*SIZE, 1), None) is None  # grey is repeated
    assert recorded(pipeline.remove, (*SIZE, 4), RED) is None  # the fourth channel is left out
    assert recorded(pipeline.blur, (*SIZE, 3), BLUR, mask=None).launches


def test_a_recorder_does_nothing_by_halves():
    recorder = programs.Recorder()
    symbol = recorder.given(programs.Kind(SIZE, BYTES))
    for use in (
        lambda: symbol.max,
        lambda: symbol[0],
        lambda: recorder.cast(symbol, "float32"),
        lambda: recorder.copy,
    ):
        with pytest.raises(programs.Unrecorded):
            use()


def test_only_addresses_are_64_bits_without_a_sign():
    """Programs find them by that."""
    kinds = {name: value for name, value in vars(structs).items() if isinstance(value, np.dtype)}
    found = {name: int(programs.pointers(kind).sum()) for name, kind in kinds.items()}
    assert {name: n for name, n in found.items() if n} == {
        "PHOTO": 2, "ALPHA_SOURCE": 2, "COLOR_FIELDS": 2, "GRID": 2, "UPSAMPLING": 3, "STEPS": 3
    }  # fmt: skip
    both = np.dtype([("first", "i8"), ("photo", structs.PHOTO), ("last", "u8")])
    assert programs.pointers(both).nonzero()[0].tolist() == [1, 2, both.itemsize // 8 - 1]


def struct(arg, dtype):
    """An argument, of which only the bytes are there, as the struct that it is."""
    return np.frombuffer(arg.tobytes(), dtype)[0]


def test_an_address_is_its_buffers_and_how_far_into_it():
    """A program of two launches by hand: what was symbolic is now in the buffers that are there."""
    recorder = programs.Recorder()
    picture = recorder.given(programs.Kind(SIZE, BYTES))
    out = recorder.empty((3, 5), "float32")
    _, (one, two) = recorder.scratch(Room.of({"one": 100, "two": 100}))
    photo = np.array((picture.address + 7, 0, 1, 2, 3, 4, 5, 6, 7), structs.PHOTO)
    where = launches.Launch("a", "b", (1,), (1,))
    recorder.launch(where, (photo, one, np.int32(9)))
    recorder.launch(where, (np.uint64(two + np.uint64(12)), np.uint64(out.address), photo))
    launched, memory = [], emulated.EmulatedMemory()
    with pytest.MonkeyPatch.context() as patch:
        gpu = emulated.EmulatedGpu()
        gpu.launch = lambda *launch: launched.append(launch[4])
        patch.setattr(loader, "gpu", lambda: gpu)
        buffers = np.zeros(200, np.float32)
        patch.setattr(memory, "scratch", lambda room: (buffers, np.array([1000, 2000], np.uint64)), raising=False)
        given = np.zeros(SIZE, np.uint8)
        result = recorder.program(out).run(memory, given)
    assert (result.shape, result.dtype) == ((3, 5), FLOATS)
    (seen, first, nine), (second, at, again) = launched
    want = np.array((given.ctypes.data + 7, 0, 1, 2, 3, 4, 5, 6, 7), structs.PHOTO)
    assert struct(seen, structs.PHOTO) == struct(again, structs.PHOTO) == want
    assert (first, second, at, nine) == (1000, 2012, result.ctypes.data, 9)


def test_structs_are_passed_without_names(monkeypatch):
    """For names CuPy would have NumPy make a description at every launch, which takes longer than all of the launch."""
    editor = emulated.editor(monkeypatch)
    launched = []
    monkeypatch.setattr(loader.gpu(), "launch", lambda *launch: launched.append(launch), raising=False)
    editor.bokeh_blur(PHOTOS[0])
    monkeypatch.setattr(programs, "program", lambda *_: None)
    editor.bokeh_blur(PHOTOS[0])
    kinds = [arg.dtype for _, entry, _, _, args, *_ in launched for arg in args if entry != "upload"]
    assert any(kind.kind == "V" for kind in kinds)
    assert not any(kind.names for kind in kinds)


def test_threads_run_a_program_side_by_side(monkeypatch):
    """Each sees its own addresses, whoever runs between making arguments and launching."""
    editor, seen = emulated.editor(monkeypatch), []
    photos = [np.array(PHOTOS[0]) for _ in range(64)]

    def launch(source, entry, grid, block, args, shared, stream):
        if entry.startswith("composite"):
            seen.append((int(struct(args[0], structs.PHOTO)["pixels"]), int(args[-1])))

    monkeypatch.setattr(loader.gpu(), "launch", launch, raising=False)
    monkeypatch.setattr(emulated.EmulatedMemory, "adopt", lambda self, array: array)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda photo: editor.blur_background(photo, mask=MASKS[0]), photos))
    finally:
        sys.setswitchinterval(switch)
    pairs = zip(photos, results, strict=True)
    assert sorted(seen) == sorted((photo.ctypes.data, result.ctypes.data) for photo, result in pairs)


@needs_emulator
def test_nothing_is_kept_of_a_picture_or_of_memory(editor, monkeypatch):
    made, empty = [], emulated.EmulatedMemory.empty

    class Told(np.ndarray):
        """An array that can be referred to weakly."""

    def told(self, shape, dtype):
        out = empty(self, shape, dtype).view(Told)
        made.append(weakref.ref(out))
        return out

    editor.blur_background(PHOTOS[0], mask=MASKS[0])  # tables are kept, and uploaded by now
    monkeypatch.setattr(emulated.EmulatedMemory, "empty", told)
    photo, mask = PHOTOS[0].copy().view(Told), MASKS[0].copy().view(Told)
    made += [weakref.ref(photo), weakref.ref(mask)]
    editor.blur_background(photo, mask=mask)
    del photo, mask
    gc.collect()
    assert len(made) > 3
    assert [ref for ref in made if ref() is not None] == []


@pytest.mark.parametrize(("name", "calls"), [("gaussian", 179), ("bokeh", 178), ("no mask", 104)])
def test_a_call_costs_its_host_little(name, calls):
    """Two allocations, of the result and of all else; and calls of functions, which no load of a machine changes."""
    pytest.importorskip("torch")
    from benchmarks import host

    usable = set(backends._usable)
    with host.stubbed():
        call = host.jobs(Editor("cuda"))[name]
        call()
        host.HeldMemory.allocated = 0
        assert calls_of(call) <= calls * CALLS_SLACK
    assert host.HeldMemory.allocated == 2
    assert backends._usable == usable, "nothing but the stub has a GPU"


def test_few_are_kept():
    assert programs.program.cache_info().maxsize == programs.KEPT <= 256


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ({"dither": True}, {"dither": 1}, "dither=1 is not True or False"),
        ({"linear_light": False}, {"linear_light": 0}, "linear_light=0 is not True or False"),
        ({"highlights": 1}, {"highlights": True}, "highlights=True is not a number"),
        ({"highlight_threshold": (0, 1)}, {"highlight_threshold": (False, True)}, r"highlight_threshold\[0\]=False"),
        ({"highlight_threshold": (0, 1)}, {"highlight_threshold": (0, 1, 1)}, r"\(0, 1, 1\) is not a pair"),
        ({"highlight_threshold": (0, 1)}, {"highlight_threshold": 1}, "=1 is not a pair"),
        ({"highlight_threshold": (0, 1)}, {"highlight_threshold": ([], 1)}, r"highlight_threshold\[0\]=\[\]"),
        ({"radius": 0.05}, {"radius": [0.05]}, r"radius=\[0.05\]"),
        ({"radius": "3px"}, {"radius": "30px"}, "radius='30px' is more than an image of"),
        ({"refine": True}, {"refine": 1}, "refine=1"),
        ({"details": False}, {"details": 0}, "details=0"),
        ({"mask": MASKS[0]}, {"mask": MASKS[0][:20]}, "has not the proportions"),
        ({"layout": "HWC"}, {"layout": "CHW"}, "45 channels"),
    ],
)
def test_what_passed_before_lets_nothing_else_pass(good, bad, message):
    """Options are looked up, and 1 is True there; shapes are, too."""
    for _ in range(2):
        gpublur.blur_background(PHOTOS[0], **{"mask": MASKS[0], "device": "cpu", **good})
    for _ in range(2):
        with pytest.raises(InvalidArgument, match=message):
            gpublur.blur_background(PHOTOS[0], **{"mask": MASKS[0], "device": "cpu", **bad})


def test_an_option_that_is_not_hashable_is_checked_all_the_same():
    want = Editor("cpu").blur_background(PHOTOS[0], mask=MASKS[0], highlight_threshold=(0.5, 0.9))
    for pair in ([0.5, 0.9], np.array([0.5, 0.9])):
        got = Editor("cpu").blur_background(PHOTOS[0], mask=MASKS[0], highlight_threshold=pair)
        np.testing.assert_array_equal(got, want)
