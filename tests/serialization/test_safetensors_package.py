"""safetensors, installed as users install it, on Flambeau's tensors: `safetensors.torch` under `flambeau run`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys, torch
from safetensors import safe_open
from safetensors.torch import load, load_file, load_model, save, save_file, save_model

path = sys.argv[1]
net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 3))
save_file(net.state_dict(), path, metadata={"format": "pt"})
for options in ({}, {"device": "cpu"}):
    back = load_file(path, **options)
    assert all(torch.equal(back[k], v) for k, v in net.state_dict().items())
with safe_open(path, framework="pt", device="cpu") as f:
    assert f.metadata() == {"format": "pt"}
    assert torch.equal(f.get_slice("0.weight")[1:, :2], net[0].weight[1:, :2])
    assert torch.equal(f.get_tensor("0.bias"), net[0].bias)

def tied():
    net = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    net["b"].weight = net["a"].weight
    return net

first, second = tied(), tied()
save_model(first, path)
assert load_model(second, path) == (set(), [])
assert torch.equal(second["b"].weight, first["a"].weight)

for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
              torch.int8, torch.uint8, torch.bool, torch.complex64):
    tensors = {"x": torch.tensor([[0, 1], [2, 3]]).to(dtype), "e": torch.empty(0, 2, dtype=dtype)}
    back = load(save(tensors))
    assert all(torch.equal(back[k], t) and back[k].dtype == dtype for k, t in tensors.items()), dtype

x = torch.zeros(4)
for bad, error in (({"a": x, "b": x[:2]}, RuntimeError), ({"a": torch.zeros(2, 3).t()}, ValueError)):
    try:
        save(bad)
    except error:
        continue
    raise AssertionError("saved what safetensors refuses")
print("done")
"""


def test_the_package_works_on_our_tensors(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "flambeau", "run", str(script), str(tmp_path / "a.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "done\n", done.stderr
