"""What ``gpublur bench`` measures: this machine, a photo, every radius; the benchmarks' clock and yardstick."""

from __future__ import annotations

import math
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__, image_io
from .api import Editor
from .backends.cuda import loader
from .batch import usable_cpus
from .image_io import Photo
from .types import MODES, Mode

RADII = (0.002, 0.005, 0.01, 0.02, 0.05)
PACKAGES = ("numpy", "numba", "torch", "pillow")
COPIED = 256 << 20  # bytes: many times any cache
ROUNDS = 3, 50  # at least and at most, whatever time there is
SECTION = 1.0 / (len(MODES) * len(RADII) + 4)  # of the time, for each thing that is measured

Call = Callable[[], Any]


class Place:
    """Where pictures lie and work is waited for: this machine's memory."""

    name = "cpu"

    def put(self, array: NDArray[Any]) -> Any:
        """Return an array as one of this place."""
        return array

    def get(self, array: Any) -> NDArray[Any]:
        return np.asarray(array)

    def wait(self, result: Any = None) -> None:
        """Return when everything that was asked for is done."""

    def describe(self) -> str:
        return cpu()

    def copy_bandwidth(self, threads: int) -> float:
        """Return the bytes per second, read and written, of a large copy by so many threads."""
        source, target = np.ones(COPIED, np.uint8), np.ones(COPIED, np.uint8)
        parts = [slice(i * COPIED // threads, (i + 1) * COPIED // threads) for i in range(threads)]
        with ThreadPoolExecutor(threads) as pool:

            def copy() -> None:
                list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

            return 2 * COPIED / statistics.median(seconds_of(copy, 0.2))


class GpuPlace(Place):
    """The current GPU's memory, and CuPy's current stream."""

    name = "cuda"

    def __init__(self) -> None:
        self.gpu = loader.gpu()

    def put(self, array: NDArray[Any]) -> Any:
        return self.gpu.memory().adopt(array)

    def get(self, array: Any) -> NDArray[Any]:
        return self.gpu.download(array)

    def wait(self, result: Any = None) -> None:
        self.gpu.download(self.gpu.memory().empty((1,), "uint8"))  # the stream's last work, behind all the rest

    def describe(self) -> str:
        return self.gpu.describe()

    def copy_bandwidth(self, threads: int) -> float:
        source, target = (self.gpu.memory().empty((COPIED,), "uint8") for _ in range(2))

        def copy() -> None:
            target[...] = source
            self.wait()

        return 2 * COPIED / statistics.median(seconds_of(copy, 0.2))


def place(device: str) -> Place:
    """Return where an Editor's device wants its pictures."""
    return GpuPlace() if device != "cpu" else Place()


def seconds_of(call: Call, seconds: float) -> list[float]:
    """Return the times of a call, repeated for about so many seconds, after one that is not counted."""
    call()
    times: list[float] = []
    while len(times) < ROUNDS[0] or (sum(times) < seconds and len(times) < ROUNDS[1]):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def two_reads(photo: NDArray[Any], mask: NDArray[Any]) -> int:
    """Return the bytes that no road through two passes can do without: photo and mask read twice, one result."""
    return 3 * photo.nbytes + 2 * mask.nbytes


def cpu() -> str:
    """Return the CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of packages, "none" where they are not installed."""

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "none"

    return {"gpublur": __version__} | {package: installed(package) for package in packages}


def run(photo: Photo, editor: Editor, seconds: float = 100) -> dict[str, Any]:
    """Measure a photo on this machine.

    Parameters
    ----------
    photo : Photo
        As `image_io.decode` returns it.
    editor : Editor
        Whose device and model are measured.
    seconds : float
        About how long all of it may take, beside the first calls, which compile.

    Returns
    -------
    dict
        What the JSON holds: ``machine``, ``megapixels``, ``copy_bytes_per_second`` and ``rows``; a row has ``job``,
        ``mode`` and ``radius`` (or None), ``seconds`` (median) and ``bytes`` (the least it has to move, or None).
    """
    here, each = place(editor.device), seconds * SECTION
    data = image_io.encode(photo)
    mask = np.rint(editor.segment(photo.pixels) * 255).astype(np.uint8)
    pixels, matte = here.put(photo.pixels), here.put(mask)

    def bytes_to_bytes() -> bytes:
        picture = image_io.decode(data)
        return image_io.encode(Photo(editor.blur_background(picture.pixels), picture.format))

    def blur(mode: Mode, radius: float) -> Call:
        return lambda: editor.blur_background(pixels, mode, radius, mask=matte)

    jobs: list[tuple[str, str | None, float | None, Call, int | None]] = [
        ("blur", mode, radius, blur(mode, radius), two_reads(photo.pixels, mask)) for mode in MODES for radius in RADII
    ]
    jobs += [
        ("segment", None, None, lambda: editor.segment(pixels), None),
        (f"{photo.format} to {photo.format}", None, None, bytes_to_bytes, None),
    ]
    rows = [
        {"job": job, "mode": mode, "radius": radius, "seconds": _median(call, here, each), "bytes": moved}
        for job, mode, radius, call, moved in jobs
    ]
    threads = usable_cpus()
    about = {"device": here.name, "name": here.describe(), "threads": threads, "versions": versions()}
    height, width = photo.pixels.shape[:2]
    return {
        "kind": "gpublur bench", "machine": about, "megapixels": height * width / 1e6,
        "copy_bytes_per_second": here.copy_bandwidth(threads), "rows": rows,
    }  # fmt: skip


def _median(call: Call, here: Place, seconds: float) -> float:
    def waited() -> None:
        here.wait(call())

    return statistics.median(seconds_of(waited, seconds))


def table(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the head and the rows of a result as text; share: of the copy's bandwidth, by the least bytes."""
    yield "job", "radius", "ms", "MP/s", "share of copy"
    for row in result["rows"]:
        share = shared(row, result["copy_bytes_per_second"])
        yield (
            f"{row['job']} ({row['mode']})" if row["mode"] else row["job"],
            "" if row["radius"] is None else f"{row['radius']:g}",
            f"{1e3 * row['seconds']:.2f}",
            f"{result['megapixels'] / row['seconds']:.0f}",
            "" if share is None else f"{share:.1%}",
        )


def shared(row: dict[str, Any], bandwidth: float) -> float | None:
    return None if row["bytes"] is None else row["bytes"] / row["seconds"] / bandwidth


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw throughput, and its share of the copy, against the radius; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for mode in MODES:
        rows = [row for row in result["rows"] if row["mode"] == mode]
        axes.plot([r["radius"] for r in rows], [result["megapixels"] / r["seconds"] for r in rows], "o-", label=mode)
    moved = next(row["bytes"] for row in result["rows"] if row["bytes"])
    per_pixel = moved / (1e6 * result["megapixels"])
    roof = result["copy_bytes_per_second"] / per_pixel / 1e6  # MP/s
    axes.set(xlabel="radius, fraction of the diagonal", ylabel="megapixels per second", ylim=(0, None))
    axes.set_title(f"{result['machine']['name']}, {result['megapixels']:.3g} MP", fontsize=9)
    axes.secondary_yaxis("right", functions=(lambda y: y / roof, lambda y: y * roof)).set_ylabel("share of copy")
    axes.legend()
    figure.savefig(path)


def enlarged(pixels: NDArray[np.uint8], megapixels: float) -> NDArray[np.uint8]:
    """Return an 8-bit picture of at least so many megapixels and the same proportions."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    scale = math.sqrt(megapixels * 1e6 / (picture.width * picture.height))
    sides = math.ceil(picture.width * scale), math.ceil(picture.height * scale)
    return np.asarray(picture.resize(sides, Image.Resampling.LANCZOS))
