"""The loader of the kernels, with a stand-in for CuPy: what is found, loaded, launched and said."""

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import gpublur
from gpublur.backends.cuda import loader

ROOT = Path(__file__).parents[1]
ALL = ("add.cu", "sub.cu", "pixel.cuh")


class CudaError(RuntimeError):
    pass


class FakeKernel:
    def __init__(self, of, entry):
        self.of, self.entry, self.calls, self.limit = of, entry, [], loader.DEFAULT_SHARED

    def __call__(self, grid, block, args, *, shared_mem, stream):
        self.calls.append((grid, block, args, shared_mem, stream.ptr))

    @property
    def max_dynamic_shared_size_bytes(self):
        self.of.fake.looked_at += 1
        return self.limit

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, limit):
        self.of.fake.raised.append(limit)
        self.limit = limit


class FakeRawModule:
    fake: "FakeCupy"

    def __init__(self, *, code=None, path=None, options=()):
        self.code, self.path, self.options = code, path, options
        self.module = SimpleNamespace(ptr=7)
        self.kernels = {}
        self.fake.modules.append(self)

    def compile(self):
        assert not self.fake.busy, "two threads at once in CuPy"
        self.fake.busy = True
        time.sleep(0.01)
        self.fake.busy = False
        if self.path and self.fake.refuse:
            raise CudaError("CUDA_ERROR_NO_BINARY_FOR_GPU")

    def get_function(self, entry):
        return self.kernels.setdefault(entry, FakeKernel(self, entry))


class FakeCupy:
    """What `module` uses of CuPy, on a machine with an H100; a test changes what it wants otherwise."""

    def __init__(self):
        self.modules, self.raised, self.busy, self.refuse, self.device = [], [], False, False, 0
        self.looked_at = 0
        self.runtime = SimpleNamespace(
            CUDARuntimeError=CudaError,
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13020,
            getDeviceCount=lambda: 1,
            getDevice=lambda: self.device,
            getDeviceProperties=lambda device: {"name": b"NVIDIA H100", "major": 9, "minor": device},
        )
        self.nvrtc = SimpleNamespace(getVersion=lambda: (13, 2))

    def install(self, monkeypatch):
        raw_module = type("RawModule", (FakeRawModule,), {"fake": self})
        driver = SimpleNamespace(CUDADriverError=CudaError)
        cuda = {"runtime": self.runtime, "nvrtc": self.nvrtc, "driver": driver, "Device": lambda n: ("device", n)}
        packages = {
            "cupy": {"RawModule": raw_module},
            "cupy.cuda": cuda,
            "cupy._core": {},
            "cupy._core.core": {"assemble_cupy_compiler_options": lambda options: options},
        }
        for name, content in packages.items():
            package = ModuleType(name)
            vars(package).update(content)
            monkeypatch.setitem(sys.modules, name, package)
        sys.modules["cupy"].cuda = sys.modules["cupy.cuda"]
        sys.modules["cupy._core"].core = sys.modules["cupy._core.core"]


@pytest.fixture
def fake(monkeypatch):
    """A CuPy that works."""
    fake = FakeCupy()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def gpu(fake, wheel):
    return loader.Gpu()


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """The folder of the kernels of an installed package, with fatbins that fit."""
    folder = tmp_path / "site-packages/gpublur/kernels"
    place(monkeypatch, tmp_path, site=folder)
    write(folder, *ALL)
    build(folder)
    return folder


def place(monkeypatch, root, site):
    """Let the package be found in ``site`` and the checkout be ``root / "checkout"``."""
    monkeypatch.setattr(gpublur, "__path__", [str(site.parent)])
    monkeypatch.setattr(loader, "CHECKOUT", root / "checkout/kernels")


def write(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(f"// {name}\n")


def build(folder):
    """Do what CMakeLists.txt does for the sources found at present."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in loader.sources():
        (folder / f"{name}.fatbin").write_bytes(b"code")
    hashes = {name: loader.source_hash(name) for name in loader.sources()}
    (folder / "fatbin.json").write_text(json.dumps({"nvcc": "13.0.88", "archs": [75, 90], "sources": hashes}))


# ---- What is found


def test_a_wheel_has_all_in_one_folder(wheel):
    assert loader.sources() == ["add", "sub"]
    assert [loader.origin(name) for name in loader.sources()] == ["fatbin", "fatbin"]
    assert loader.where("add.cu") == wheel / "add.cu"
    assert loader.folder() == wheel


def test_an_editable_install_has_them_apart(tmp_path, monkeypatch):
    site = tmp_path / "site-packages/gpublur/kernels"
    place(monkeypatch, tmp_path, site)
    write(loader.CHECKOUT, *ALL)
    build(site)
    assert loader.where("add.cu").parent == loader.folder() == loader.CHECKOUT
    assert loader.where("add.fatbin").parent == site
    assert loader.origin("add") == "fatbin"


def test_a_checkout_has_sources_alone(tmp_path, monkeypatch):
    place(monkeypatch, tmp_path, tmp_path / "src/gpublur/kernels")
    write(loader.CHECKOUT, *ALL)
    assert loader.sources() == ["add", "sub"]
    assert loader.origin("add") == "nvrtc"


def test_these_kernels_are_found():
    assert {"composite", "decimate", "separable", "spans"} <= set(loader.sources())


def test_an_edited_source_is_compiled(wheel):
    (wheel / "add.cu").write_text("// edited\n")
    assert (loader.origin("add"), loader.origin("sub")) == ("nvrtc", "fatbin")


@pytest.mark.parametrize("name", ["pixel.cuh", "added.cuh"])
def test_an_edited_header_counts_for_all(wheel, name):
    (wheel / name).write_text("// edited\n")
    assert (loader.origin("add"), loader.origin("sub")) == ("nvrtc", "nvrtc")


@pytest.mark.parametrize("content", [None, "", "{}", '{"sources": {}}'])
def test_a_manifest_that_says_nothing(wheel, content):
    (wheel / "fatbin.json").unlink()
    if content is not None:
        (wheel / "fatbin.json").write_text(content)
    assert loader.origin("add") == "nvrtc"


@pytest.mark.parametrize(
    ("gpus", "options", "archs"),
    [
        ("", {}, ""),
        ("", {"GPUBLUR_ARCHS": "90;80"}, "80;90"),
        ("", {"GPUBLUR_ARCHS": "ALL"}, "75;80;86;89;90;100;120"),
        ("9.0\n9.0\n8.6\n", {}, "86;90"),
        ("10.0\n7.5\n", {}, "75;100"),
        ("9.0\n", {"GPUBLUR_ARCHS": "120"}, "120"),
        ("9.0\n", {"GPUBLUR_NVCC": "OFF"}, ""),
        ("9.0\n", {"GPUBLUR_NVCC": "nvcc"}, "75;80;86;89;90;100;120"),
        ("No devices were found\n", {}, ""),
    ],
)
def test_kernels_are_built_for_the_gpus_that_are_here(tmp_path, gpus, options, archs):
    if (cmake := shutil.which("cmake")) is None:
        pytest.skip("no cmake")
    known = "".join(f"compute_{arch}\\n" for arch in (75, 80, 86, 89, 90, 100, 120))
    for name, script in {
        "nvidia-smi": f"printf '{gpus}'",
        "nvcc": f"[ $1 = --version ] && echo release 13.0, V13.0.88 || printf '{known}'",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    options = options | ({"GPUBLUR_NVCC": tmp_path / "nvcc"} if options.get("GPUBLUR_NVCC") == "nvcc" else {})
    defines = [f"-D{name}={value}" for name, value in options.items()]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CUDA_HOME": str(tmp_path)}
    command = [cmake, "-S", ROOT, "-B", tmp_path / "build", *defines]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = said.partition("compiles the kernels for ")[2].partition("\n")[0]
    assert found == archs


def test_a_missing_fatbin_is_compiled(wheel):
    (wheel / "add.fatbin").unlink()
    assert (loader.origin("add"), loader.origin("sub")) == ("nvrtc", "fatbin")


def test_cmake_writes_the_same_manifest(wheel):
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("no cmake")
    out = wheel / "fatbin.json"
    built = json.loads(out.read_text())
    defines = {"OUT": out, "KERNELS": wheel, "NVCC": built["nvcc"], "ARCHS": "75, 90"}
    script = ROOT / "cmake/manifest.cmake"
    subprocess.run([cmake, *(f"-D{name}={value}" for name, value in defines.items()), "-P", script], check=True)
    assert json.loads(out.read_text()) == built


# ---- What is said


def says(*words):
    usable, reason = loader.status()
    assert not usable
    for word in words:
        assert word in reason
    assert len(reason) < 300
    return True


def test_status_of_a_machine_that_can(fake, wheel):
    assert loader.status() == (True, "")


def test_no_cupy(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setattr(sys, "path", [])
    assert says("not installed", "[cuda13]'", "cuda12")


@pytest.mark.parametrize("error", [OSError("libcudart.so.13"), ModuleNotFoundError("fastrlock", name="fastrlock")])
def test_broken_cupy(monkeypatch, error):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy.cuda":
                raise error

    package = ModuleType("cupy")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "cupy", package)
    monkeypatch.delitem(sys.modules, "cupy.cuda", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken()])
    assert says("cannot be imported", str(error), "reinstall")


def test_no_driver(fake):
    fake.runtime.driverGetVersion = lambda: 0
    assert says("no NVIDIA driver", "--gpus")


def test_cupy_for_another_cuda(fake):
    fake.runtime.driverGetVersion = lambda: 12040
    assert says("CuPy is for CUDA 13", "driver for CUDA 12.4", "[cuda12]'")


def test_no_device(fake):
    def none():
        raise CudaError("cudaErrorNoDevice")

    fake.runtime.getDeviceCount = none
    assert says("no CUDA device", "cudaErrorNoDevice", "CUDA_VISIBLE_DEVICES")


def test_no_kernels(fake, tmp_path, monkeypatch):
    place(monkeypatch, tmp_path, tmp_path / "nowhere")
    assert says("no kernels", "reinstall")


def unloadable():
    raise OSError("libnvrtc.so.13")


def test_no_nvrtc(fake, wheel):
    fake.nvrtc.getVersion = unloadable
    assert loader.status() == (True, "")  # the fatbins do
    (wheel / "sub.cu").write_text("// edited\n")
    assert says("no fatbin fits sub,", "libnvrtc.so.13", "[cuda13]'")


def test_no_cuda_headers(fake, wheel, monkeypatch):
    def missing(options):
        raise RuntimeError("Failed to find CUDA headers")

    monkeypatch.setattr(sys.modules["cupy._core.core"], "assemble_cupy_compiler_options", missing)
    assert loader.nvrtc() == ("", "RuntimeError: Failed to find CUDA headers")
    (wheel / "fatbin.json").unlink()
    assert says("add, sub", "Failed to find CUDA headers")


def test_status_never_raises(fake):
    fake.runtime.driverGetVersion = unloadable
    assert says("CUDA does not work here", "libnvrtc.so.13")


def test_the_real_cupy_without_a_driver(wheel):
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.runtime.driverGetVersion():
        pytest.skip("there is a driver")
    assert says("no NVIDIA driver")
    version, fault = loader.nvrtc()
    assert bool(version) != bool(fault)


def test_import_loads_no_cupy():
    code = "import sys, gpublur.backends.cuda.loader; sys.exit('cupy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_describe(fake, gpu, wheel):
    assert gpu.describe() == "NVIDIA H100 (sm_90), driver 13.0, kernels: fatbin (nvcc 13.0.88)"
    (wheel / "fatbin.json").unlink()
    assert gpu.describe().endswith("kernels: compiled by NVRTC at first use")


# ---- What is loaded and launched


def test_launch_passes_everything_on(fake, gpu):
    args = (np.int32(3), np.float32(0.5))
    gpu.launch("add", "add_3", (2, 3, 1), (32, 8), args, 1024, 55)
    gpu.launch("add", "add_3", (1,), (32,), (), 0, 0)
    (loaded,) = fake.modules
    assert loaded.kernels["add_3"].calls == [((2, 3, 1), (32, 8), args, 1024, 55), ((1,), (32,), (), 0, 0)]
    assert fake.raised == []


def test_shared_memory_is_raised_once_for_a_size(fake, gpu):
    for shared in (48 << 10, 50 << 10, 50 << 10, 49 << 10, 90 << 10):
        gpu.launch("add", "add_3", (1,), (32,), (), shared, 0)
    assert fake.raised == [50 << 10, 90 << 10]


def test_a_fatbin_is_loaded(fake, gpu, wheel):
    gpu.launch("add", "add_3", (1,), (32,), (), 0, 0)
    assert [loaded.path for loaded in fake.modules] == [str(wheel / "add.fatbin")]


def test_without_a_fatbin_nvrtc_compiles(fake, gpu, wheel):
    (wheel / "add.fatbin").unlink()
    gpu.launch("add", "add_3", (1,), (32,), (), 0, 0)
    (compiled,) = fake.modules
    assert compiled.code == "// add.cu\n"
    assert compiled.options[:2] == ("-std=c++17", f"-I{wheel}")
    (wheel / "pixel.cuh").write_text("// edited\n")  # CuPy's cache on disk has to see that
    loader.Gpu().launch("add", "add_3", (1,), (32,), (), 0, 0)
    assert fake.modules[1].options != compiled.options


def test_a_fatbin_for_other_gpus_is_compiled(fake, gpu, caplog):
    fake.refuse = True
    with caplog.at_level(logging.WARNING, "gpublur"):
        gpu.launch("add", "add_3", (1,), (32,), (), 0, 0)
    assert "NO_BINARY_FOR_GPU" in caplog.text
    assert fake.modules[1].code == "// add.cu\n"
    assert len(fake.modules[1].kernels["add_3"].calls) == 1
    assert gpu.describe().endswith("compiled by NVRTC at first use")


def test_every_device_has_its_own(fake, gpu):
    for fake.device in (0, 1, 0, 1):
        gpu.launch("add", "add_3", (1,), (32,), (), 0, 0)
    assert [len(loaded.kernels["add_3"].calls) for loaded in fake.modules] == [2, 2]


def test_warmup_leaves_nothing_to_do(fake, gpu, monkeypatch):
    monkeypatch.setattr(loader, "kernels", lambda source: ["one", "two"])
    gpu.warmup()
    assert fake.looked_at == 4  # which loads them, where the driver is lazy
    assert [sorted(loaded.kernels) for loaded in fake.modules] == [["one", "two"], ["one", "two"]]
    for loaded in fake.modules:
        monkeypatch.setattr(loaded, "get_function", None)
    for source in ("add", "sub"):
        for entry in ("one", "two"):
            gpu.launch(source, entry, (1,), (32,), (), 0, 0)
    gpu.warmup()
    assert len(fake.modules) == 2


def test_first_uses_come_one_after_another(fake, gpu):
    start = threading.Barrier(8)
    failures = []

    def work(n):
        start.wait()
        try:
            gpu.launch(("add", "sub")[n % 2], "entry", (1,), (32,), (), 0, n)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [len(loaded.kernels["entry"].calls) for loaded in fake.modules] == [4, 4]


def test_devices_are_those_of_cupy(gpu):
    assert gpu.on(2) == ("device", 2)
    assert gpu.memory().cupy is sys.modules["cupy"]


def test_one_gpu_for_the_process(fake):
    loader.gpu.cache_clear()
    try:
        assert loader.gpu() is loader.gpu()
    finally:
        loader.gpu.cache_clear()
