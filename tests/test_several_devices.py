"""Several devices, by stand-ins: who gets which picture, what becomes of those of a device that fails, and bounds."""

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from test_cli import FakeEditor, make

import gpublur
from gpublur import api, backends, devices, image_io
from gpublur.cli import main
from gpublur.errors import DeviceUnavailable, InvalidArgument
from gpublur.image_io import Photo


class AcceleratorError(RuntimeError):
    """As torch's."""


class OutOfMemoryError(RuntimeError):
    """As torch's and CuPy's."""


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with cuda:0 and cuda:1, of which nothing is used but their number."""
    real = backends.load
    monkeypatch.setattr(backends, "load", lambda name: (SimpleNamespace(), "2 GPUs") if name == "cuda" else real(name))
    runtime = SimpleNamespace(getDeviceCount=lambda: 2)
    cupy = SimpleNamespace(ndarray=type("ndarray", (), {}), cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def photo(number):
    return image_io.encode(Photo(np.full((4, 5, 3), number, np.uint8)))


def number(data):
    return int(image_io.decode(data).pixels[0, 0, 0])


def test_all_are_the_gpus_or_else_the_cpu(two_gpus, monkeypatch):
    assert devices.chosen("all") == ["cuda:0", "cuda:1"]
    assert devices.chosen((0, "cuda:1", "cpu")) == ["cuda:0", "cuda:1", "cpu"]
    monkeypatch.undo()
    if devices.gpus() == 0:
        assert devices.chosen("all") == ["cpu"]
        with pytest.raises(DeviceUnavailable, match="device='cuda' cannot run here"):
            gpublur.process([], gpublur.gaussian_blur, devices=[0, 1])


@pytest.mark.parametrize("wrong", ["cuda:0", [], [0, "cuda:0"], [0, 2], ["gpu"]])
def test_wrong_devices_are_refused_at_once(two_gpus, wrong):
    with pytest.raises(InvalidArgument, match="device"):
        gpublur.process([], gpublur.gaussian_blur, devices=wrong)


@pytest.mark.parametrize("ordered", [True, False])
def test_both_work_and_no_picture_is_lost(two_gpus, ordered):
    meet = threading.Barrier(2, timeout=60)  # from the second picture on, both are at work at once
    seen = []

    def work(pixels, device):
        if pixels[0, 0, 0]:
            meet.wait()
        seen.append(device)
        return pixels + 1

    outcomes = list(gpublur.process(map(photo, range(21)), work, workers=2, ordered=ordered, devices="all"))
    made = [number(outcome.value) for outcome in outcomes]
    assert (made if ordered else sorted(made)) == list(range(1, 22))
    assert all(number(outcome.value) == number(outcome.source) + 1 for outcome in outcomes)
    assert {seen.count("cuda:0"), seen.count("cuda:1")} == {10, 11}


@pytest.mark.parametrize("error", [AcceleratorError("illegal address"), DeviceUnavailable("no driver")])
def test_a_device_that_fails_is_left_out(two_gpus, error, caplog):
    seen = []

    def work(pixels, device):
        seen.append(device)
        if device == "cuda:0" and pixels[0, 0, 0] >= 5:
            raise error
        return pixels

    outcomes = list(gpublur.process(map(photo, range(30)), work, workers=4, queue=1, devices=[0, 1]))
    assert [number(outcome.value) for outcome in outcomes] == list(range(30))
    assert "cuda:0" in seen[:10]
    assert seen[12:].count("cuda:0") == 0
    assert caplog.text.count("cuda:0 works no more") == 1


def test_a_picture_that_fails_costs_no_device(two_gpus):
    def work(pixels, device):
        if pixels[0, 0, 0] == 3:
            raise OutOfMemoryError("too large")
        return pixels

    outcomes = list(gpublur.process(map(photo, range(8)), work, workers=2, devices=[0, 1]))
    assert [outcome.error is None for outcome in outcomes] == [n != 3 for n in range(8)]


def test_when_all_have_failed_the_run_ends(two_gpus):
    def work(pixels, device):
        raise AcceleratorError(f"{device} fell off the bus")

    with pytest.raises(
        DeviceUnavailable, match=r"every device has failed: cuda:0: .*; cuda:1: cuda:1 fell off the bus"
    ):
        list(gpublur.process([photo(0)], work, devices="all"))


def test_the_methods_of_an_editor_take_the_device():
    data = photo(9)
    [outcome] = gpublur.process([data], gpublur.Editor("cpu").gaussian_blur, devices=["cpu"])
    [alone] = gpublur.process([data], gpublur.gaussian_blur)
    assert outcome.value == alone.value


def test_the_command_line(two_gpus, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "Editor", FakeEditor)
    monkeypatch.setattr(FakeEditor, "calls", [])

    def run(*args):
        out = tmp_path / f"out{len(FakeEditor.calls)}"
        return CliRunner().invoke(main, ["blur", str(tmp_path / "in"), "-o", str(out), *args])

    for name in "abcdef":
        make(tmp_path / "in" / f"{name}.png")
    assert run("--devices", "0, cuda:1").exit_code == 0
    assert [how["device"] for name, how in FakeEditor.calls if name == "init"] == ["cuda:0", "cuda:1"]
    assert sum(name == "blur" for name, _ in FakeEditor.calls) == 6
    assert run("--devices", "all").exit_code == 0
    for args in (["--devices", "0,7"], ["--devices", "tpu"], ["--devices", "0", "--device", "cpu"]):
        refused = run(*args)
        assert refused.exit_code == 1
        assert "Error: " in refused.stderr
