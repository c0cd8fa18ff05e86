"""Many clients at once against ``gpublur serve``: is every answer right, how long does it take, does memory stay flat?

    python -m benchmarks.serve_load --clients 32 --seconds 60

Every answer is compared, byte for byte, with what the library makes of the same request in this process. Beside the
clients, one keeps hanging up in the middle of an upload, and one sends a byte at a time.
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
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx
from PIL import Image

from gpublur import dialects, edits, image_io
from gpublur.api import Editor

REQUESTS: list[dict[str, Any]] = [
    {"background.blur.mode": "bokeh", "removeBackground": "false"},
    {"background.blur.mode": "gaussian", "background.blur.radius": "0.05", "removeBackground": "false"},
    {"background.color": "C5C6FF", "export.format": "jpg"},
    {"outputSize": "croppedSubject", "export.format": "webp"},
    {"operations": {"background": {"blur": {"type": "lens", "level": "high"}}}},
    {"operations": {"background": {"remove": {"clipping": True}, "color": "transparent"}}, "output": {"format": "png"}},
]
SIDES = (320, 480, 640)  # of the pictures, which are square
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
    memory: list[tuple[float, float]] = field(default_factory=list)  # (seconds, MB)

    def quantile(self, q: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, math.floor(q * len(ordered)))]

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
    url: str, cases: Sequence[Case], clients: int, seconds: float, pid: int | None = None, answers: float = math.inf
) -> Report:
    """Let that many clients ask, each one thing after the other, in an order of its own.

    It ends after so many seconds, or so many answers.
    """
    report, lock = Report(seconds), threading.Lock()
    begin = time.monotonic()

    def goes_on() -> bool:
        return time.monotonic() < begin + seconds and len(report.latencies) < answers

    def client(number: int) -> None:
        order = random.Random(number)
        with httpx.Client(base_url=url, timeout=120) as connection:
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
            with socket.create_connection((host, int(port)), 5) as connection:
                try:
                    connection.sendall(
                        b"POST /v2/edit HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n"
                        b"content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
                    )
                    work(connection)
                except OSError:  # the server has had enough of it
                    pass

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

    threads = [threading.Thread(target=rude, args=(work,)) for work in (hang_up, dawdle)]
    threads += [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.seconds = time.monotonic() - begin
    return report


def resident(pid: int) -> float:
    """Return a process' memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def server(port: int) -> Iterator[tuple[str, int]]:
    """Run ``gpublur serve`` in a process of its own; give its address and process number."""
    program = [sys.executable, "-c", "from gpublur.cli import main; main()", "serve", "--no-keys", "--port", str(port)]
    options = ["--store-megabytes", "20", "--upload-seconds", "5"]
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
def main(clients: int, seconds: float, port: int) -> None:
    """Measure a server on this machine, and fail where an answer is wrong."""
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut())
    asked = cases(Editor(), [photo.resize((side, side)) for side in SIDES])
    with server(port) as (url, pid):
        report = load(url, asked, clients, seconds, pid)
        numbers = httpx.get(f"{url}/metrics").text
        waiting = next(line for line in numbers.splitlines() if line.startswith("gpublur_waiting "))
        for line in report.lines():
            click.echo(line)
        click.echo(f"afterwards: {waiting}, health {httpx.get(f'{url}/healthz').json()['status']}")
    if report.wrong or set(report.statuses) != {200}:
        raise click.ClickException("not every answer was right")


if __name__ == "__main__":
    main()
