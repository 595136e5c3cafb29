"""Using what was trained: eval, predict and summary."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from flambeau.cli.images import open_image
from flambeau.vision.datasets import Digits
from tests.cli.conftest import write_images


def test_eval_repeats_the_test(run, trained):
    tested = json.loads((trained / "run/test.json").read_text())
    again = json.loads(run.ok("eval", trained / "run/best.pt", "--json"))
    assert again["accuracy"] == tested["test_accuracy"] and again["classes"] == tested["classes"]
    assert f"{tested['test_accuracy']:.2%}" in run.ok("eval", trained / "run/best.pt").splitlines()[-1]


def test_eval_draws_the_confusion_matrix(run, trained, tmp_path):
    run.ok("eval", trained / "run/best.pt", "--confusion", "matrix.png")
    assert Image.open(tmp_path / "matrix.png").format == "PNG"


@pytest.fixture
def digit_files(tmp_path):
    """The test digits as image files, one folder a class, the folders being a part of all classes."""
    digits = Digits(train=False)
    for i in range(60):
        image, label = digits[i]
        if label in (3, 7):
            (tmp_path / "files" / str(label)).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / "files" / str(label) / f"{i}.png")
    return tmp_path / "files"


def test_eval_on_a_folder_goes_by_class_names(run, trained, digit_files):
    rows = json.loads(run.ok("eval", trained / "run/best.pt", "--data", digit_files, "--json"))["classes"]
    counts = {row["class"]: row["images"] for row in rows if row["images"]}
    assert counts == {name: len(list((digit_files / name).iterdir())) for name in ("3", "7")}
    by_file = [
        json.loads(line)
        for line in run.ok("predict", trained / "run/best.pt", *digit_files.rglob("*.png"), "--json").splitlines()
    ]
    right = sum(line["predictions"][0]["class"] == line["image"].split("/")[-2] for line in by_file)
    assert right == sum(row["correct"] for row in rows)


def test_eval_on_other_classes_is_refused(run, trained, tmp_path):
    write_images(tmp_path / "photos")
    text = run.fails("eval", trained / "run/best.pt", "--data", "photos")
    assert "has classes that the model does not know: bright, dark" in text


def test_predict_takes_images_of_any_kind(run, trained, tmp_path):
    image, _ = Digits(train=False)[0]
    image.save(tmp_path / "gray.png")
    image.convert("RGB").resize((50, 50)).save(tmp_path / "colour.jpg")
    image.convert("P").save(tmp_path / "palette.gif")
    image.convert("RGBA").save(tmp_path / "alpha.png")
    names = ["gray.png", "colour.jpg", "palette.gif", "alpha.png"]
    lines = run.ok("predict", trained / "run/best.pt", *names).splitlines()
    assert [line.split(":")[0] for line in lines] == names
    assert all(line.count("%") == 3 for line in lines)
    (row,) = run.ok("predict", trained / "run/best.pt", "gray.png", "--top", 99, "--json").splitlines()
    shares = [p["probability"] for p in json.loads(row)["predictions"]]
    assert len(shares) == 10 and shares == sorted(shares, reverse=True) and np.isclose(sum(shares), 1)


def test_predict_goes_on_after_a_bad_image(run, trained, tmp_path):
    Digits(train=False)[0][0].save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"GIF89a")
    done = run("predict", trained / "run/best.pt", "bad.png", "absent.png", "good.png")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stdout.startswith("good.png: ") and done.stdout.count("\n") == 1
    bad, absent = done.stderr.splitlines()
    assert bad == "flambeau predict: error: bad.png: not an image"
    assert absent == "flambeau predict: error: absent.png: cannot be read: no such file or directory"


def test_summary_of_a_name_and_of_a_checkpoint(run, trained):
    table = run.ok("summary", "resnet18", "--classes", 1000)
    assert "Total params: 11,689,512" in table and "Total mult-adds: 1,814,073,344" in table
    assert "ResNet" in table.splitlines()[3] and "(1, 1000)" in table.splitlines()[3]
    assert "(4, 10)" in run.ok("summary", "lenet", "--input-shape", "1,28,28", "--batch-size", 4)
    own = run.ok("summary", trained / "run/best.pt")
    assert "Total params: 85,002" in own
    assert "unknown" in run.fails("summary", "nothing")
    assert "is not of the form C,H,W" in run.fails("summary", "lenet", "--input-shape", "28")
    assert "was trained on images of shape" in run.fails("summary", trained / "run/best.pt", "--input-shape", "3,32,32")


def test_grey_of_16_bits_is_scaled_rather_than_clipped(tmp_path):
    Image.fromarray(np.full((3, 5), 0x8040, np.uint16)).save(tmp_path / "grey.png")
    image = open_image(tmp_path / "grey.png")
    assert image.mode == "RGB" and image.size == (5, 3) and image.getpixel((4, 2)) == (0x80, 0x80, 0x80)
