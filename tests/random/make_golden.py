"""Record what PyTorch gives for the cases: `python tests/random/make_golden.py`, where PyTorch 2.13 is installed."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from cases import ERRORS, LARGE, PROGRAMS, SEEDS, all_cases
from record import record

GOLDEN = Path(__file__).with_name("golden.json")


def error_of(case: str) -> tuple[str, str]:
    """The type and text of the error that a call raises."""
    try:
        eval(case, {"t": torch})
    except Exception as e:
        return type(e).__name__, str(e)
    raise AssertionError(f"{case} raises nothing in PyTorch")


def main() -> None:
    torch.set_num_threads(1)
    golden = {
        "torch": torch.__version__,
        "cases": {case: record(case, torch) for case in all_cases()},
        "programs": {case: record(case, torch) for case in PROGRAMS},
        "large": {case: record(case, torch, digest=True) for case in LARGE},
        "errors": {case: error_of(case) for case in ERRORS},
        "seeds": {str(seed): record("t.rand(5)", torch, seed) for seed in SEEDS},
    }
    lines = ",\n".join(
        f'"{part}": {{\n' + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in golden[part].items()) + "\n}"
        for part in ("cases", "programs", "large", "errors", "seeds")
    )
    GOLDEN.write_text(f'{{"torch": {json.dumps(golden["torch"])},\n{lines}\n}}\n')


if __name__ == "__main__":
    main()
