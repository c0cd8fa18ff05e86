"""How many requests a client may send, and how many wrong keys an address."""

import asyncio

import pytest
from serving import PNG, data_of, open_settings
from starlette.testclient import TestClient

from gpublur.dialects import Declined
from gpublur.server import create_app
from gpublur.server.auth import Attempts
from gpublur.server.rates import CLIENTS, Policy, Rates


class Now:
    """A clock that stands."""

    time = 0.0

    def __call__(self):
        return self.time


def test_a_limit_of_a_client():
    now = Now()
    rates = Rates([Policy.of("3/60"), Policy.of("2/1")], 64, lambda: 0, now)
    assert rates.headers("a", refused=False) == {
        "ratelimit-limit": "2, 3;w=60, 2;w=1", "ratelimit-remaining": "2", "ratelimit-reset": "1",
    }  # fmt: skip
    rates.take("a")
    rates.take("a")
    with pytest.raises(Declined) as refused:
        rates.take("a")
    assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "1"})
    rates.take("b")
    now.time = 1.0
    rates.take("a")
    now.time = 2.0
    with pytest.raises(Declined) as refused:  # of the minute
        rates.take("a")
    assert refused.value.headers == {"retry-after": "58"}
    told = rates.headers("a", refused=True)
    assert told == {"ratelimit-limit": "3, 3;w=60, 2;w=1", "ratelimit-remaining": "-1", "ratelimit-reset": "58"}
    now.time = 60.0
    rates.take("a")


def test_clients_are_forgotten():
    rates = Rates([Policy.of("3/60")], 64, lambda: 0, Now())
    for i in range(CLIENTS + 5):
        rates.take(str(i))
    assert len(rates._windows) == CLIENTS


def test_without_limits_the_free_places_are_told():
    rates = Rates([], 64, lambda: 10)
    told = rates.headers("a", refused=False)
    assert told == {"ratelimit-limit": "64", "ratelimit-remaining": "54", "ratelimit-reset": "1"}


def test_claids_answers_have_the_headers():
    with TestClient(create_app(open_settings(rate_limits=("2/60",)))) as client:
        for left in ("1", "0"):
            answer = client.post("/v1/image/edit/upload", files={"file": PNG}, data=data_of({"blur": True}))
            assert (answer.status_code, answer.headers["ratelimit-remaining"]) == (200, left)
        answer = client.post("/v1/image/edit/upload", files={"file": PNG}, data=data_of({"blur": True}))
        assert (answer.status_code, answer.headers["ratelimit-remaining"]) == (429, "-1")
        assert answer.json()["detail"]["error_code"] == "2001"
        assert answer.headers["ratelimit-limit"] == "2, 2;w=60"
        answer = client.post("/v2/edit", files={"imageFile": PNG}, data={"removeBackground": "false"})
        assert answer.status_code == 429
        assert "ratelimit-limit" not in answer.headers


def attempts(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("gpublur.server.auth.asyncio.sleep", sleep)
    now = Now()
    return Attempts(now), now, slept


def test_guessing_is_slow(monkeypatch):
    known, now, slept = attempts(monkeypatch)

    async def main():
        known.tell("here", "right")
        for _ in range(Attempts.FREE):
            await known.wait("here", ("wrong",))
            known.tell("here", None)
        assert slept == []
        await known.wait("here", ("wrong",))
        assert slept == [Attempts.PAUSE]
        await known.wait("here", ("right",))  # it has opened from there
        await known.wait("there", ("wrong",))  # nothing was wrong from there
        assert slept == [Attempts.PAUSE]
        now.time = Attempts.MINUTE + 1
        await known.wait("here", ("wrong",))
        assert slept == [Attempts.PAUSE]

    asyncio.run(main())


def test_few_may_wait_for_a_guess():
    known = Attempts(Now())
    known.PAUSE = 1000.0

    async def main():
        for _ in range(Attempts.FREE):
            known.tell("here", None)
        waiting = [asyncio.create_task(known.wait("here", ("x",))) for _ in range(Attempts.PLACES)]
        await asyncio.sleep(0)
        with pytest.raises(Declined, match="too many wrong keys"):
            await known.wait("here", ("x",))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        known.PAUSE = 0.0
        await known.wait("here", ("x",))

    asyncio.run(main())


def test_addresses_and_keys_are_forgotten():
    known = Attempts(Now())
    for i in range(Attempts.ADDRESSES + 3):
        known.tell(str(i), "key")
    assert len(known._visitors) == Attempts.ADDRESSES
    for i in range(Attempts.KEYS + 3):
        known.tell("one", str(i))
    assert len(known._visitors["one"].opened) == Attempts.KEYS


def test_wrong_keys_over_http(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("a-right-key-of-16-and-more\n")
    keys.chmod(0o600)
    with TestClient(create_app(open_settings(no_keys=False, keys=keys))) as client:
        right, wrong = ({"x-api-key": f"a-{word}-key-of-16-and-more"} for word in ("right", "wrong"))

        def ask(headers):
            return client.post(
                "/v2/edit", files={"imageFile": PNG}, data={"removeBackground": "false"}, headers=headers
            )

        assert ask(right).status_code == 200
        for _ in range(Attempts.FREE):
            assert ask(wrong).status_code == 403
        late = ask(wrong)
        assert late.status_code == 403
        assert late.elapsed.total_seconds() >= Attempts.PAUSE * 0.9
