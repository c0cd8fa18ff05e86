"""Many clients at once against ``gpublur serve``: is every answer right, how long does it take, does memory stay flat?

    python -m benchmarks.serve_load --clients 32 --seconds 60
    python -m benchmarks.serve_load --clients 4 --seconds 1200 --attacked --json benchmarks/results/MACHINE-soak.json
    python -m benchmarks.serve_load --one-by-one

Every answer is compared, byte for byte, with what the library makes of the same request in this process. Beside the
clients, one keeps hanging up in the middle of an upload, and one sends a byte at a time; with --attacked all of
`attacks` are made, each again and again, with a key and from an address of their own. With --one-by-one each is made
once, alone, and what it does to the server is told.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import httpx
from PIL import Image

from gpublur import dialects, edits, image_io
from gpublur.api import Editor
from gpublur.bench import cpu as cpu_name

from .attacks import Attack, Target, attacks, hostile_host, repeat

REQUESTS: list[dict[str, Any]] = [
    {"background.blur.mode": "bokeh", "removeBackground": "false"},
    {"background.blur.mode": "gaussian", "background.blur.radius": "0.05", "removeBackground": "false"},
    {"background.color": "C5C6FF", "export.format": "jpg"},
    {"outputSize": "croppedSubject", "export.format": "webp"},
    {"operations": {"background": {"blur": {"type": "lens", "level": "high"}}}},
    {"operations": {"background": {"remove": {"clipping": True}, "color": "transparent"}}, "output": {"format": "png"}},
]
SIDES = (320, 480, 640)  # of the pictures, which are square
KEYS = ("the-key-of-honest-clients", "the-key-of-the-attackers")
WARM = 0.2  # of the time; memory is measured from there on


@dataclass(frozen=True)
class Case:
    """A picture, a request, and the bytes that must come back."""

    picture: bytes
    request: dict[str, Any]
    expected: bytes


@dataclass
class Report:
    """What the clients saw."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    memory: list[tuple[float, float]] = field(default_factory=list)  # (seconds, MB) of the server and its processes
    attacked: dict[str, int] = field(default_factory=dict)  # how often each attack was made

    def quantile(self, q: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, math.floor(q * len(ordered)))]

    def figures(self) -> dict[str, Any]:
        """Return what is told, for a file; memory as the largest of each tenth of the time."""
        tenths = [
            max((mb for second, mb in self.memory if i <= 10 * second / self.seconds < i + 1), default=0.0)
            for i in range(10)
        ]
        return {
            "seconds": round(self.seconds),
            "answers": len(self.latencies),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "wrong": self.wrong,
            "p50_ms": round(self.quantile(0.5) * 1e3),
            "p99_ms": round(self.quantile(0.99) * 1e3),
            "longest_ms": round(max(self.latencies) * 1e3),
            "memory_mb_by_tenths": [round(mb) for mb in tenths],
            "attacks": self.attacked,
        }

    def lines(self) -> Iterator[str]:
        rate = len(self.latencies) / self.seconds
        yield f"{len(self.latencies)} answers in {self.seconds:.0f} s: {rate:.1f} a second"
        yield f"statuses {dict(self.statuses)}; wrong pictures: {self.wrong}"
        yield f"p50 {self.quantile(0.5) * 1e3:.0f} ms, p99 {self.quantile(0.99) * 1e3:.0f} ms"
        warm = [megabytes for second, megabytes in self.memory if second >= WARM * self.seconds]
        if warm:
            first, second = (f"{max(half):.0f}" for half in (warm[: len(warm) // 2 + 1], warm[len(warm) // 2 :]))
            yield f"the server's memory, largest after warm-up: {first} MB in the first half, {second} MB in the second"


def cases(editor: Editor, pictures: Sequence[Image.Image]) -> list[Case]:
    """Return every request on every picture, with the library's own results."""
    made = []
    for picture, request in itertools.product(pictures, REQUESTS):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=90)
        edit = edits.check(dialects.read(request).edit)
        photo = edits.prepare(image_io.decode(file.getvalue()), edit)
        made.append(Case(file.getvalue(), request, edits.write(editor.edit_photo(photo, edit), edit)))
    return made


def ask(client: httpx.Client, case: Case) -> tuple[int, bytes]:
    """Send a case in its dialect's way; return the status and the picture."""
    if "operations" not in case.request:
        answer = client.post("/v2/edit", files={"imageFile": case.picture}, data=case.request)
        return answer.status_code, answer.content
    data = {"data": json.dumps(case.request)}
    answer = client.post("/v1/image/edit/upload", files={"file": case.picture}, data=data)
    if answer.status_code != httpx.codes.OK:
        return answer.status_code, b""
    answer = client.get(answer.json()["data"]["output"]["tmp_url"])
    return answer.status_code, answer.content


def load(
    url: str, cases: Sequence[Case], clients: int, seconds: float, pid: int | None = None, answers: float = math.inf,
    headers: dict[str, str] | None = None, attacked: dict[str, Callable[[Callable[[], bool]], int]] | None = None,
) -> Report:  # fmt: skip
    """Let that many clients ask, each one thing after the other, in an order of its own.

    It ends after so many seconds, or so many answers.

    Parameters
    ----------
    attacked : mapping, optional
        Attacks by name, each of which is repeated while its argument says so, and returns how often it was.
    """
    report, lock = Report(seconds), threading.Lock()
    begin = time.monotonic()

    def goes_on() -> bool:
        return time.monotonic() < begin + seconds and len(report.latencies) < answers

    def client(number: int) -> None:
        order = random.Random(number)
        with httpx.Client(base_url=url, timeout=120, headers=headers) as connection:
            while goes_on():
                case = order.choice(cases)
                start = time.perf_counter()
                status, data = ask(connection, case)
                with lock:
                    report.latencies.append(time.perf_counter() - start)
                    report.statuses[status] += 1
                    report.wrong += status == httpx.codes.OK and data != case.expected

    def rude(work: Callable[[socket.socket], None]) -> None:
        host, port = url.removeprefix("http://").split(":")
        while goes_on():
            with suppress(OSError), socket.create_connection((host, int(port)), 5) as connection:
                connection.sendall(
                    b"POST /v2/edit HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n"
                    b"content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
                )
                work(connection)  # until the server has had enough of it

    def hang_up(connection: socket.socket) -> None:
        time.sleep(0.05)

    def dawdle(connection: socket.socket) -> None:
        while goes_on():
            connection.sendall(b"c")
            time.sleep(0.2)

    def watch() -> None:
        while pid is not None and goes_on():
            report.memory.append((time.monotonic() - begin, resident(pid)))
            time.sleep(0.5)

    def besiege(name: str, attack: Callable[[Callable[[], bool]], int]) -> None:
        report.attacked[name] = attack(goes_on)

    threads = [threading.Thread(target=rude, args=(work,)) for work in (hang_up, dawdle)]
    threads += [threading.Thread(target=besiege, args=each) for each in (attacked or {}).items()]
    threads += [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.seconds = time.monotonic() - begin
    return report


def resident(pid: int) -> float:
    """Return the memory of a process and its children in MB."""
    total = 0.0
    for each in (pid, *children(pid)):
        with suppress(OSError):  # it has ended
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1])
    return total * os.sysconf("SC_PAGE_SIZE") / 1e6


def children(pid: int) -> list[int]:
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return []


@contextmanager
def server(port: int, *options: str) -> Iterator[tuple[str, int]]:
    """Run ``gpublur serve`` in a process of its own; give its address and process number."""
    program = [sys.executable, "-c", "from gpublur.cli import main; main()", "serve", "--port", str(port)]
    options = ("--store-megabytes", "20", "--upload-seconds", "5", *options)
    process = subprocess.Popen([*program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                raise click.ClickException(f"the server ended with status {process.returncode}")
            try:
                httpx.get(f"{url}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(30)


@click.command()
@click.option("--clients", default=32, show_default=True)
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--port", default=8765, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Of the server.")
@click.option("--attacked", is_flag=True, help="Let all attacks be made meanwhile.")
@click.option("--one-by-one", is_flag=True, help="Make each attack once, alone, instead.")
@click.option("--json", "written", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option("--note", default="", help="What else the machine did, for that file.")
def main(
    clients: int,
    seconds: float,
    port: int,
    workers: int,
    attacked: bool,
    one_by_one: bool,
    written: Path | None,
    note: str,
) -> None:
    """Measure a server on this machine, and fail where an answer is wrong."""
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut())
    asked = cases(Editor(), [photo.resize((side, side)) for side in SIDES])
    with hostile_host() as hostile, TemporaryDirectory() as folder:
        keys = Path(folder, "keys")
        keys.write_text("\n".join(KEYS))
        keys.chmod(0o600)
        options = ("--keys", str(keys), "--workers", str(workers), "--private-host", hostile)
        with server(port, *options) as (url, pid):
            target = Target(url, KEYS[1], hostile)
            if one_by_one:
                for name, attack in attacks().items():
                    click.echo(alone(name, attack, target, pid))
                return
            made = {name: besieging(attack, target) for name, attack in (attacks() if attacked else {}).items()}
            headers = {"x-api-key": KEYS[0], "authorization": f"Bearer {KEYS[0]}"}
            report = load(url, asked, clients, seconds, pid, headers=headers, attacked=made)
            tell(report, url)
    if written:
        about = {"kind": "soak", "cpu": cpu_name(), "threads": os.cpu_count(), "note": note}
        about |= {"clients": clients, "workers": workers, "attacked": attacked}
        written.write_text(json.dumps(about | report.figures(), indent=1) + "\n")
    if report.wrong or set(report.statuses) != {200}:
        raise click.ClickException("not every answer was right")


def besieging(attack: Attack, target: Target) -> Callable[[Callable[[], bool]], int]:
    return lambda goes_on: repeat(attack, target, goes_on)


def alone(name: str, attack: Attack, target: Target, pid: int) -> str:
    """Make an attack once; tell how long it took, how long the server kept others waiting, and what memory it took."""
    before, over, waits, memory = resident(pid), threading.Event(), [0.0], [0.0]

    def probe() -> None:
        while not over.is_set():
            begin = time.perf_counter()
            with suppress(httpx.HTTPError):
                httpx.get(f"{target.url}/healthz", timeout=60)
            waits.append(time.perf_counter() - begin)
            memory.append(resident(pid) - before)
            time.sleep(0.02)

    thread = threading.Thread(target=probe)
    thread.start()
    begin = time.perf_counter()
    with suppress(OSError, httpx.HTTPError):
        attack(target)
    seconds = time.perf_counter() - begin
    over.set()
    thread.join()
    return f"{seconds:6.2f} s; others waited {max(waits):5.2f} s at most; {max(memory):+5.0f} MB: {name}"


def tell(report: Report, url: str) -> None:
    """Print what the clients saw, and how the server is afterwards."""
    numbers = httpx.get(f"{url}/metrics").text
    waiting = next(line for line in numbers.splitlines() if line.startswith("gpublur_waiting "))
    for line in report.lines():
        click.echo(line)
    for name, count in report.attacked.items():
        click.echo(f"{count:6d} {name}")
    click.echo(f"afterwards: {waiting}, health {httpx.get(f'{url}/healthz').json()['status']}")


if __name__ == "__main__":
    main()
