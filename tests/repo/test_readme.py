"""The README does what it says: its commands and programs are run, as a new user would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh.md")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / name).read_text(encoding="utf-8"), re.M | re.S)


def commands(name: str, tool: str) -> list[list[str]]:
    lines = [line for block in blocks(name, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(tool + " ")]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )


def without_comments(block: str) -> list[str]:
    return [re.sub(r"\s*#.*", "", line) for line in block.splitlines()]


def test_flambeau_commands_run(tmp_path: Path) -> None:
    """In the order they stand there, in one folder, as the tour goes."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    Image.effect_noise((28, 28), 60).save(tmp_path / "photo.png")
    found = commands("README.md", "flambeau")
    assert {arguments[0] for arguments in found} >= {"train", "eval", "predict", "summary", "run"}
    for arguments in found:
        done = run(["-m", "flambeau", *arguments], tmp_path)
        assert done.returncode == 0, f"flambeau {' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("i", range(len(blocks("README.md", "python"))))
def test_programs_print_what_they_say(i: int, tmp_path: Path) -> None:
    program = blocks("README.md", "python")[i]
    expected = re.findall(r"^print\(.*\)  # (.*)$", program, re.M)
    assert expected, "a program in the README should show what it prints"
    done = run(["-c", program], tmp_path)
    assert done.returncode == 0, done.stderr
    for said, meant in zip(done.stdout.splitlines(), expected, strict=True):
        assert meant.startswith(said)


@pytest.mark.parametrize("name", READMES)
def test_make_targets_exist(name: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    named = [word for arguments in commands(name, "make") for word in arguments]
    assert {"run", "test"} <= set(named) <= set(targets)


@pytest.mark.parametrize("name", READMES)
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


@pytest.mark.parametrize("language", ["sh", "python"])
def test_both_readmes_show_the_same_code(language: str) -> None:
    english, chinese = (list(map(without_comments, blocks(name, language))) for name in READMES)
    assert english == chinese
