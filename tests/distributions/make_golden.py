"""Write what PyTorch gives for the tables of `cases.py`: run it where torch is installed."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from cases import everything  # noqa: E402


def rounded(value: Any) -> Any:
    """Numbers to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    lines = (f"{json.dumps(k)}: {json.dumps(rounded(v), separators=(',', ':'))}" for k, v in everything(torch).items())
    (HERE / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
