"""Write what PyTorch gives for the tables of this folder: run it where torch is installed."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from loading import table  # noqa: E402


def rounded(value: object) -> object:
    """Numbers to seven digits; a key of a dict is text in JSON anyhow."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {str(k): rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    layers, programs = table("layers"), {name: table(name).PROGRAMS for name in ("machinery", "parts", "reparametrizing", "subclassing")}
    found = {
        "layers": {f"{a} | {b}": layers.digest(layers.run(torch, a, b)) for a, b in layers.PARSED},
        **{of: {name: program(torch) for name, program in named.items()} for of, named in programs.items()},
    }
    (HERE / "golden.json").write_text(json.dumps(rounded(found), separators=(",", ":")))
