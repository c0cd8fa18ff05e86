"""One worker: a process that can be ended, or a thread of this process, which cannot."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from multiprocessing import connection
from typing import Any


class Died(Exception):
    """The process has ended in the middle of its work."""


class Worker(ABC):
    """Does one thing after the other.

    Attributes
    ----------
    done : int
        How much it has done.
    running : object
        What its owner remembers of what it does.
    """

    done = 0
    running: Any = None

    @property
    @abstractmethod
    def alive(self) -> bool: ...

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def ask(self, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Return what the work returns, or raise what it raises; waits for it."""

    @abstractmethod
    def end(self) -> None: ...


class Thread(Worker):
    """Works where it is asked."""

    alive = True

    def start(self) -> None:
        pass

    def ask(self, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return work(*args)

    def end(self) -> None:
        pass


class Process(Worker):
    """A process of its own, spawned, so that it inherits no thread and no lock.

    Parameters
    ----------
    prepare : callable
        Done in the process before anything else; with ``args`` it must be what `pickle` can send.
    threads : int
        How many the process may use for compiled loops and networks.
    """

    def __init__(self, threads: int, prepare: Callable[..., None] | None = None, *args: Any) -> None:
        self._setup = (threads, prepare, args)
        self._process: Any = None
        self._pipe: Any = None

    @property
    def alive(self) -> bool:
        return self._process is not None and bool(self._process.is_alive())

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, *self._setup), daemon=True)
        self._process.start()
        theirs.close()  # or the end of the process would not end the pipe
        self.done = 0
        try:
            self._answer()
        except Exception:
            self.end()
            self._process.join()
            raise

    def ask(self, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        try:
            self._pipe.send((work, args))
        except OSError:
            raise Died from None
        self.done += 1
        return self._answer()

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _answer(self) -> Any:
        try:
            good, result = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise Died from None
        if good:
            return result
        raise result


def serve(pipe: Any, threads: int, prepare: Callable[..., None] | None, args: tuple[Any, ...]) -> None:
    """Do what comes through the pipe, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal it goes to all; the parent decides
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.environ["NUMBA_NUM_THREADS"] = str(threads)  # read once, by what is imported later; networks follow it
    pipe.send(outcome(prepare, args) if prepare is not None else (True, None))
    while True:
        try:
            work, given = pipe.recv()
        except EOFError:
            return
        pipe.send(outcome(work, given))
        del work, given  # a picture is large


def end_with_parent() -> None:
    """Wait for the parent's end, whatever it was, and end too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def outcome(work: Callable[..., Any], args: tuple[Any, ...]) -> tuple[bool, Any]:
    """Return whether the work was done, and its result, or its error with where it happened."""
    try:
        return True, work(*args)
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        return False, error
