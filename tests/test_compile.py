"""Every kernel compiles for every architecture, without a warning or a spill, within its budget of registers.

``python tests/test_compile.py`` writes the budget anew, after a kernel has changed for good reason.
"""

import json
import tempfile
from pathlib import Path

import pytest
import toolchain
from toolchain import ARCHS, Resources

from gpublur.backends.cuda import loader

# The most that each takes: {source: {entry: {architecture: [registers, static shared bytes]}}}. Registers are rounded
# up to what the hardware hands out, 8 at a time. A compiler that is not the budget's may take, or spill, 8 more.
BUDGET = Path(__file__).with_name("kernel_budget.json")
GRAIN = 8


@pytest.fixture(scope="module", params=loader.sources())
def name(request):
    return request.param


@pytest.fixture(scope="module")
def resources(request, name, tmp_path_factory):
    """{(entry, architecture): Resources} of a source; compiled once, and again when anything has changed."""
    try:
        key = f"kernels/{toolchain.compiler()}/{name}-{loader.source_hash(name)}"
        cache = getattr(request.config, "cache", None)  # pytest's, which can be switched off
        rows = cache.get(key, None) if cache else None
        if rows is None:
            built = toolchain.build(loader.where(f"{name}.cu"), tmp_path_factory.mktemp(name))
            rows = list(built.items())
            if cache:
                cache.set(key, rows)
    except toolchain.Unavailable as error:
        pytest.skip(str(error))
    return {tuple(key): Resources(*row) for key, row in rows}


@pytest.fixture
def budget(name):
    rows = json.loads(BUDGET.read_text())["kernels"][name]
    return {(entry, int(arch)): row for entry, archs in rows.items() for arch, row in archs.items()}


@pytest.fixture
def slack():
    return 0 if toolchain.compiler() == json.loads(BUDGET.read_text())["compiler"] else GRAIN


def test_every_entry_is_there_for_every_architecture(resources, budget):
    assert resources.keys() == budget.keys()
    assert resources.keys() == {(entry, arch) for entry, _arch in resources for arch in ARCHS}


def test_nothing_is_spilled(resources, slack):
    assert {key: used.local for key, used in resources.items() if used.local > 4 * slack} == {}


def test_within_budget(resources, budget, slack):
    over = {
        key: (used, budget[key])
        for key, used in resources.items()
        if used.registers > budget[key][0] + slack or used.shared > budget[key][1]
    }
    assert over == {}


def test_the_budget_has_no_other_sources():
    assert sorted(json.loads(BUDGET.read_text())["kernels"]) == loader.sources()


def test_the_entries_are_read_from_the_source(name, budget):
    """So that all can be loaded before the first picture."""
    names = loader.kernels(name)
    assert len(names) == len(set(names))
    assert set(names) == {entry for entry, _arch in budget}


def test_nvrtc_compiles_it_too(name, tmp_path):
    try:
        toolchain.nvrtc()
    except toolchain.Unavailable as error:
        pytest.skip(str(error))
    toolchain.with_nvrtc(loader.where(f"{name}.cu"), tmp_path, 90)


WARNS = """
extern "C" __global__ void kernel(float* out) {
  int unused = 3;
  out[0] = 1;
}
"""
SPILLS = """
extern "C" __global__ void kernel(float* out, int n) {
  float many[100];
  for (int i = 0; i < n; ++i) many[(i * i) % 100] = out[i];
  out[0] = many[n];
}
"""


def test_the_tests_see_warnings_and_spills(tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "options", lambda name: ())
    source = tmp_path / "kernel.cu"
    try:
        source.write_text(WARNS)
        with pytest.raises(toolchain.CompileError, match="unused"):
            toolchain.build(source, tmp_path, [75, 90])
        source.write_text(SPILLS)
        resources = toolchain.build(source, tmp_path, [75, 90])
    except toolchain.Unavailable as error:
        pytest.skip(str(error))
    assert resources.keys() == {("kernel", 75), ("kernel", 90)}
    assert all(used.local >= 400 for used in resources.values())


def write_budget():
    sources = []
    for name in loader.sources():
        with tempfile.TemporaryDirectory() as folder:
            resources = toolchain.build(loader.where(f"{name}.cu"), Path(folder))
        rows = {}
        for (entry, arch), used in sorted(resources.items()):
            rows.setdefault(entry, {})[arch] = [-(-used.registers // GRAIN) * GRAIN, used.shared]
        entries = ",\n".join(f"  {json.dumps(entry)}: {json.dumps(row)}" for entry, row in rows.items())
        sources.append(f"{json.dumps(name)}: {{\n{entries}\n}}")
    kernels = ",\n".join(sources)
    BUDGET.write_text(f'{{"compiler": {json.dumps(toolchain.compiler())}, "kernels": {{\n{kernels}\n}}}}\n')


if __name__ == "__main__":
    write_budget()
