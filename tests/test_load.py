"""The load test of benchmarks/serve_load.py, until 40 answers: they are right, and none is another client's."""

import math

from conftest import find_ellipse
from PIL import Image
from serving import PIXELS, client_of, running, until_metrics

from benchmarks.serve_load import cases, load
from gpublur.api import Editor

ANSWERS = 40


def test_many_clients_at_once():
    pictures = [Image.fromarray(PIXELS).rotate(90 * i, expand=True) for i in range(3)]
    asked = cases(Editor("cpu", find_ellipse), pictures)
    assert len({case.expected for case in asked}) == len(asked)  # or a mix-up would not be seen
    with running(max_batch=2, batch_wait=1) as url:  # as long as two of the eight ask, none goes alone
        report = load(url, asked, clients=8, seconds=math.inf, answers=ANSWERS)
        with client_of(url) as client:
            numbers = until_metrics(client, 'status="499"')  # those that hung up
    assert (set(report.statuses), report.wrong) == ({200}, 0)
    assert len(report.latencies) >= ANSWERS
    assert "gpublur_waiting 0.0" in numbers
    assert 'status="500"' not in numbers
    batches = next(line for line in numbers.splitlines() if line.startswith('gpublur_batch_size_bucket{le="1.0"}'))
    whole = next(line for line in numbers.splitlines() if line.startswith("gpublur_batch_size_count"))
    assert float(batches.split()[1]) < float(whole.split()[1])  # some went together
