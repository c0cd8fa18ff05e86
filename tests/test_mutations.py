"""The first of the mutated files of benchmarks/mutate.py: each is a picture or a typed error."""

import misbehave
import pytest

pytest.importorskip("fastapi")  # the worker is the server's

from benchmarks import mutate

FILES = 330  # ten of each kind


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_mutated_files():
    files = mutate.seeds()
    assert all(mutate.tried(data) == "picture" for data in files.values())
    trial = mutate.run(iter(range(FILES)), files)
    assert trial.faults == []
    assert min(trial.outcomes["picture"], trial.outcomes["refused"]) > FILES / 10
    assert mutate.mutated(files, 7) == mutate.mutated(files, 7)
    assert len({mutate.mutated(files, number)[1] for number in range(FILES)}) > FILES * 0.9


def test_faults_are_seen(monkeypatch):
    """What would be a fault is told as one."""
    monkeypatch.setattr(mutate, "HANG", 3.0)
    files = dict.fromkeys(("a", "b", "c", "d"), b"x")
    monkeypatch.setattr(mutate, "mutated", lambda files, number: (f"{number}", b"%d" % number))
    monkeypatch.setattr(mutate, "tried", misbehave.as_told)
    trial = mutate.run(iter(range(4)), files)
    assert trial.outcomes == {"hang": 1, "crash": 1, "untyped": 1, "picture": 1}
    assert [fault.partition(" ")[0] for fault in trial.faults] == ["0", "1", "2"]
