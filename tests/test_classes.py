"""What a pixel of each class costs: instructions of the machine code, weighed by how often the emulator runs them.

``python -m benchmarks.budget`` writes the same figures into docs/kernels.md.
"""

import json

import emulator
import pytest
import toolchain
from test_compile import BUDGET

# Of 8-bit RGB, interleaved, with a mask of bytes: some 5 % above what kernel_budget.json's compiler makes for sm_90.
MOST = {
    ("bokeh", "decimate"): {"background": 79, "copied": 51, "mixed": 138},
    ("bokeh", "composite"): {"background": 107, "copied": 23, "mixed": 350},
    ("gaussian", "decimate"): {"background": 82, "copied": 49, "mixed": 154},
    ("gaussian", "composite"): {"background": 95, "copied": 23, "mixed": 340},
}


def test_classes_of_rows_keep_to_their_budgets(tmp_path):
    budget = pytest.importorskip("benchmarks.budget")
    from benchmarks.executed import Blocks

    if emulator.unusable() or any(toolchain.find(program) is None for program in ("nvcc", "nvdisasm")):
        pytest.skip("needs g++, nvcc and nvdisasm")
    counted = json.loads(BUDGET.read_text())["compiler"]
    if toolchain.compiler() != counted:
        pytest.skip(f"counted with {counted}, this is {toolchain.compiler()}")
    blocks = Blocks(tmp_path)
    with budget.as_of_the_photo():
        found = budget.of_classes(blocks, budget.code_of(blocks, budget.BY_CLASS))
    over = {key: costs for key, costs in found.items() if any(costs[name] > most for name, most in MOST[key].items())}
    assert over == {}
    assert found.keys() == MOST.keys()
    assert min(cost for costs in found.values() for cost in costs.values()) > 10
