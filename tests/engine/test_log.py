"""FLAMBEAU_LOG: what the engine says of its work."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

SCRIPT = """
    import flambeau as torch

    net = torch.nn.Linear(8, 4)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for step in range(8):
        y = net(torch.ones(6 if step < 7 else 3, 8)).relu()
        if step == 5:
            y = y.sigmoid() * 2
        loss = (y**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss.item()
    float(loss + 1)
"""


def lines(tmp_path, log):
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "FLAMBEAU_LOG": log, "FLAMBEAU_PATIENCE": "0", "FLAMBEAU_CACHE_DIR": "0"}
    environment |= {"FLAMBEAU_EXECUTION": "compiled", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_what_is_compiled_and_why(tmp_path):
    said = lines(tmp_path, "compile")
    training = [line for line in said if "train.py:7" in line.split(":", 2)[1:][0] or "from train.py:7" in line]
    assert all(line.startswith("flambeau: a segment of ") for line in said)
    assert any("(seen for the first time)" in line for line in said)
    assert any("(at train.py:9 sigmoid came where pow came before)" in line for line in training)
    assert any("linear of float32[3, 8] came, of float32[6, 8] before" in line for line in training)
    assert all("kernels: " in line and line.endswith(" ms") for line in said)


def test_what_runs_and_what_differs(tmp_path):
    said = lines(tmp_path, "trace")
    assert sum("runs: an optimizer stepped" in line for line in said) == 8
    assert "flambeau: train.py:9: sigmoid came where pow came before" in said
    assert "flambeau: train.py:15: a segment of 1 ops from train.py:15 runs: float() was called" in said
    assert not any("a program" in line for line in said)


def test_nothing_is_said_unasked(tmp_path):
    assert lines(tmp_path, "") == []
