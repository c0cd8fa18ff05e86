"""What others' frameworks cost around gpublur: Ray beside `gpublur.process`, a killed actor, torch.compile.

    python -m benchmarks.scale --out benchmarks/results/scale.json

*ray* and *process* take turns (A B A B) on the same files, with all CPUs, each time in processes of their own; time
counts from the first picture to the last, of Ray from the first shard to the last but one. On a machine that others
use too the CPU time tells more than the clock: for Ray it is that of driver, actors and the cluster's own processes.
*killed* is a job of small pictures with a small network, of whose actors one is killed in the middle; its files are
compared with what `gpublur blur` writes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gpublur import batch, bench, image_io
from gpublur.files import Job
from gpublur.image_io import Photo

from . import scene
from .throughput import give

TICK = os.sysconf("SC_CLK_TCK")
CPUS = len(os.sched_getaffinity(0))
RADIUS = 0.02
SHARD = 4  # small beside the job: what its first shard overlaps with is not counted


def stat(pid: str) -> list[str]:
    """Return the fields of a process from its state on, or none where it has ended."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def family(root: int) -> list[str]:
    """Return a process and all below it."""
    parents = {path.name: fields[1] for path in Path("/proc").glob("[0-9]*") if (fields := stat(path.name))}
    found = [str(root)]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds(actors: bool = False) -> float:
    """Return the CPU time of this process, all below it and those of them that have ended, or of Ray's actors alone."""
    pids = [pid for pid in family(os.getpid()) if not actors or is_actor(pid)]
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := stat(pid))) / TICK


def is_actor(pid: str) -> bool:
    try:
        return b"FileEditor" in Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return False


class Clock:
    """The wall and CPU time since it was started."""

    def __init__(self) -> None:
        self.wall, self.cpu, self.actors = time.perf_counter(), cpu_seconds(), cpu_seconds(actors=True)

    def read(self, photos: int) -> dict[str, Any]:
        wall, cpu, actors = time.perf_counter() - self.wall, cpu_seconds() - self.cpu, cpu_seconds(actors=True)
        return {
            "photos": photos, "wall": wall, "cpu": cpu, "cpu_of_actors": actors - self.actors,
            "cpu_per_photo": cpu / photos, "load": os.getloadavg()[0],
        }  # fmt: skip


def by_process(source: Path, target: Path) -> dict[str, Any]:
    import gpublur

    target.mkdir()
    editor, paths, clock = gpublur.Editor("cpu"), sorted(source.iterdir()), None
    for path, data, error in gpublur.process(paths, lambda pixels: editor.blur_background(pixels, radius=RADIUS)):
        if error:
            raise error
        (target / path.name).write_bytes(data)
        clock = clock or Clock()
    assert clock is not None
    return clock.read(len(paths) - 1)


def by_ray(
    source: Path, target: Path, model: str = "general", shard: int = SHARD,
    seen: Callable[[Any], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    os.environ |= {"RAY_worker_niceness": "0"}  # as the other
    from gpublur.integrations import ray_job

    plan = ray_job.Plan(str(source), str(target), "blur", {"radius": RADIUS}, {}, model=model)
    clocks: list[tuple[int, Clock]] = []
    read: list[dict[str, Any]] = []

    def progress(so_far: Any) -> None:
        if clocks:
            read.append(clocks[0][1].read(len(so_far.lines) - clocks[0][0]))
        elif so_far.lines:
            clocks.append((len(so_far.lines), Clock()))
        seen(so_far)

    done = ray_job.run(plan, shard=shard, progress=progress)
    assert not done.failed, done.failed[:3]
    return read[-2]  # as when the clock was started, the others are at work on shards that are not counted


def killed(source: Path, target: Path) -> dict[str, Any]:
    """Kill an actor in the middle of a job, and compare what it leaves with what the library makes."""
    import gpublur

    ended: list[int] = []

    def kill(so_far: Any) -> None:
        if not ended and len(so_far.lines) >= so_far.count // 2:
            os.kill(int(next(filter(is_actor, family(os.getpid())))), signal.SIGKILL)
            ended.append(len(so_far.lines))

    model = str(brightness(source.parent))
    about = by_ray(source, target, model, 32, kill)
    lines = [
        json.loads(line)["source"] for part in (target / "_gpublur").glob("*.jsonl") for line in part.open()
    ]  # fmt: skip
    editor = gpublur.Editor("cpu", model=model)

    def work(_job: Job, pages: list[Photo]) -> Any:
        return [editor.blur_background(page, radius=RADIUS, details=True) for page in pages]

    def same(path: Path) -> bool:
        made, _ = batch.finished(Job(path, path), path, work)
        return made == (target / path.name).read_bytes()

    checked = [outcome.value for outcome in batch.overlap(sorted(source.iterdir()), same)]
    return {
        "wall": about["wall"], "load": about["load"], "killed_after": ended[0], "pictures": len(checked),
        "lines": len(lines), "lines_once": len(set(lines)), "same_bytes": sum(map(bool, checked)),
        "files": sum(1 for _ in target.glob("*.jpg")),
    }  # fmt: skip


def brightness(folder: Path) -> Path:
    """Write a network whose mask is a photo's brightness: it costs little, and what is tested is not the model."""
    from onnx import TensorProto, helper, numpy_helper, save

    side, kind = 64, TensorProto.FLOAT
    third = numpy_helper.from_array(np.full((1, 3, 1, 1), 1 / 3, np.float32), "third")
    ends = (
        [helper.make_tensor_value_info("photo", kind, (1, 3, side, side))],
        [helper.make_tensor_value_info("mask", kind, (1, 1, side, side))],
    )
    graph = helper.make_graph([helper.make_node("Conv", ["photo", "third"], ["mask"])], "brightness", *ends, [third])
    path = folder / "brightness.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    settings = {"input_size": side, "mean": [0, 0, 0], "std": [1, 1, 1], "values": "probabilities"}
    path.with_suffix(".json").write_text(json.dumps(settings))
    return path


def compiled(_source: Path, _target: Path) -> dict[str, Any]:
    """Return milliseconds of CPU of a model with a blur between two convolutions, eager and by Inductor."""
    import torch

    from gpublur.integrations.torch import GaussianBlur

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 3, 1), torch.nn.Sigmoid(), GaussianBlur(0.01),
        torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Sigmoid(),
    )  # fmt: skip
    picture = torch.rand(1, 3, 720, 1280)
    works = {"eager": model, "compiled": torch.compile(model, fullgraph=True)}
    told: dict[str, list[float]] = {name: [] for name in works}
    with torch.no_grad():
        difference = max(float((work(picture) - model(picture)).abs().max()) for work in works.values())
        for _ in range(20):
            for name, work in works.items():
                before = time.process_time()
                work(picture)
                told[name].append(time.process_time() - before)
    return {name: float(np.median(each)) for name, each in told.items()} | {"difference": difference}


PARTS = {"process": by_process, "ray": by_ray, "killed": killed, "compiled": compiled}


def write(folder: Path, megapixels: float, count: int) -> None:
    """Write so many photos, each of which differs from the others."""
    folder.mkdir()
    photo = scene.scene(*scene.size_of(megapixels))
    for i in range(count):
        data = image_io.encode(Photo(np.roll(photo, 3 * i, axis=1), "JPEG"))
        (folder / f"{i:05d}.jpg").write_bytes(data)


def apart(part: str, *folders: Path) -> dict[str, Any]:
    """Measure a part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--part", part, *map(str, folders)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = [line for line in done.stdout.splitlines() if line.startswith("{")][-1]  # Ray's processes may write, too
    print(part, told, flush=True)
    return json.loads(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--megapixels", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--killed", type=int, default=2000, help="small pictures of the job with a killed actor")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(PARTS[args.part](*args.folders)))
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write(root / "photos", args.megapixels, args.photos)
        write(root / "small", 0.02, args.killed)
        result: dict[str, Any] = {
            "kind": "scale", "datetime": datetime.now(UTC).isoformat(), "cpu": bench.cpu(), "cpus": CPUS,
            "versions": bench.versions((*bench.PACKAGES, "ray", "pyarrow")), "megapixels": args.megapixels,
            "process": [], "ray": [],
        }  # fmt: skip
        for i in range(args.rounds):
            for part in ("process", "ray"):
                result[part].append(apart(part, root / "photos", root / f"{part}-{i}"))
        result["compiled"] = apart("compiled", root, root)
        result["killed"] = apart("killed", root / "small", root / "killed")
    give(result, args.out)


if __name__ == "__main__":
    main()
