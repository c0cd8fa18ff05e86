"""The emulator itself: right kernels give right results in every order, and each fault of wrong ones is found."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import emulator
import numpy as np
import pytest
from emulator import KernelError, Module

pytestmark = pytest.mark.skipif(bool(emulator.unusable()), reason=emulator.unusable())

SOURCES = Path(emulator.__file__).parent
ORDERS = ("forward", "reverse", 1, 2)
f32, i32 = np.float32, np.int32


def at(array):
    """The address of an array, as the host passes one."""
    return np.uint64(array.ctypes.data)


def floats(*shape):
    return np.random.default_rng(0).uniform(-9, 9, shape).astype(f32)


@pytest.fixture(params=ORDERS)
def order(request, monkeypatch):
    monkeypatch.setattr(emulator, "order", request.param)
    return request.param


@pytest.fixture(scope="module")
def right():
    return Module(SOURCES / "right.cu").get_function


@pytest.fixture(scope="module")
def wrong():
    return Module(SOURCES / "wrong.cu").get_function


# --- Right results ---


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("n", [1, 128, 1000])
def test_pointwise(right, order, dtype, n):
    values, out = np.abs(floats(n)).astype(dtype), np.zeros(n + 1, dtype)
    right(f"scale_{dtype}")((-(-n // 128),), (128,), (at(values), at(out), f32(2.5), i32(n)))
    exact = values.astype(np.float64) * 2.5 + 1  # until it is rounded, as fmaf is
    assert np.array_equal(out[:-1], exact.astype(f32).astype(dtype))
    assert out[-1] == 0


@pytest.mark.parametrize(("name", "shared"), [("turn_static", 0), ("turn_dynamic", 1024)])
def test_shared_memory_and_barrier(right, order, name, shared):
    values = floats(3, 256)
    turned = values[:, ::-1].copy()
    right(name)((3,), (256,), (at(values),), shared_mem=shared)
    assert np.array_equal(values, turned)


def test_shared_memory_is_poisoned_before_each_block(right, order):
    counts = np.zeros((4, 2), i32)
    right("count_nans")((4,), (96,), (at(counts), i32(300)), shared_mem=1200)
    assert counts.tolist() == [[300, 64]] * 4


@pytest.mark.parametrize("width", [4, 32])
def test_scan(right, order, width):
    values = np.arange(128, dtype=i32) ** 2
    sums = values.reshape(-1, width).cumsum(1).ravel()
    right("scan")((2,), (64,), (at(values), i32(width)))
    assert np.array_equal(values, sums)


def test_shuffles(right, order):
    values, out = np.arange(32, dtype=f32), np.empty((4, 32), f32)
    right("shuffle")((1,), (32,), (at(values), at(out)))
    lane = np.arange(32)
    sources = [lane // 8 * 8 + 3, np.where(lane < 2, lane, lane - 2), np.where(lane > 29, lane, lane + 2), lane ^ 5]
    assert np.array_equal(out, values[np.array(sources)])


@pytest.mark.parametrize("threads", [32, 100])  # the last warp of 100 has 4 lanes
def test_votes(right, order, threads):
    votes = np.zeros(threads, i32)
    votes[:32] = 5
    votes[40:70:3] = 1
    out = np.empty((6, threads), i32)
    right("vote")((1,), (threads,), (at(votes), at(out)))
    for first in range(0, threads, 32):
        warp, seen = votes[first : first + 32] != 0, out[:3, first : first + 32]
        assert (seen == np.array([[warp.any()], [warp.all()], [warp.sum()]])).all()
    count = np.count_nonzero(votes)
    assert (out[3:] == np.array([[count], [1], [count == threads]])).all()


def test_orders(right, order):
    grid, block = (3, 2, 2), (5, 4, 3)
    tickets, counter = np.empty(12 * 60, i32), np.zeros(1, i32)
    right("ticket")(grid, block, (at(tickets), at(counter)))
    forward = np.arange(12 * 60)
    assert np.array_equal(np.sort(tickets), forward)
    if order == "forward":
        assert np.array_equal(tickets, forward)
    elif order == "reverse":
        assert np.array_equal(tickets, forward[::-1])
    else:
        again = np.empty_like(tickets)
        counter[:] = 0
        right("ticket")(grid, block, (at(again), at(counter)))
        assert np.array_equal(tickets, again)  # the seed decides
        assert np.abs(np.diff(tickets)).mean() > 4
        assert (np.diff(tickets.reshape(12, 60).min(1)) < 0).any()  # blocks, too


LINE = np.dtype(
    [("in", "u8"), ("out", "u8"), ("n", "i4"), ("step", "u1"), ("slope", "f8"), ("offset", "f4", 2)], align=True
)


@pytest.mark.parametrize("make", [lambda values: values, lambda values: values[()]])  # 0-d array, np.void
def test_struct_by_value(right, make):
    values, out = floats(100), np.empty(50, f32)
    line = np.array((at(values), at(out), 50, 2, 0.5, (7, -1)), LINE)
    right("line")((1,), (64,), (make(line), np.bool_(True)))
    assert np.array_equal(out, 1 - values[::2] / 2)


def test_denormals_are_flushed(right):
    values, out = np.array([3e-38, 1e-38], f32), np.ones(2, f32)
    right("line")((1,), (2,), (np.array((at(values), at(out), 2, 1, 0.5, (0, 0)), LINE), np.bool_(False)))
    assert out.tolist() == [f32(1.5e-38), 0]
    assert f32(3e-38) * f32(0.25) > 0  # only there


def test_halves(right):
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    numbers = np.where(np.isfinite(every), every, 0).astype(f32)
    between = np.append((numbers[1:] + numbers[:-1]) / 2, 65519.99).astype(f32)  # ties to even, and almost an overflow
    wide, rounded = np.empty(1 << 16, f32), np.empty(1 << 16, np.float16)
    args = (at(every), at(wide), at(between), at(rounded))
    right("halves")((256,), (256,), args)
    assert np.array_equal(wide, every.astype(f32), equal_nan=True)
    assert np.array_equal(rounded, between.astype(np.float16))


def test_conversions_saturate(right):
    values = np.array([0, 0.5, 1.5, -1.5, 2.7, -2.7, 3e9, -3e9, 5e9, np.inf, -np.inf, np.nan], f32)
    out, unsigned = np.empty((12, 6), i32), np.empty((12, 2), np.uint32)
    right("convert")((1,), (12,), (at(values), at(out), at(unsigned)))
    exact = np.where(np.isnan(values), 0, values.astype(np.float64))
    for column, rounding in enumerate((np.rint, np.trunc, np.floor, np.ceil)):
        assert np.array_equal(out[:, column], np.clip(rounding(exact), -(2**31), 2**31 - 1))
    assert np.array_equal(out[:, 4].view(f32), values, equal_nan=True)
    assert np.array_equal(out[:, 5], np.clip(exact, 0, 1) * 100 // 1)
    for column, rounding in enumerate((np.rint, np.trunc)):
        assert np.array_equal(unsigned[:, column], np.clip(rounding(exact), 0, 2**32 - 1))


def test_vectors(right):
    data, four = np.arange(128, dtype=np.uint8).reshape(32, 4), floats(32, 4)
    out, out_four = np.empty_like(data), np.empty_like(four)
    right("swap_ends")((1,), (32,), (at(data), at(four), at(out), at(out_four)))
    assert np.array_equal(out, data[:, [3, 1, 2, 0]])
    assert np.array_equal(out_four, four[:, [3, 1, 2, 0]])


def test_stacks_of_the_system(monkeypatch):
    """What other processors than x86-64 use."""
    monkeypatch.setattr(emulator, "FLAGS", (*emulator.FLAGS, "-DEMULATOR_UCONTEXT"))
    values = floats(3, 256)
    turned = values[:, ::-1].copy()
    Module(SOURCES / "right.cu").get_function("turn_static")((3,), (256,), (at(values),))
    assert np.array_equal(values, turned)
    with pytest.raises(KernelError, match="returned"):
        Module(SOURCES / "wrong.cu").get_function("barrier_after_return")((1,), (256,), (at(values),))


def test_launches_from_several_threads(right):
    def turn(_):
        values = floats(500, 256)
        right("turn_static")((500,), (256,), (at(values),))
        return np.array_equal(values, floats(500, 256)[:, ::-1])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(turn, range(8)))


# --- Wrong results ---


@pytest.mark.parametrize("name", ["turn_without_barrier", "turn_overwriting", "turn_half_loaded"])
def test_races_and_unset_memory_show(wrong, monkeypatch, name):
    def differs(order):
        monkeypatch.setattr(emulator, "order", order)
        values = floats(2, 256)
        turned = values[:, ::-1].copy()
        wrong(name)((2,), (256,), (at(values),))
        return not np.array_equal(values, turned)

    assert any(differs(order) for order in ORDERS)


def test_unset_array(wrong):
    values = np.zeros(256, f32)
    wrong("unset_array")((1,), (256,), (at(values),))
    assert np.flatnonzero(values != 1).tolist() == [3]
    assert abs(values[3]) > 1e38


def test_shuffle_from_outside_its_mask(wrong, order):
    values = floats(256)
    wrong("shuffle_from_outside")((1,), (256,), (at(values),))
    assert np.isnan(values).all()


# --- Errors of launches ---


def marked(name):
    """The line of a kernel in wrong.cu that is marked as the fault."""
    lines = (SOURCES / "wrong.cu").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if f" {name}(" in line)
    return next(i for i, line in enumerate(lines[start:], start + 1) if "// HERE" in line)


@pytest.mark.parametrize(
    ("name", "thread", "message"),
    [
        (
            "barriers_in_branches",
            7,
            "__syncthreads at wrong.cu:{other}, but others of the block wait at wrong.cu:{here}",
        ),
        ("barrier_in_branch", 0, "__syncthreads at wrong.cu:{here}, but 1 threads of the block have returned"),
        ("barrier_after_return", 0, "__syncthreads at wrong.cu:{here}, but 5 threads of the block have returned"),
        (
            "barrier_beside_shuffle",
            32,
            "__shfl_sync at wrong.cu:{here}, mask 0xffffffff, waits for ever for lanes 0x00000002",
        ),
        (
            "shuffle_in_branch",
            1,
            "__shfl_up_sync at wrong.cu:{here}, mask 0xffffffff, waits for ever for lanes 0x00000001",
        ),
        ("shuffle_left_out", 0, "__shfl_sync at wrong.cu:{here}, mask 0xfffffffe, leaves out the calling lane 0"),
        (
            "shuffles_of_two_masks",
            31,
            "mask 0xffffffff, but lane 0 is in __shfl_sync at wrong.cu:{here}, mask 0xfffffffd",
        ),
        ("different_collectives", 31, "__all_sync at wrong.cu:{here}, mask 0xffffffff, but lane 0 is in __any_sync at"),
        ("no_shared_memory", 0, "dynamic shared memory is used, but the launch asked for none"),
        ("misaligned_vector", 0, "misaligned access to 16 bytes at 0x"),
        ("wild_pointer", 44, "invalid or misaligned access to memory at 0x30"),
        ("endless_recursion", 0, "invalid or misaligned access to memory"),
        ("division_by_zero", 0, "integer division by zero"),
    ],
)
def test_faults(wrong, right, name, thread, message):
    values = np.zeros(600, f32)
    values = values[-values.ctypes.data // 4 % 4 :]
    here = marked(name) if "{here}" in message else 0
    with pytest.raises(KernelError) as error:
        wrong(name)((2,), (256,), (at(values),))
    text = str(error.value)
    block = 1 if name == "wild_pointer" else 0
    assert text.startswith(f"{name}: block ({block}, 0, 0), thread ({thread}, 0, 0): ")
    assert message.format(here=here, other=here + 2) in text

    turned = floats(256)  # the next launch is none the worse for it
    wrong("turn_after_error")((1,), (256,), (at(turned),))
    assert np.array_equal(turned, floats(256)[::-1])


def test_faults_in_other_orders(wrong, order):
    values = floats(512)
    with pytest.raises(KernelError, match="but others of the block wait"):
        wrong("barriers_in_branches")((2,), (256,), (at(values),))
    with pytest.raises(KernelError, match="waits for ever"):
        wrong("barrier_beside_shuffle")((2,), (256,), (at(values),))


def test_shared_as_global(wrong):
    values = floats(32)
    with pytest.raises(KernelError, match="shared memory accessed as global memory"):
        wrong("shared_as_global")((1,), (32,), (at(values),), shared_mem=128)


def test_shared_memory_limits(wrong):
    values = floats(256)
    kernel, args = wrong("much_shared_memory"), (at(values),)
    kernel((1,), (256,), args, shared_mem=8 << 10)
    with pytest.raises(KernelError, match="40960 bytes of static and 8196 of dynamic shared memory, at most 49152"):
        kernel((1,), (256,), args, shared_mem=(8 << 10) + 4)
    with pytest.raises(KernelError, match="50000 bytes of dynamic shared memory, but max_dynamic_shared_size_bytes is"):
        kernel((1,), (256,), args, shared_mem=50_000)
    kernel.max_dynamic_shared_size_bytes = 60_000
    kernel((1,), (256,), args, shared_mem=50_000)
    with pytest.raises(KernelError, match="60001 bytes of dynamic"):
        kernel((1,), (256,), args, shared_mem=60_001)
    kernel.max_dynamic_shared_size_bytes = 99 << 10
    with pytest.raises(KernelError, match="at most 101376 are allowed"):
        kernel((1,), (256,), args, shared_mem=61_000)
    with pytest.raises(KernelError, match="at most 101376 can be had"):
        kernel.max_dynamic_shared_size_bytes = 100 << 10


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        ((1,), (1025,), "block (1025,)"),
        ((1,), (32, 32, 2), "2048 threads in a block, at most 1024"),
        ((1,), (1, 1, 65), "block (1, 1, 65)"),
        ((1,), (32, 0), "block (32, 0)"),
        ((0,), (32,), "grid (0,)"),
        ((1, 65536), (32,), "grid (1, 65536)"),
        ((1, 1, 65536), (32,), "grid (1, 1, 65536)"),
        ((), (32,), "grid ()"),
        ((1, 1, 1, 1), (32,), "grid (1, 1, 1, 1)"),
    ],
)
def test_launch_limits(right, grid, block, message):
    with pytest.raises(KernelError) as error:
        right("turn_static")(grid, block, ())
    assert message in str(error.value)


def test_launch_bounds(right):
    with pytest.raises(KernelError, match="scale_uint8: 129 threads in a block, at most 128 are allowed"):
        right("scale_uint8")((1,), (129,), ())


POINTER = np.uint64(64)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("scan", (POINTER,), "1 arguments, but the kernel takes 2"),
        ("scan", (POINTER, i32(4), i32(4)), "3 arguments, but the kernel takes 2"),
        ("scan", (POINTER, 4), "argument 1 (int width) is int64, wanted is int32"),
        ("scan", (POINTER, np.uint32(4)), "argument 1 (int width) is uint32, wanted is int32"),
        ("scan", (64, i32(4)), "argument 0 (int* values) is int64, wanted is uint64"),
        ("scan", (None, i32(4)), "argument 0 (int* values) is neither number nor struct, wanted is uint64"),
        ("scan", (np.zeros(1, np.uint64), i32(4)), "argument 0 (int* values) is an array of uint64, wanted is uint64"),
        ("scale_float32", (POINTER, POINTER, 2.5, i32(1)), "(float factor) is float64, wanted is float32"),
        ("line", (np.zeros((), [("in", "u8"), ("out", "u8")]), np.bool_(1)), "is a struct of 16 bytes, wanted"),
        ("line", (np.zeros((), LINE), np.uint8(1)), "(bool negative) is uint8, wanted is bool"),
    ],
)
def test_arguments(right, name, args, message):
    with pytest.raises(KernelError) as error:
        right(name)((1,), (32,), args)
    assert str(error.value).startswith(f"{name}: ")
    assert message in str(error.value)


# --- Modules ---


def test_unknown_kernel(right):
    with pytest.raises(KernelError, match=r"right.cu has no kernel scan_all, only scale_float32, .*, scan, "):
        right("scan_all")


def test_sources_and_headers_decide_what_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(emulator, "CACHE", tmp_path / "cache")
    source, header = tmp_path / "answer.cu", tmp_path / "answer.cuh"
    source.write_text('#include "answer.cuh"\nextern "C" __global__ void answer(int* out) { *out = ANSWER; }\n')

    def answer():
        out = np.zeros(1, i32)
        Module(source).get_function("answer")((1,), (1,), (at(out),))
        return out[0]

    header.write_text("constexpr int ANSWER = 42;\n")
    assert (answer(), answer()) == (42, 42)
    assert len(list(emulator.CACHE.glob("*.so"))) == 1
    header.write_text("constexpr int ANSWER = 43;\n")
    assert answer() == 43
    header.write_text("constexpr int ANSWER = x;\n")
    with pytest.raises(KernelError, match=r"answer.cuh:1:24: error: .x. was not declared"):
        answer()
    source.write_text("__global__ void answer() {}\n")
    with pytest.raises(KernelError, match=r"answer.cu has no kernel"):
        answer()
    assert len(list(emulator.CACHE.glob("*.so"))) == 2  # and nothing half built


# --- Sanitizers ---

LAUNCHES = """
import os, sys
import numpy as np
from emulator import KernelError, Module

sources, folder, *lists = sys.argv[1:]
kernels = {}
for source in ("right.cu", "wrong.cu"):
    module = Module(f"{sources}/{source}", sanitize=True)
    kernels |= {name: module.get_function(name) for name in module.names}
for names in lists:
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    os.dup2(os.open(f"{folder}/{names}", os.O_CREAT | os.O_WRONLY), 2)
    values = np.arange(512, dtype=np.float32)
    for name in names.split():
        try:
            kernels[name]((2,), (256,), (np.uint64(values.ctypes.data),), shared_mem=1024)
        except KernelError as error:
            print(error, file=sys.stderr)
    print(values.reshape(2, 256)[:, [0, 255]].tolist(), file=sys.stderr, flush=True)
    os._exit(0)
"""
FOUND = {
    "read_beyond": ("AddressSanitizer: heap-buffer-overflow", "block (1, 0, 0), thread (255, 0, 0)"),
    "beyond_static": ("runtime error: index 255 out of bounds", "block (0, 0, 0), thread (255, 0, 0)"),
    "beyond_dynamic": ("AddressSanitizer: heap-buffer-overflow", "block (0, 0, 0), thread (255, 0, 0)"),
    "misaligned_plainly": ("to misaligned address", "block (0, 0, 0), thread (0, 0, 0)"),
    "overflow": ("runtime error: signed integer overflow", "block (1, 0, 0), thread (0, 0, 0)"),
    "unbounded_cast": ("runtime error: 1e+10 is outside the range", "block (0, 0, 0), thread (1, 0, 0)"),
}
PASSED = "turn_static turn_dynamic turn_static"
FAILED_AND_PASSED = "left_stacks turn_after_error"


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """What the sanitizers say of lists of kernels. Each list has a process of its own, as an error ends it."""
    folder = tmp_path_factory.mktemp("sanitized")
    environment = os.environ | emulator.sanitizer_environment() | {"PYTHONPATH": str(SOURCES.parent)}
    lists = (PASSED, FAILED_AND_PASSED, *FOUND)
    command = (sys.executable, "-c", LAUNCHES, SOURCES, folder, *lists)
    subprocess.run(command, env=environment, cwd=folder, check=True)
    return {names: (folder / names).read_text() for names in lists}


def test_sanitizers_pass_what_is_right(sanitized):
    assert sanitized[PASSED] == "[[255.0, 0.0], [511.0, 256.0]]\n"


def test_sanitizers_pass_what_follows_an_error(sanitized):
    error, result = sanitized[FAILED_AND_PASSED].splitlines()
    assert error.startswith("left_stacks: block (0, 0, 0), thread (40, 0, 0): __syncthreads at wrong.cu:")
    assert result == "[[255.0, 0.0], [511.0, 256.0]]"


@pytest.mark.parametrize("name", FOUND)
def test_sanitizers_find(sanitized, name):
    report, place = FOUND[name]
    assert report in sanitized[name]
    assert f"wrong.cu:{marked(name)}" in sanitized[name]
    assert f"{name}: {place}" in sanitized[name]


def test_sanitizers_need_their_environment():
    with pytest.raises(KernelError, match="needs a process started with sanitizer_environment"):
        Module(SOURCES / "right.cu", sanitize=True)
