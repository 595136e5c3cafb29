"""`flambeau train`: results, exact resuming, Ctrl-C."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import time

import pytest

import flambeau
from flambeau.cli.trainer import as_good_as
from flambeau.vision.datasets import Digits
from tests.cli.conftest import QUICK, command, environment, metrics, write_images

PNG = b"\x89PNG\r\n\x1a\n"


def weights(path):
    return flambeau.load(path)["model"]


def same_weights(one, other):
    return one.keys() == other.keys() and all(flambeau.equal(one[key], other[key]) for key in one)


def test_a_run_leaves_what_it_promises(run, tmp_path):
    output = run.ok("train", "--model", "mlp", "--epochs", 3, "--limit", 400, "--out", "run")
    folder = tmp_path / "run"
    rows = metrics(folder)
    assert [row["epoch"] for row in rows[:-1]] == [1, 2, 3]
    assert set(rows[0]) == {"epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"}
    assert rows[0]["lr"] == 0.05 > rows[1]["lr"] > rows[2]["lr"]
    assert rows[2]["train_loss"] < rows[0]["train_loss"]
    tested = json.loads((folder / "test.json").read_text())
    assert rows[-1] == tested and len(tested["classes"]) == 10
    correct, images = (sum(c[key] for c in tested["classes"]) for key in ("correct", "images"))
    assert tested["test_accuracy"] == pytest.approx(correct / images) and images == len(Digits(train=False))
    last = output[output.index("overall") :].split()
    assert last[1:4] == [str(images), str(correct), f"{correct / images:.2%}"]
    for name in ("curves.png", "confusion.png"):
        assert (folder / name).read_bytes().startswith(PNG)
    assert "epoch 3/3" in (folder / "train.log").read_text()
    assert {path.name for path in folder.iterdir()} == {
        "best.pt", "last.pt", "metrics.jsonl", "test.json", "curves.png", "confusion.png", "train.log"
    }  # fmt: skip


def test_lenet_learns_the_digits_with_defaults(run, tmp_path):
    started = time.monotonic()
    run.ok("train", "--data", "digits", "--model", "lenet", "--out", "run", "--no-plots")
    assert json.loads((tmp_path / "run" / "test.json").read_text())["test_accuracy"] > 0.97
    assert time.monotonic() - started < 120


def test_the_seed_decides_everything(run, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run.ok("train", *QUICK, "--seed", seed, "--out", name)
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b") != metrics(tmp_path / "c")
    assert same_weights(weights(tmp_path / "a/last.pt"), weights(tmp_path / "b/last.pt"))


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_a_run_can_be_lengthened(run, tmp_path, schedule):
    options = ["--model", "mlp", "--limit", 200, "--schedule", schedule, "--step-epochs", 1, "--no-plots"]
    run.ok("train", *options, "--epochs", 4, "--out", "whole")
    run.ok("train", *options, "--epochs", 2, "--out", "parts")
    run.ok("train", "--epochs", 4, "--resume", "parts")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    assert same_weights(weights(tmp_path / "whole/last.pt"), weights(tmp_path / "parts/last.pt"))


MODEL = """
from flambeau import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
            nn.Linear(4 * 36, num_classes),
        )

    def forward(self, x):
        return self.layers(x)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
@pytest.mark.parametrize(
    "workers, optimizer, schedule", [(0, "sgd", "cosine"), (2, "adam", "onecycle"), (0, "rmsprop", "step")]
)
def test_an_interrupted_run_continues_exactly(run, tmp_path, workers, optimizer, schedule):
    """Ctrl-C in the middle of an epoch, and going on, gives the numbers of a run that was left alone."""
    (tmp_path / "net.py").write_text(MODEL)
    options = ["train", "--model", "net.py:Net", "--limit", 320, "--batch-size", 8, "--epochs", 4, "--no-plots"]
    options += ["--workers", workers, "--optimizer", optimizer, "--schedule", schedule]
    run.ok(*options, "--out", "whole")
    process = subprocess.Popen(
        command(*options, "--out", "parts"), cwd=tmp_path, env=environment(), text=True, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    for line in process.stderr:
        if line.startswith("epoch 1/4"):
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert "interrupted; continue with --resume" in errors
    progress = flambeau.load(tmp_path / "parts/last.pt")["training"]["progress"]
    assert 1 <= progress["epoch"] < 4 and progress["steps"] > 0, "the interruption was not in the middle of an epoch"
    run.ok("train", "--resume", "parts/last.pt")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    for name in ("last.pt", "best.pt"):
        assert same_weights(weights(tmp_path / "whole" / name), weights(tmp_path / "parts" / name))


def test_augmented_training_does_not_depend_on_the_workers(run, tmp_path):
    for workers in (0, 2):
        run.ok("train", *QUICK, "--workers", workers, "--out", f"by{workers}")
    assert metrics(tmp_path / "by0") == metrics(tmp_path / "by2")


def test_resuming_finds_the_run_by_its_options(run, tmp_path):
    run.ok("train", *QUICK, "--schedule", "constant")
    assert (tmp_path / "runs/digits-mlp/last.pt").exists()
    run.ok("train", "--model", "mlp", "--resume", "--epochs", 3)
    assert [row.get("epoch") for row in metrics(tmp_path / "runs/digits-mlp")] == [1, 2, 3, None]


def test_resuming_into_another_folder_takes_the_best_network_along(run, tmp_path):
    run.ok("train", *QUICK, "--out", "one")
    run.ok("train", "--resume", "one", "--out", "two")
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")
    assert (tmp_path / "two/best.pt").exists()


def test_resuming_refuses_what_would_change_the_numbers(run, tmp_path):
    run.ok("train", *QUICK, "--out", "run")
    text = run.fails("train", "--resume", "run", "--lr", "0.3")
    assert text == "flambeau train: error: cannot resume with --lr 0.3: the run was started with None"
    assert "cosine schedule was laid out for 2" in run.fails("train", "--resume", "run", "--epochs", 5)


def test_a_new_run_replaces_the_old_one(run, tmp_path):
    run.ok("train", *QUICK, "--out", "run")
    done = run("train", *QUICK, "--out", "run", "--epochs", "1")
    assert done.returncode == 0 and "holds an earlier run" in done.stderr
    assert [row.get("epoch") for row in metrics(tmp_path / "run")] == [1, None]


@pytest.mark.parametrize("layout", ["classes", "parts"])
def test_training_on_a_folder(run, tmp_path, layout):
    if layout == "classes":
        write_images(tmp_path / "photos")
    else:
        for part in ("train", "val", "test"):
            write_images(tmp_path / "photos" / part)
    (tmp_path / "net.py").write_text(MODEL.replace("4 * 36", "4 * 14 * 14"))
    options = ["--image-size", 16, "--epochs", 3, "--batch-size", 4, "--out", "run", "--workers", 2]
    output = run.ok("train", "--data", "photos", "--model", "net.py:Net", *options)
    tested = json.loads((tmp_path / "run/test.json").read_text())
    assert [row["class"] for row in tested["classes"]] == ["bright", "dark"] and "overall" in output
    assert tested["test_accuracy"] == 1.0
    assert sum(row["images"] for row in tested["classes"]) == (5 if layout == "classes" else 24)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "adagrad"])
def test_optimizers(run, tmp_path, optimizer):
    run.ok("train", *QUICK, "--optimizer", optimizer, "--clip-grad", 1.0, "--label-smoothing", 0.1, "--out", "run")
    rows = metrics(tmp_path / "run")
    assert rows[1]["train_loss"] < rows[0]["train_loss"]


def test_without_validation_the_training_accuracy_decides(run, tmp_path):
    run.ok("train", *QUICK, "--val-split", 0, "--out", "run")
    assert "val_loss" not in metrics(tmp_path / "run")[0]


def test_matplotlib_is_optional(run, tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')")
    options = [option for option in QUICK if option != "--no-plots"]
    done = subprocess.run(
        command("train", *options, "--out", "run"), cwd=tmp_path, capture_output=True, text=True,
        env={**environment(), "PYTHONPATH": f"{tmp_path}:{environment()['PYTHONPATH']}"},
    )  # fmt: skip
    assert done.returncode == 0 and "matplotlib is not installed" in done.stderr
    assert not (tmp_path / "run/curves.png").exists() and (tmp_path / "run/test.json").exists()


def test_the_later_of_networks_that_are_equally_good_is_kept():
    assert as_good_as(0.5, -math.inf, 100)
    assert as_good_as(0.99, 0.98, 100)
    assert as_good_as(0.90 - 0.029, 0.90, 100)  # the standard error is 0.03
    assert not as_good_as(0.90 - 0.031, 0.90, 100)
    assert as_good_as(1.0, 1.0, 100) and not as_good_as(0.99, 1.0, 100)
