"""Bad input gets one line and a non-zero exit status, never a traceback."""

from __future__ import annotations

import shutil
from fractions import Fraction

import pytest

from tests.cli.conftest import QUICK, write_images

BROKEN_MODELS = {
    "syntax.py:Net": ("class Net(:\n", "SyntaxError in"),
    "name.py:Missing": ("x = 1\n", "has no Missing"),
    "raises.py:Net": ("def Net():\n    raise ValueError('no luck')\n", "cannot be built: no luck"),
    "notamodule.py:Net": ("def Net():\n    return 3\n", "made a int, not an nn.Module"),
    "wrongshape.py:Net": (
        "from flambeau import nn\ndef Net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(7, 10))\n",
        "does not take images of shape (1, 8, 8)",
    ),
    "wrongcount.py:Net": (
        "from flambeau import nn\ndef Net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n",
        "should give one score for each of the 10 classes",
    ),
}


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--data", "nowhere"], "--data nowhere: neither a known dataset"),
        (["--model", "resnet19"], "--model resnet19: unknown; use FILE.py:NAME or one of"),
        (["--model", "absent.py:Net"], "there is no file absent.py"),
        (["--model", "net.py"], "write FILE.py:NAME"),
        (["--data", "mnist", "--no-download"], "cannot open mnist: Dataset not found"),
        (["--epochs", "0"], "argument --epochs: 0 is not positive"),
        (["--lr", "nan"], "argument --lr: nan is not a positive number"),
        (["--val-split", "1"], "argument --val-split"),
        (["--optimizer", "magic"], "argument --optimizer: invalid choice"),
        (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["--resume"], "there is no checkpoint runs/digits-lenet/last.pt"),
        (["--resume", "nowhere.pt"], "there is no checkpoint nowhere.pt"),
        (["--limit", "5", "--val-split", "0.0001"], "too few for --val-split"),
    ],
)
def test_bad_options(run, options, expected):
    assert expected in run.fails("train", *options)


@pytest.mark.parametrize("spec", BROKEN_MODELS)
def test_bad_models(run, tmp_path, spec):
    code, expected = BROKEN_MODELS[spec]
    (tmp_path / spec.split(":")[0]).write_text(code)
    assert expected in run.fails("train", "--model", spec)


def test_a_network_that_fails_in_training_leaves_its_traceback_in_the_log(run, tmp_path):
    (tmp_path / "net.py").write_text(
        "from flambeau import nn\n\nclass Net(nn.Sequential):\n    def __init__(self, num_classes):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, num_classes), nn.BatchNorm1d(num_classes))\n"
    )
    options = ["--model", "net.py:Net", "--limit", 20, "--epochs", 1, "--out", "run"]
    text = run.fails("train", *options, "--batch-size", 1)
    assert "Expected more than 1 value per channel when training" in text and "run/train.log" in text
    assert "Traceback" in (tmp_path / "run/train.log").read_text()
    run.ok("train", *options, "--batch-size", 19, "--no-plots")  # one image is left over


def test_divergence_is_reported(run):
    text = run.fails("train", *QUICK, "--lr", "1e30")
    assert "the loss is" in text and "a smaller --lr or --clip-grad may help" in text


def test_bad_input_leaves_no_folder_behind(run, tmp_path):
    run.fails("train", "--model", "resnet19")
    assert list(tmp_path.iterdir()) == []


def test_bad_folders(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty: Couldn't find any class folder" in run.fails("train", "--data", "empty")
    photos = write_images(tmp_path / "photos")
    (photos / "nothing").mkdir()
    assert "Found no valid file for the classes nothing" in run.fails("train", "--data", "photos")
    shutil.rmtree(photos / "nothing")
    shutil.rmtree(photos / "dark")
    assert "has only one class: bright" in run.fails("train", "--data", "photos")
    shutil.rmtree(photos)
    write_images(photos / "train")
    write_images(photos / "test")
    (photos / "test" / "dark").rename(photos / "test" / "gloomy")
    assert "does not have the classes of" in run.fails("train", "--data", "photos")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_damaged_images_are_named(run, tmp_path, workers, damage):
    photos = write_images(tmp_path / "photos", count=6)
    victim = photos / "dark" / "03.png"
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"not a picture")
    text = run.fails("train", "--data", "photos", "--model", "mlp", "--image-size", 8, "--workers", workers)
    assert "photos/dark/03.png: " in text and text.count("error") == 1


def test_a_checkpoint_that_asks_for_code_is_refused_by_name(run, tmp_path):
    import flambeau

    flambeau.save(Fraction(1, 2), tmp_path / "whole.pt")
    text = run.fails("eval", tmp_path / "whole.pt")
    assert text.endswith("whole.pt was not written by `flambeau train`: it asks for fractions.Fraction")


@pytest.mark.parametrize("which", ["eval", "predict", "resume", "summary"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "truncated", "other"])
def test_bad_checkpoints(run, tmp_path, trained, which, content):
    path = tmp_path / "bad.pt"
    if content == "truncated":
        whole = (trained / "run/best.pt").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "other":
        import flambeau

        flambeau.save({"weights": flambeau.ones(3)}, path)
    else:
        path.write_bytes(content)
    command = {
        "eval": ["eval", path], "predict": ["predict", path, "x.png"], "resume": ["train", "--resume", path],
        "summary": ["summary", path],
    }[which]  # fmt: skip
    text = run.fails(*command)
    assert ("was not written by `flambeau train`" if content == "other" else "is not a readable checkpoint") in text


def test_a_folder_is_not_a_checkpoint(run, tmp_path):
    assert f"name the checkpoint in it, such as {tmp_path}/best.pt" in run.fails("eval", tmp_path)


def test_places_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot use file" in run.fails("train", *QUICK, "--out", "file")


def test_no_command_and_unknown_commands(run):
    assert run("--version").stdout.startswith("flambeau ")
    assert "train" in run.ok("--help")
    for args in ([], ["fly"]):
        done = run(*args)
        assert done.returncode == 2 and "Traceback" not in done.stderr and "flambeau: error:" in done.stderr
