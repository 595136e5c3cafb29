"""Write golden/*.txt: what these programs print under PyTorch on one thread. Run it where PyTorch is (x86-64, AVX2)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main(names: list[str]) -> None:
    """Record the programs of these names, or all."""
    for golden in sorted((HERE / "golden").glob("*.txt")) if not names else (HERE / "golden" / f"{n}.txt" for n in names):
        program = HERE / f"{golden.stem}.py"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(program)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, check=True
        )
        golden.write_text(done.stdout)
        print(golden.name, len(done.stdout.splitlines()), "lines")


if __name__ == "__main__":
    main(sys.argv[1:])
