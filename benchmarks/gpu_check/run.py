"""Run the parts one after another, each in a process of its own that may not outlive its time."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..conftest import commit
from . import ROOT, schema
from .schema import Missing

if TYPE_CHECKING:
    from .device import Cuda

# What is worth most comes first: whether it is right, how fast, who is faster. Weight: of what time is left, each part
# may take its share beside those after it.
PARTS = {
    "machine": ("benchmarks.gpu_check.environment:machine", 4),
    "build": ("benchmarks.gpu_check.environment:build", 14),
    "tests": ("benchmarks.gpu_check.environment:tests", 24),
    "sanitizer": ("benchmarks.gpu_check.environment:sanitizer", 14),
    "copy": ("benchmarks.gpu_check.speed:copy", 4),
    "road": ("benchmarks.gpu_check.speed:road", 12),
    "kernels": ("benchmarks.gpu_check.speed:kernels", 12),
    "accuracy": ("benchmarks.gpu_check.accuracy:accuracy", 6),
    "peers": ("benchmarks.gpu_check.compared:peers", 10),
    "throughput": ("benchmarks.gpu_check.compared:throughput", 10),
    "agreement": ("benchmarks.gpu_check.accuracy:agreement", 8),
    "model": ("benchmarks.gpu_check.speed:model", 3),
}
OF_THE_MACHINE = ("machine", "build")  # whatever an earlier run had, another machine may be lent now
CONTEXT = multiprocessing.get_context("forkserver")
MARGIN = 0.1  # of its time, that a part leaves to end by itself
TICK = 0.2  # seconds between two looks at the clock
TAIL = 3000  # characters of a log that are kept

Clock = Callable[[], float]  # seconds, the same in every process


@dataclass(frozen=True)
class Job:
    """What a part is given; it yields records, and `Missing` for what it could not do."""

    device: Cuda
    until: float  # by the clock: when it should be done
    bandwidth: float | None  # GB/s of a copy, if that part has measured it
    clock: Clock = time.time

    def left(self) -> float:
        return self.until - self.clock()

    def attempt(self, what: str, work: Callable[[], Any]) -> Any:
        """Return what ``work`` does, or a `Missing` that tells why it failed."""
        try:
            return work()
        except Exception as error:
            return Missing(what, told(error))


class Task(NamedTuple):
    """What the process of a part is told."""

    target: str  # module:function
    dry: bool
    until: float
    bandwidth: float | None
    folder: str  # for its log, and the lines of what it finds
    clock: Clock


def told(error: Exception) -> str:
    """Return an error on one line of bounded length."""
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0][:300]


def work(task: Task) -> None:
    """Do a part: the whole life of its process."""
    os.setsid()  # so that what it starts can be ended with it
    log = os.open(Path(task.folder, "log"), os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    with Path(task.folder, "lines").open("w", buffering=1) as lines:
        try:
            from .device import Cuda, Dry

            name, _, function = task.target.partition(":")
            job = Job(Dry() if task.dry else Cuda(), task.until, task.bandwidth, task.clock)
            end = "ok"
            for found in getattr(import_module(name), function)(job):
                kind = "missing" if isinstance(found, Missing) else "record"
                print(json.dumps({kind: found._asdict() if kind == "missing" else asdict(found)}), file=lines)
                if job.left() < 0:
                    end = "cut"
                    break
            print(json.dumps({"end": end}), file=lines)
        except BaseException:
            print(json.dumps({"end": "failed", "error": traceback.format_exc()[-TAIL:]}), file=lines)


def warm_up() -> None:
    """Start the server that all processes fork from: its imports take a while, which is no part's own."""
    CONTEXT.set_forkserver_preload(["numba", f"{__package__}.device"])  # neither touches the GPU
    first = CONTEXT.Process()
    first.start()
    first.join()


def part(target: str, allowed: float, dry: bool, bandwidth: float | None, clock: Clock) -> schema.Part:
    """Run one part for at most ``allowed`` seconds and return what it found, however it ended."""
    start = clock()
    with tempfile.TemporaryDirectory() as folder:
        task = Task(target, dry, start + (1 - MARGIN) * allowed, bandwidth, folder, clock)
        process = CONTEXT.Process(target=work, args=(task,))
        process.start()
        while process.is_alive() and clock() < start + allowed:
            process.join(TICK)
        late = process.is_alive()
        if late:
            end_group(process.pid)
            process.join()
        lines, log = (read(Path(folder, name)) for name in ("lines", "log"))
    # A line that was being written when the process ended is none.
    said = [json.loads(line) for line in lines.splitlines(keepends=True) if line.endswith("\n")]
    end = next((line for line in said if "end" in line), {"end": "killed" if late else "failed"})
    error = end.get("error")
    if error is None and end["end"] in ("failed", "killed"):
        error = f"ended with exit code {process.exitcode}\n{log[-TAIL:]}"
    return schema.Part(
        end["end"], round(clock() - start, 2), round(allowed, 2), error,
        [line["missing"] for line in said if "missing" in line], [line["record"] for line in said if "record" in line],
    )  # fmt: skip


def end_group(pid: int | None) -> None:
    """End a process that has called setsid, and all that it started."""
    if pid is not None:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # it ends, or has not come to setsid
            os.kill(pid, signal.SIGKILL)


def read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def run(
    out: Path | None,
    names: list[str],
    minutes: float,
    dry: bool = False,
    anew: bool = False,
    parts: dict[str, tuple[str, float]] = PARTS,
    tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    clock: Clock = time.time,
) -> tuple[dict[str, Any], Path]:
    """Run parts, and write the result so far after each of them.

    A part that an earlier run has finished, as the file there tells, is not run again: see `finished`.

    Parameters
    ----------
    out : path or None
        Where the JSON goes; None: below benchmarks/results, named after the GPU and the day.
    anew : bool
        Run all parts, whatever there is.
    clock : callable
        What the minutes are counted by; every part's process gets a copy.

    Returns
    -------
    result, path
    """
    start = clock()
    warm_up()
    done: dict[str, schema.Part] = {}
    had: dict[str, schema.Part] = {}
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    state = commit() if shutil.which("git") else "none"

    def written() -> tuple[dict[str, Any], Path]:
        """Write what there is by now."""
        seconds = round(clock() - start, 2)
        rest = {name: part for name, part in had.items() if name not in done}  # would be lost where this run ends
        whole = schema.Result(schema.VERSION, dry, begun, state, minutes, seconds, done | rest)
        found, path = json.loads(json.dumps(asdict(whole), default=asdict)), out or named(done, begun, dry)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        return found, path

    for i, name in enumerate(names):
        if not (anew or had or name in OF_THE_MACHINE):  # by now it is known which machine this is
            had = finished(out or named(done, begun, dry), state, done)
        weights = [parts[later][1] for later in names[i:] if later not in had]
        left = start + 60 * minutes - clock()
        if name in had:
            done[name] = had[name]
        elif left > 0:
            done[name] = part(parts[name][0], left * weights[0] / sum(weights), dry, bandwidth(done), clock)
        else:
            done[name] = schema.Part("not begun", 0, 0, None, [], [])
        time_ = "from an earlier run" if name in had else f"{done[name].seconds:.0f} s"
        tell(f"{name}: {done[name].state}, {len(done[name].records)} records, {time_}")
        found, path = written()
    return found, path


def finished(path: Path, state: str, done: dict[str, schema.Part]) -> dict[str, schema.Part]:
    """Return the parts of a file that an earlier run of the same sources on such a machine has finished."""
    earlier = json.loads(path.read_text()) if path.exists() else {}
    if (earlier.get("version"), earlier.get("commit")) != (schema.VERSION, state):
        return {}
    parts = {name: schema.Part(**found) for name, found in earlier["parts"].items()}
    if machine_of(parts) != machine_of(done):
        return {}
    return {name: found for name, found in parts.items() if found.state == "ok" and name not in OF_THE_MACHINE}


def machine_of(parts: dict[str, schema.Part]) -> list[Any]:
    """Return what is known of a machine, but for its clocks, which are those of the moment."""
    records = parts["machine"].records if "machine" in parts else []
    return [{name: value for name, value in record.items() if name != "clocks"} for record in records]


def bandwidth(done: dict[str, schema.Part]) -> float | None:
    copies = done["copy"].records if "copy" in done else []
    return max((record["gb_s"] for record in copies), default=None)


def named(done: dict[str, schema.Part], begun: str, dry: bool) -> Path:
    """Return the path of a result that was given none; a rehearsal's is none to keep."""
    if dry:
        return ROOT / "build" / "gpu_check-dry.json"
    records = done["machine"].records if "machine" in done else []
    gpu = next((record["gpu"] for record in records), "gpu")
    name = f"{'-'.join(gpu.lower().split())}-{begun[:10]}.json"
    return ROOT / "benchmarks" / "results" / name
