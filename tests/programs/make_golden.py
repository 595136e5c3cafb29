"""Write what PyTorch gives for the programs of `models.py`: run it where torch is installed."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from models import PROGRAMS  # noqa: E402


def rounded(value: Any) -> Any:
    """Numbers to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = (f"{json.dumps(name)}: {json.dumps(rounded(program(torch)))}" for name, program in PROGRAMS.items())
    (HERE / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
