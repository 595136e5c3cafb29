"""Runs the real command in a process of its own, as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--model", "mlp", "--epochs", "2", "--limit", "300", "--no-plots"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "flambeau", *map(str, args)]


class Command:
    """`command(*args)` runs and returns the finished process; `ok` asserts success, `fails` one line on stderr."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *args: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            command(*args), cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=120
        )

    def ok(self, *args: object) -> str:
        done = self(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *args: object) -> str:
        done = self(*args)
        assert done.returncode not in (0, -6, -11), done.stdout
        assert "Traceback" not in done.stderr + done.stdout
        lines = done.stderr.strip().splitlines()
        errors = [line for line in lines if line.startswith("flambeau") and ": error: " in line]
        assert len(errors) == 1 and lines[-1] == errors[0], done.stderr
        return errors[0]


@pytest.fixture
def run(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small network was trained on the digits: `run/best.pt` and the rest."""
    folder = tmp_path_factory.mktemp("trained")
    Command(folder).ok("train", *QUICK, "--out", "run")
    return folder


def metrics(folder: Path) -> list[dict]:
    """The metrics of a run without what differs from time to time."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def write_images(folder: Path, count: int = 12, size: int = 20) -> Path:
    """Two classes of noisy images: dark and bright."""
    rng = np.random.default_rng(0)
    for name, level in (("bright", 200), ("dark", 60)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.normal(level, 20, (size, size + 4, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02d}.png")
    return folder
