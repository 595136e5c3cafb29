"""Write what PyTorch gives for the programs of `programs.py`: run it where torch is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from programs import PROGRAMS  # noqa: E402

if __name__ == "__main__":
    found = {name: program(torch) for name, program in PROGRAMS.items()}
    (HERE / "golden.json").write_text(json.dumps(found, indent=1))
