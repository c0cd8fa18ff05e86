"""A plugin of pytest: run the tests of one backend, and those marked gpu, and note each outcome at once.

Which backend, where to note, and how many tests at most, stand in the environment. What has been noted outlives a run
that its time cuts short.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .device import use_fatbins

BACKEND, OUTCOMES = os.environ["GPU_CHECK_BACKEND"], Path(os.environ["GPU_CHECK_OUTCOMES"])
MOST = os.environ["GPU_CHECK_MOST"]
TAIL = 1500


def pytest_configure() -> None:
    use_fatbins()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = [item for item in items if item.get_closest_marker("gpu") or backend(item) == BACKEND]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    chosen.sort(key=lambda item: item.get_closest_marker("gpu") is None)  # what no emulator shows comes first
    items[:] = chosen[: int(MOST) if MOST else None]


def backend(item: pytest.Item) -> str | None:
    call = getattr(item, "callspec", None)
    return call and call.params.get("backend")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:  # a file that cannot be imported
        note("failed", f"{report.nodeid}\n{report.longreprtext}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or not report.passed:
        note(report.outcome, f"{report.nodeid}\n{report.longreprtext}" if report.failed else "")


def note(outcome: str, text: str) -> None:
    with OUTCOMES.open("a") as file:
        print(json.dumps([outcome, text[-TAIL:]]), file=file)
