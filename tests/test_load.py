"""The load test of benchmarks/serve_load.py, for three seconds: answers are right, and none is another client's."""

import httpx
from conftest import find_ellipse
from PIL import Image
from serving import PIXELS, running

from benchmarks.serve_load import cases, load
from gpublur.editor import Editor


def test_many_clients_at_once():
    pictures = [Image.fromarray(PIXELS).rotate(90 * i, expand=True) for i in range(3)]
    asked = cases(Editor("cpu", find_ellipse), pictures)
    assert len({case.expected for case in asked}) == len(asked)  # or a mix-up would not be seen
    with running(upload_seconds=1) as url:
        report = load(url, asked, clients=8, seconds=3)
        numbers = httpx.get(f"{url}/metrics").text
    assert (set(report.statuses), report.wrong) == ({200}, 0)
    assert len(report.latencies) > 20
    assert "gpublur_waiting 0.0" in numbers
    assert 'status="499"' in numbers  # those that hung up
    assert 'status="500"' not in numbers
    batches = next(line for line in numbers.splitlines() if line.startswith('gpublur_batch_size_bucket{le="1.0"}'))
    whole = next(line for line in numbers.splitlines() if line.startswith("gpublur_batch_size_count"))
    assert float(batches.split()[1]) < float(whole.split()[1])  # some went together
