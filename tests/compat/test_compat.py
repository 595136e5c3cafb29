"""Standing in for torch: imports, missing names, einops and safetensors. Each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(program: str, install: bool = True) -> subprocess.CompletedProcess:
    head = "import flambeau.compat; flambeau.compat.install()\n" if install else ""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(program)], capture_output=True, text=True, env=environment, timeout=120
    )


def says(program: str, install: bool = True) -> str:
    done = run(program, install)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_old_and_new_spellings_import() -> None:
    out = says(
        """
        import torch, torch.nn as nn, torch.nn.functional as F, torch.optim as optim, torch.utils.data as data
        import torch.backends.cudnn as cudnn, torchvision, torchvision.transforms as T, torchvision.models as models
        from torch import nn as nn2, Tensor
        from torch.autograd import Variable, Function
        from torch.nn.parameter import Parameter
        from torch.nn.modules.batchnorm import _BatchNorm
        from torch.nn.utils.rnn import pack_padded_sequence
        from torch.optim.lr_scheduler import StepLR
        from torch.utils.data.sampler import RandomSampler
        from torch.utils.data.dataloader import default_collate
        from torch.utils.checkpoint import checkpoint
        from torchvision.models.resnet import ResNet, BasicBlock
        import torch.nn.init, torch.distributed as dist, torch.multiprocessing as mp
        assert nn is nn2 is torch.nn and torch.Tensor is Tensor
        import flambeau
        assert torch is flambeau
        print(torch.__version__)
        """
    )
    assert out.startswith("2.")


def test_a_missing_name_is_named() -> None:
    for program, name in (
        ("import torch\ntorch.no_such_thing", "no_such_thing"),
        ("import torch.no_such_module", "torch.no_such_module"),
        ("from torch.nn import NoSuchLayer", "NoSuchLayer"),
    ):
        done = run(program)
        assert done.returncode != 0 and name in done.stderr.splitlines()[-1]


def test_modules_stay_whole_after_being_imported_twice() -> None:
    out = says(
        """
        import torch.nn.functional, flambeau.nn.functional as F, importlib.util
        print(F.__name__, F.__spec__.name, importlib.util.find_spec("flambeau.nn").name)
        """
    )
    assert out.split() == ["flambeau.nn.functional", "flambeau.nn.functional", "flambeau.nn"]


def test_what_is_harmless_says_so_once() -> None:
    done = run(
        """
        import torch
        for _ in range(3):
            torch.backends.cudnn.benchmark = True
            net = torch.compile(torch.nn.Linear(1, 1))
            torch.jit.script(net)
        print(torch.cuda.is_available())
        """
    )
    assert done.returncode == 0 and done.stdout.strip() == "False"
    for name in ("cudnn.benchmark", "torch.compile", "torch.jit.script"):
        assert done.stderr.count(f"{name}") >= 1
        assert sum("Warning" in line and name in line for line in done.stderr.splitlines()) == 1


def test_cuda_raises_what_pytorch_raises() -> None:
    done = run("import torch\ntorch.ones(1).cuda()")
    assert done.stderr.strip().endswith("AssertionError: Torch not compiled with CUDA enabled")


def test_real_torch_is_not_replaced() -> None:
    done = run("import sys, types\nsys.modules['torch'] = types.ModuleType('torch')\nimport flambeau.compat\nflambeau.compat.install()", False)
    assert "has been imported already" in done.stderr


@pytest.mark.parametrize("first", ["flambeau", "einops"])
def test_einops_without_standing_in(first: str) -> None:
    pytest.importorskip("einops")
    second = "einops" if first == "flambeau" else "flambeau"
    out = says(
        f"""
        import {first}, {second}
        x = flambeau.arange(24.0).reshape(2, 3, 4).requires_grad_()
        y = einops.rearrange(x, "a b c -> c (a b)")
        einops.reduce(y, "a b -> a", "mean").sum().backward()
        print(tuple(y.shape), x.grad.sum().item(), tuple(einops.einsum(x, x, "a b c, a d c -> b d").shape))
        """,
        install=False,
    )
    assert out.strip() == "(4, 6) 4.0 (3, 3)"


def test_einops_layers_and_safetensors_under_torchs_name(tmp_path: Path) -> None:
    pytest.importorskip("einops")
    pytest.importorskip("safetensors")
    out = says(
        f"""
        import torch
        from einops.layers.torch import Rearrange, EinMix
        from safetensors.torch import save_file, load_file
        net = torch.nn.Sequential(Rearrange("a b c -> a (b c)"), torch.nn.Linear(12, 2))
        x = torch.randn(2, 3, 4)
        print(tuple(net(x).shape), tuple(EinMix("a b c -> a b d", weight_shape="c d", c=4, d=5)(x).shape))
        save_file({{"x": x, "h": x.bfloat16()}}, {str(tmp_path / "t.safetensors")!r})
        back = load_file({str(tmp_path / "t.safetensors")!r})
        print(torch.equal(back["x"], x), back["h"].dtype)
        """
    )
    assert out.splitlines() == ["(2, 2) (2, 3, 5)", "True torch.bfloat16"]
