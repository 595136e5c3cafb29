"""The examples run under `flambeau run`, as the ordinary PyTorch programs they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"


def flambeau_run(folder: Path, script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flambeau", "run", str(ROOT / "examples" / script), *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_every_example_is_tested() -> None:
    assert {p.name for p in (ROOT / "examples").glob("*.py")} == {
        "cifar10_tutorial.py", "custom_function.py", "gpt.py", "mnist.py",
    }  # fmt: skip


def test_custom_function(tmp_path: Path) -> None:
    said = flambeau_run(tmp_path, "custom_function.py")
    assert "the derivative of Cube is right: True" in said
    assert "weights [2.0, -3.0, 1.0]" in said


def test_gpt_learns(tmp_path: Path) -> None:
    said = flambeau_run(tmp_path, "gpt.py", "--steps", "101", "--batch-size", "8")
    losses = [float(line.split()[-1]) for line in said.splitlines() if line.startswith("step")]
    assert losses[-1] < losses[0] - 1


@pytest.mark.skipif(not (DATA / "cifar-10-batches-py").is_dir(), reason="CIFAR-10 is not here")
def test_old_cifar10_tutorial_with_variable_and_workers(tmp_path: Path) -> None:
    said = flambeau_run(
        tmp_path, "cifar10_tutorial.py", "--data", str(DATA), "--epochs", "1", "--batches", "30"
    )
    assert "Finished Training" in said
    assert "Accuracy of the network on 120 test images" in said


@pytest.mark.skipif(not (DATA / "MNIST").is_dir(), reason="MNIST is not here")
def test_mnist_trains_tests_and_saves(tmp_path: Path) -> None:
    said = flambeau_run(tmp_path, "mnist.py", "--data", str(DATA), "--epochs", "1", "--dry-run", "--save", "net.pt")
    assert "epoch 1  batch 0/938" in said
    assert "/10000 (" in said
    assert (tmp_path / "net.pt").stat().st_size > 100_000
