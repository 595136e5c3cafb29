"""`flambeau explain`: what a script's ops became."""

from __future__ import annotations

import textwrap

import pytest

SCRIPT = """
    import sys
    import torch
    import torch.nn as nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    x, y = torch.randn(8, 20), torch.randint(0, 4, (8,))
    for step in range(int(sys.argv[1])):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.3f}")
    sys.exit(3)
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "train.py").write_text(textwrap.dedent(SCRIPT))


def test_a_training_step(run, script):
    done = run("explain", "train.py", "12")
    assert done.returncode == 3, done.stderr  # the script's
    report = done.stdout
    assert report.startswith("loss ")
    assert "train.py:12:  loss = nn.functional.cross_entropy(net(x), y)" in report
    assert "train.py:14:  optimizer.step()" in report
    for title in ("What ran", "what was recorded", "how it was fused", "memory", "kernels"):
        assert title in report
    assert "float32[8, 4] = linear(" in report and "cross_entropy_backward" in report
    assert "GB/s" in report and "GFLOP/s" in report
    assert " := " in report  # writes in place
    assert "at a time:" in report and " += " in report  # the loops of a fused kernel
    assert "sgd_update(" in report


def test_ir_and_assembly(run, script):
    assert "define void @" in run("explain", "--ir", "k0", "train.py", "4").stdout
    assert "ret" in run("explain", "--asm", "k1", "train.py", "4").stdout
    assert "no kernel 'k99'" in run.fails("explain", "--ir", "k99", "train.py", "4")


def test_what_ran_too_seldom_to_be_compiled_is_shown_without_times(run, script):
    report = run("explain", "train.py", "1").stdout
    assert "what was recorded" in report and "relu" in report


def test_bad_invocations(run, script):
    assert "which script?" in run.fails("explain")
    assert "there is no script absent.py" in run.fails("explain", "absent.py")
    assert "there are segments 1 to" in run.fails("explain", "--segment", "9", "train.py", "4")
