"""One command for a machine with a GPU: ``python -m benchmarks.gpu_check`` proves, measures and compares.

Each part runs in a process of its own with its own time, and writes down what it finds as it finds it: one that fails
or hangs costs its own figures alone. ``--dry`` rehearses all of it without a GPU.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))  # for the float64 reference and the emulator
