"""Write what PyTorch gives for the calls of `calls.py`: run it where torch is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from calls import CALLS, run  # noqa: E402


def rounded(value: Any) -> Any:
    """Numbers to seven digits."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    return [rounded(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    found = {name: rounded(run(torch, name)) for name in CALLS}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in found.items())
    (HERE / "golden.json").write_text("{\n" + lines + "\n}\n")
