"""Entry point: ``python -m benchmarks`` is ``python benchmarks/run_all.py``."""

import runpy
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here))  # the benchmarks are programs that import each other by their plain names
runpy.run_path(str(here / "run_all.py"), run_name="__main__")
