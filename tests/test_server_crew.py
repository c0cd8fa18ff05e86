"""The crew that does the work: what a time limit ends, who is next, and what memory it may take."""

import asyncio
import io
import os
import signal
import threading
import time
from functools import partial

import pytest
from conftest import PATIENCE, until
from PIL import Image
from serving import PNG, client_of, open_settings, running, until_metrics
from test_server import BLUR, blocked, connected, free, photoroom, says  # noqa: F401

from gpublur import dialects, edits, image_io
from gpublur.api import Editor
from gpublur.dialects import Declined
from gpublur.errors import InvalidArgument, PictureTooLarge
from gpublur.server import work
from gpublur.server.budget import Account, Budget
from gpublur.server.crew import Crew
from gpublur.server.worker import Process, Thread

AGES = 1e5
HEAD = (
    b"POST /v2/edit HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\ncontent-type: multipart/form-data; boundary=b\r\n\r\n"
)


def lease_of(client="a", budget=None):
    return Account(budget or Budget(100), client).working(1)


async def do(crew, work, *args, client="a", **options):
    async with lease_of(client) as lease:
        return await crew.run(lease, work, *args, **options)


def with_crew(main, *workers, seconds=AGES):
    async def whole():
        crew = Crew(workers, seconds)
        await crew.start()
        try:
            return await main(crew)
        finally:
            crew.stop()

    return asyncio.run(whole())


def test_a_time_limit_ends_the_work():
    """The thread of a bomb went on for hours, and kept the place of everybody else."""

    async def main(crew):
        before = await do(crew, os.getpid)
        with pytest.raises(Declined, match=r"longer than 0\.5 seconds") as caught:
            await do(crew, time.sleep, AGES)
        assert caught.value.status == 503
        after = await do(crew, os.getpid)
        assert before != after != os.getpid()
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)
        return crew.ended

    assert with_crew(main, Process(1), seconds=0.5) == 1


def test_a_process_that_dies_takes_one_picture_with_it():
    async def main(crew):
        with pytest.raises(Declined, match="has died"):
            await do(crew, os._exit, 3)
        assert await do(crew, len, "abc") == 3
        with pytest.raises(ZeroDivisionError) as caught:
            await do(crew, divmod, 1, 0)
        assert "outcome" in caught.value.__notes__[0]  # where it happened, for the log
        with pytest.raises(PictureTooLarge, match="x"):
            await do(crew, work_fails)

    with_crew(main, Process(1))


def work_fails():
    raise PictureTooLarge("x")


def test_a_worker_that_starts_again_is_no_longer_its_clients():
    """The next request of a client whose work was ended waited until a model was loaded again, and then was refused."""
    ended, may_start = threading.Event(), threading.Event()

    class Ending(Thread):
        alive = True

        def start(self):
            assert self.alive or may_start.wait(PATIENCE)
            self.alive = True

        def end(self):
            self.alive = False
            ended.set()

    async def main(crew):
        with pytest.raises(Declined, match="longer than"):
            await do(crew, ended.wait, PATIENCE)
        assert await asyncio.wait_for(do(crew, len, "abc"), PATIENCE) == 3
        assert not crew.workers[1].alive
        may_start.set()

    with_crew(main, Thread(), Ending(), seconds=0.2)  # the last is the first to work


def test_a_process_that_does_not_start_is_said():
    with pytest.raises(ZeroDivisionError):
        with_crew(None, Process(1, divmod, 1, 0))


def test_processes_end_with_their_parent():
    """Whatever ends it: kill -9 left none behind that would wait for ever."""
    import subprocess
    import sys

    code = """if __name__ == "__main__":
        import os, signal
        from gpublur.server.worker import Process
        worker = Process(1)
        worker.start()
        print(worker.ask(os.getpid, ()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL
    until(lambda: gone(int(run.stdout)))


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Order:
    """Threads of a crew that work when they are told to."""

    def __init__(self, count):
        self.workers = [Thread() for _ in range(count)]
        self.go, self.done = threading.Semaphore(0), []

    def work(self, name):
        assert self.go.acquire(timeout=PATIENCE)
        self.done.append(name)


def test_encodes_come_before_decodes_and_clients_take_turns():
    order = Order(1)

    async def main(crew):
        names = [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
        tasks = [asyncio.create_task(do(crew, order.work, name, client=name[0])) for name in names]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(do(crew, order.work, "encode", client="a", urgent=True)))
        await asyncio.sleep(0.01)
        order.go.release(5)
        await asyncio.gather(*tasks)

    with_crew(main, *order.workers)
    assert order.done == [("a", 1), "encode", ("a", 2), ("a", 3), ("b", 1)]


def test_one_worker_is_left_to_others():
    order = Order(3)

    async def main(crew):
        mine = [asyncio.create_task(do(crew, order.work, "a")) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert len(crew.running) == 2
        other = asyncio.create_task(do(crew, order.work, "b", client="b"))
        await asyncio.sleep(0.01)
        assert len(crew.running) == 3
        order.go.release(6)
        await asyncio.gather(*mine, other)
        assert not crew.running

    with_crew(main, *order.workers)


def test_whoever_has_most_in_the_queue_gives_way():
    order = Order(1)

    async def main(crew):
        tasks = [asyncio.create_task(do(crew, order.work, i)) for i in range(4)]  # one works, three wait
        await asyncio.sleep(0.01)
        assert not crew.displace("a")  # not for oneself
        assert crew.displace("b")
        with pytest.raises(Declined, match="too many requests are waiting"):
            await tasks[3]
        other = asyncio.create_task(do(crew, order.work, "b", client="b"))
        await asyncio.sleep(0.01)
        assert not crew.displace("b")  # two of a's, and b would have two
        order.go.release(4)
        await asyncio.gather(*tasks[:3], other)

    with_crew(main, *order.workers)


def test_a_caller_that_goes_leaves_the_queue_and_its_memory_when_the_work_is_done():
    order, budget = Order(1), Budget(100)

    async def main(crew):
        async def ask():
            async with Account(budget, "a").working(10) as lease:
                await crew.run(lease, order.work, "x")

        first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
        await asyncio.sleep(0.01)
        assert budget.working == 20
        for task in (first, second):
            task.cancel()
        await asyncio.wait([first, second])
        assert budget.working == 10  # of the first, which goes on
        order.go.release(1)
        await do(crew, int)
        assert budget.working == 0
        assert order.done == ["x"]

    with_crew(main, *order.workers)


def test_a_crew_says_when_it_is_stuck():
    order, now = Order(2), [0.0]

    async def main(crew):
        loop = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + now[0]
        assert not crew.stuck
        now[0] = 5000  # nothing was to be done
        tasks = [asyncio.create_task(do(crew, order.work, i, client=i)) for i in "ab"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not crew.stuck
        now[0] = 5050
        assert not crew.stuck
        now[0] = 5200
        assert (crew.stuck, 199 < crew.oldest < 300) == (True, True)
        order.go.release(2)
        loop.time = real
        await asyncio.gather(*tasks)
        assert not crew.stuck

    with_crew(main, *order.workers, seconds=100)


def test_a_budget_is_shared():
    budget = Budget(1000)
    greedy, other = Account(budget, "greedy"), Account(budget, "other")
    for _ in range(25):
        greedy.hold(10)
    with pytest.raises(Declined, match="memory is full") as caught:  # half of what there is: as much as it leaves
        Account(budget, "greedy").hold(10)
    assert caught.value.status == 503
    other.hold(120)
    assert budget.used == 370
    greedy.close()
    greedy.close()
    assert budget.used == 120
    other.hold(-20)
    assert (budget.used, budget.held_by) == (100, {"other": 100})


def test_work_waits_for_memory_in_turn():
    async def main():
        budget, entered = Budget(1000), []
        go = asyncio.Event()

        async def work(name, size):
            async with Account(budget, name).working(size):
                entered.append(name)
                await go.wait()

        tasks = [asyncio.create_task(work(*one)) for one in (("a", 600), ("b", 500), ("c", 300))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert entered == ["a"]  # c would fit, and b would wait for ever
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        await asyncio.sleep(0)
        assert (entered, budget.working) == (["a", "c"], 900)
        blocked_one = asyncio.create_task(work("d", 400))
        async with Account(budget, "e").working(0):  # what is set aside waits for nobody
            assert entered == ["a", "c"]
        go.set()
        await asyncio.gather(tasks[0], tasks[2], blocked_one)
        assert budget.used == 0

    asyncio.run(main())


EDIT = edits.check(dialects.read({"removeBackground": "false"}).edit)


def test_the_head_tells_what_a_picture_takes():
    limits = work.Limits(10**6, 1000)
    assert work.read(PNG, EDIT, limits, 48 * 64 * 40)[1] == ("PNG", 64, 48)
    assert work.read(PNG, EDIT, limits, 48 * 64 * 40 - 1) == work.Needs(48 * 64 * 40)
    larger = edits.check(dialects.read({"removeBackground": "false", "outputSize": "100x100"}).edit)
    assert work.read(PNG, larger, limits, 100) == work.Needs(100 * 100 * 40)
    image, two = Image.new("RGB", (64, 48)), io.BytesIO()
    image.save(two, "MPO", save_all=True, append_images=[image])  # as telephones write them; one is decoded
    assert work.read(two.getvalue(), EDIT, limits, 100) == work.Needs(48 * 64 * 40)
    other, frames = Image.new("RGB", (64, 48), "white"), io.BytesIO()
    image.save(frames, "GIF", save_all=True, append_images=[other, image])
    assert work.read(frames.getvalue(), EDIT, limits, 100) == work.Needs(3 * 48 * 64 * 40)
    image.save(pages := io.BytesIO(), "TIFF", save_all=True, append_images=[Image.new("RGB", (500, 500))])
    with pytest.raises(PictureTooLarge):  # what its head does not tell is not given room
        work.read(pages.getvalue(), EDIT, limits, 10**9)
    with pytest.raises(PictureTooLarge, match="no side may have more than 60"):
        work.read(PNG, EDIT, work.Limits(10**6, 60), 10**9)


def test_a_picture_that_needs_more_waits_for_it(monkeypatch):
    """20 requests of 389 kB took 5.4 GB, and none was done."""
    rooms = []
    real = work.read

    def read(data, edit, limits, room):
        rooms.append(room)
        return real(data, edit, limits, room)

    monkeypatch.setattr(work, "read", read)
    with running(max_body=1000, max_memory=300_000, workers=2) as url, client_of(url) as client:
        says(photoroom(client, BLUR), 413, "larger than 1000 bytes")
    with running(max_body=20_000, max_memory=300_000, workers=2) as url, client_of(url) as client:
        assert photoroom(client, BLUR).status_code == 200
        assert rooms == [18_750, 48 * 64 * 40]
        until_metrics(client, "gpublur_memory_bytes 0.0")
    with running(max_body=20_000, max_memory=200_000, workers=2) as url, client_of(url) as client:
        says(photoroom(client, BLUR), 413, "more than the limit of this server")


def test_bodies_are_counted_while_they_arrive():
    with running(max_body=100_000, max_memory=600_000) as url, client_of(url) as client:
        held = []
        for _ in range(2):
            connection = connected(url)
            connection.sendall(HEAD % 90_000 + b"x" * 60_000)
            held.append(connection)
        until_metrics(client, "gpublur_memory_bytes 120000.0")  # twice each; the second was refused: half is left
        says(photoroom(client, data=b"x" * 40_000), 503, "the server's memory is full")
        for connection in held:
            connection.close()
        until_metrics(client, "gpublur_memory_bytes 0.0")
        assert photoroom(client).status_code == 200


def test_clients_that_hang_up_give_their_places_up(free):  # noqa: F811
    """Three of them, who sent whole requests and left, had 98 % of the answers be 429."""
    boundary = b'--b\r\nContent-Disposition: form-data; name="imageFile"; filename="x"\r\n\r\n%b\r\n--b--\r\n'
    body = boundary % PNG
    with blocked(free, max_waiting=3) as url, client_of(url) as client:
        free.clear()
        held = [connected(url) for _ in range(3)]
        for connection in held:
            connection.sendall(HEAD % len(body) + body)
        until_metrics(client, "gpublur_waiting 3.0")
        for connection in held:
            connection.close()
        until_metrics(client, "gpublur_waiting 0.0")
        free.set()
        assert photoroom(client).status_code == 200
        until_metrics(client, 'status="499"} 3.0')


@pytest.fixture(scope="module")
def apart():
    """A server whose work is done in processes, as `gpublur serve` does it on a CPU."""
    with running(model="general", processes=True, workers=2) as url:
        yield url


def test_processes_make_the_librarys_pictures(apart):
    editor = Editor("cpu")
    for fields in (BLUR, {"background.color": "red", "export.format": "jpg"}):
        edit = edits.check(dialects.read(fields).edit)
        expected = editor.edit_photo(edits.prepare(image_io.decode(otters()), edit), edit)
        with client_of(apart) as client:
            answer = photoroom(client, fields, otters())
        assert answer.status_code == 200, answer.text
        assert answer.content == edits.write(expected, edit)
        assert 0 < float(answer.headers["x-uncertainty-score"]) < 1


def otters():
    from gpublur.demo import PHOTO

    return PHOTO.read_bytes()


def test_processes_answer_errors_as_threads_do(apart):
    with client_of(apart) as client:
        says(photoroom(client, {}, b"GIF"), 400, "imageFile: is not a picture")
        says(
            photoroom(client, {"outputSize": "9000x9000", "removeBackground": "false"}),
            413,
            "outputSize: the result would have 9000 x 6750 pixels",
        )
        says(photoroom(client, {"segmentation.prompt": "rocket"}), 400, "segmentation.prompt: this installation")
        assert client.get("/healthz").json() == {"status": "ok"}


def test_settings_of_memory():
    with pytest.raises(InvalidArgument, match="max_memory=1000 is less than six requests of max_body=500"):
        open_settings(max_memory=1000, max_body=500)
    assert partial(open_settings, max_memory=3000, max_body=500)().max_memory == 3000
