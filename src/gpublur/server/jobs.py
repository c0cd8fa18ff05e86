"""Jobs of Claid's asynchronous and batch routes: accepted now, done in turn, asked for later."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from ..dialects import Declined, Request, claid
from ..errors import GpuBlurError
from .budget import Account, Budget
from .middleware import told
from .result_store import Store
from .work import Edited

log = logging.getLogger("gpublur")

Kind = Literal["async", "batch"]
Answer = dict[str, Any]

MAX_BYTES = 16_000_000  # of the requests of unfinished jobs
IDS = 2**53  # what every JSON reader holds as a whole number
TRIES = 8  # of a picture, where the server is too busy for it
LONGEST = 30.0  # seconds between two of them
SAVED = 5.0  # seconds between two records of a job that goes on
FULL = {"retry-after": "10"}


def now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass
class Job:
    """What is to be done, and what has been done of it; ``made`` and ``failed`` go by the number of the picture."""

    kind: Kind
    client: str
    base: str  # of URLs, as the client reaches this server
    request: Mapping[str, Any]
    id: int = field(default_factory=lambda: 1 + secrets.randbelow(IDS - 1))
    created_at: str = field(default_factory=now)
    status: str = "ACCEPTED"
    made: dict[int, Answer] = field(default_factory=dict)
    failed: dict[int, Answer] = field(default_factory=dict)
    pictures: int = 1
    size: int = 0
    saved: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.id}"

    @property
    def left(self) -> list[int]:
        return [i for i in range(self.pictures) if i not in self.made and i not in self.failed]

    def answer(self) -> Answer:
        """Return what a client is told of the job."""
        results = [self.made[i] for i in sorted(self.made)]
        told: Answer = {
            "id": self.id,
            "status": self.status,
            "result_url": f"{self.base}/v1/image/edit/{self.kind}/{self.id}",
            "created_at": self.created_at,
            "request": self.request,
            "errors": [self.failed[i] for i in sorted(self.failed)],
        }
        told |= {"results": results} if self.kind == "batch" else {"result": results[0] if results else {}}
        return {"data": told}

    def record(self) -> bytes:
        """Return everything, as a file holds it."""
        kept = {name: getattr(self, name) for name in KEPT}
        return json.dumps(kept).encode()

    @classmethod
    def of(cls, record: bytes) -> Job:
        kept = json.loads(record)
        for name in ("made", "failed"):
            kept[name] = {int(number): value for number, value in kept[name].items()}
        return cls(**{name: kept[name] for name in KEPT})


KEPT = ("kind", "client", "base", "request", "id", "created_at", "status", "made", "failed", "pictures", "size")


class Task(NamedTuple):
    """One picture of a job."""

    job: Job
    number: int
    request: Request


class Jobs:
    """The jobs of a server.

    Parameters
    ----------
    store : Store
        Keeps their records, for as long as results.
    most : int
        Pictures of unfinished jobs; nobody gets more of them than what is left to the others.
    runners : int
        Pictures that are asked for at a time.
    make : callable
        Makes a request's picture, on an account, and says what is told of it.
    read : callable
        Reads the JSON of a job that a server before this one has accepted.
    finished : callable
        Told of each job that has ended.
    """

    def __init__(
        self, store: Store, budget: Budget, most: int, runners: int,
        make: Callable[[Request, Account, str], Awaitable[tuple[Edited, str]]],
        read: Callable[[Kind, Mapping[str, Any]], list[Request]],
        picture: Callable[[Any], Answer], finished: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.store, self.budget, self.most, self.runners = store, budget, most, runners
        self.make, self.read, self.picture, self.finished = make, read, picture, finished
        self.open: dict[str, Job] = {}
        self._waiting: OrderedDict[str, deque[Task]] = OrderedDict()  # by client, who comes next first
        self._pictures: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._come = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pictures(self) -> int:
        return self._pictures.total()

    async def start(self) -> None:
        """Begin, with what a server before this one has left."""
        for record in await asyncio.to_thread(self.store.records):
            job = Job.of(record)
            if job.status in ("ACCEPTED", "PROCESSING"):
                try:
                    await self._take(job, self.read(job.kind, job.request))
                except GpuBlurError as error:  # what that server understood, this one does not
                    log.error("job %s is not gone on with: %s", job.name, error)
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self.runners)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(self, kind: Kind, client: str, base: str, document: Mapping[str, Any]) -> Answer:
        """Accept a job, and return what is told of it.

        Raises
        ------
        BadRequest
            It is not valid.
        Declined
            Too many pictures wait (429), or the store has no room (507).
        """
        requests = self.read(kind, document)
        size = len(json.dumps(document))
        for counts, more, most in ((self._pictures, len(requests), self.most), (self._bytes, size, MAX_BYTES)):
            if counts[client] + more > most - counts.total():
                raise Declined(429, "too many pictures of jobs are waiting", FULL)
        job = Job(kind, client, base, document, pictures=len(requests), size=size)
        answer = job.answer()
        self._count(job, len(requests), size)
        try:
            await self._save(job)
        except BaseException:
            self._count(job, -len(requests), -size)
            raise
        self._count(job, -len(requests), -size)
        await self._take(job, requests)
        return answer

    async def find(self, kind: Kind, client: str, number: int) -> Answer | None:
        """Return what is told of a job, or None where there is none of that number, or it is another's."""
        job = self.open.get(f"{kind}-{number}")
        if job is None:
            record = await asyncio.to_thread(self.store.read, f"{kind}-{number}")
            job = None if record is None else Job.of(record)
        return None if job is None or job.client != client else job.answer()

    def _count(self, job: Job, pictures: int, size: int) -> None:
        for counts, more in ((self._pictures, pictures), (self._bytes, size)):
            counts[job.client] += more
            if not counts[job.client]:
                del counts[job.client]

    async def _take(self, job: Job, requests: list[Request]) -> None:
        self.open[job.name] = job
        left = job.left
        self._count(job, len(left), job.size)
        async with self._come:
            self._waiting.setdefault(job.client, deque()).extend(Task(job, i, requests[i]) for i in left)
            self._come.notify_all()

    async def _next(self) -> Task:
        """Wait for a picture: of the client who has waited longest for a turn, the oldest."""
        async with self._come:
            await self._come.wait_for(lambda: self._waiting)
            client, tasks = self._waiting.popitem(last=False)
            task = tasks.popleft()
            if tasks:
                self._waiting[client] = tasks  # behind the others
            return task

    async def _run(self) -> None:
        while True:
            task = await self._next()
            task.job.status = "PROCESSING"
            try:
                await self._do(task)
            except Exception as error:  # nothing that is known of: the next picture may fare better
                log.error("a job stands still", exc_info=error)

    async def _do(self, task: Task) -> None:
        job, number, request = task
        try:
            edited, url = await self._edited(task)
            given = self.picture(edited.given) | {"object_uri": request.url}
            made = self.picture(edited.made) | {"tmp_url": url}
            job.made[number] = {"input_object": given, "output_object": made}
        except Exception as error:
            job.failed[number] = {
                "error": words_of(error, request), "created_at": now(), "input_object": {"object_uri": request.url},
            }  # fmt: skip
        over = not job.left
        self._count(job, -1, -job.size if over else 0)
        if over:
            job.status = "DONE" if job.made else "ERROR"
            del self.open[job.name]
        if over or asyncio.get_running_loop().time() - job.saved > SAVED:
            try:
                await self._save(job)
            except GpuBlurError as error:
                log.error("job %s cannot be kept: %s", job.name, error)
        if over:
            self.finished(job.name)

    async def _edited(self, task: Task) -> tuple[Edited, str]:
        """Return the edited picture and its URL; where the server is busy, later."""
        for tried in range(TRIES):
            account = Account(self.budget, task.job.client)
            try:
                return await self.make(task.request, account, task.job.base)
            except Declined as error:
                if "retry-after" not in error.headers or tried == TRIES - 1:
                    raise
            finally:
                account.close()
            await asyncio.sleep(min(LONGEST, 2.0**tried))
        raise AssertionError

    async def _save(self, job: Job) -> None:
        job.saved = asyncio.get_running_loop().time()
        await asyncio.to_thread(self.store.write, job.name, job.record())


def words_of(error: Exception, request: Request) -> str:
    body = told(claid, error, request).body
    return str(body.get("detail", body)["error_message"])
