"""Write data/*.pt and data/expected.json: checkpoints as PyTorch writes them. Run it where PyTorch is installed."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

DATA = Path(__file__).with_name("data")
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
          "complex128")  # fmt: skip


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
        self.head = nn.Linear(8, 3)


def trained() -> tuple[nn.Module, dict[str, torch.optim.Optimizer]]:
    net = Net()
    optimizers = {
        "SGD": torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True),
        "Adam": torch.optim.AdamW(net.parameters(), 1e-3, amsgrad=True),
    }
    for optimizer in optimizers.values():
        optimizer.zero_grad()
        net.head(net.features(torch.randn(4, 1, 4, 4)).flatten(1)).square().sum().backward()
        optimizer.step()
    return net, optimizers


def tensors() -> dict:
    base = torch.arange(12.0).reshape(3, 4)
    tagged = torch.ones(2)
    tagged.tag = "mask"
    return {
        "base": base, "row": base[1], "columns": base.t()[1:3], "same": base, "number": torch.tensor(2.5),
        "empty": torch.empty(0, 3), "expanded": torch.ones(1).expand(4), "leaf": torch.ones(2, requires_grad=True),
        "conjugated": torch.tensor([1 + 2j]).conj(), "negated": torch.tensor([1 + 2j]).conj().imag, "tagged": tagged,
        "parameter": nn.Parameter(torch.ones(2)), "channels_last": torch.arange(8.0).reshape(1, 2, 2, 2).to(
            memory_format=torch.channels_last),
    }  # fmt: skip


def facts(obj: object) -> object:
    """What a loaded object must agree with."""
    if isinstance(obj, torch.Tensor):
        plain = obj.detach().resolve_conj().resolve_neg()
        values = torch.view_as_real(plain) if plain.is_complex() else plain
        return {
            "dtype": str(obj.dtype), "shape": list(obj.shape), "requires_grad": obj.requires_grad,
            "values": values.to(torch.float64).tolist(), "type": type(obj).__name__,
            "stride": None if obj.is_conj() or obj.is_neg() else list(obj.stride()),
        }  # fmt: skip
    if isinstance(obj, dict):
        return {str(k): facts(v) for k, v in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [facts(v) for v in obj]
    return obj if isinstance(obj, (int, float, str, bool, type(None))) else str(obj)


if __name__ == "__main__":
    torch.manual_seed(0)
    DATA.mkdir(exist_ok=True)
    net, optimizers = trained()
    checkpoints = {
        "tensors": tensors(),
        "dtypes": {name: torch.tensor([0, 1, 3]).to(getattr(torch, name)) for name in DTYPES},
        "state_dict": net.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "plain": {"epoch": 3, "best": 0.97, "args": {"lr": 0.1, "betas": (0.9, 0.999)}, "names": ["a", "b"],
                  "size": torch.Size([2, 3]), "dtype": torch.float16, "device": torch.device("cpu"),
                  "ordered": OrderedDict(a=1)},
    }  # fmt: skip
    for name, checkpoint in checkpoints.items():
        torch.save(checkpoint, DATA / f"{name}.pt")
        torch.save(checkpoint, DATA / f"{name}_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(net.features, DATA / "module.pt")
    torch.save(net.features, DATA / "module_legacy.pt", _use_new_zipfile_serialization=False)
    (DATA / "expected.json").write_text(json.dumps({k: facts(v) for k, v in checkpoints.items()}, indent=1) + "\n")
