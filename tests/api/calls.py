"""One small real call for each of the names that public programs use most (tests/repo/public_names.txt).

Written once for Flambeau and PyTorch: `call(torch) -> tensors and plain values`. The random seed is 0 before each.
"""

from __future__ import annotations

import importlib
import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def x(torch: Any) -> Any:
    return torch.tensor([[1.5, -2.0, 0.25], [0.0, 3.0, -1.0]])


def image(torch: Any) -> Any:
    return torch.arange(32.0).reshape(1, 2, 4, 4) / 7 - 2


def graded(torch: Any, f: Callable[[Any], Any]) -> Any:
    """The value of f and its gradient at x."""
    leaf = x(torch).requires_grad_()
    out = f(leaf)
    (out * out.detach().cos()).sum().backward()
    return [out, leaf.grad]


def small(torch: Any) -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))


def stepped(torch: Any, make: Callable[[Any], Any]) -> Any:
    """Weights after three steps of an optimizer."""
    net = small(torch)
    opt = make(net.parameters())
    for _ in range(3):
        opt.zero_grad()
        net(x(torch)).pow(2).mean().backward()
        opt.step()
    return [type(opt).__name__, *net.state_dict().values()]


def refused(call: Callable[[], Any]) -> Any:
    """Whether a call is refused, or works."""
    try:
        call()
    except Exception as error:
        return [isinstance(error, (RuntimeError, AssertionError, ValueError, NotImplementedError)), len(str(error)) > 20]
    return "works"


class Squares:
    """A map-style dataset; made a Dataset in the calls below."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> Any:
        return i * i, float(i)


def dataset(torch: Any) -> Any:
    return type("Dataset5", (Squares, torch.utils.data.Dataset), {})()


def doubled(torch: Any) -> Any:
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, given: Any) -> Any:
            ctx.save_for_backward(given)
            return given * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (given,) = ctx.saved_tensors
            return grad * 10 + given

    return graded(torch, Double.apply)


def saved(torch: Any) -> Any:
    file = io.BytesIO()
    torch.save({"w": x(torch), "epoch": 3, "name": "a"}, file)
    file.seek(0)
    return torch.load(file)


def hooked(torch: Any) -> Any:
    net, log = small(torch), []
    net[0].register_forward_hook(lambda module, given, out: log.append([type(module).__name__, out]))
    return [net(x(torch)), log]


def written(torch: Any) -> Any:
    tensorboard = importlib.import_module(f"{torch.__name__}.utils.tensorboard")
    with tempfile.TemporaryDirectory() as folder:
        with tensorboard.SummaryWriter(folder) as writer:
            writer.add_scalar("loss", 1.5, 0)
        return [p.name.split(".")[0] for p in Path(folder).iterdir()]


def scheduled(torch: Any) -> Any:
    opt = torch.optim.SGD(small(torch).parameters(), lr=1.0)
    schedule, rates = torch.optim.lr_scheduler.StepLR(opt, step_size=2, gamma=0.5), []
    for _ in range(5):
        opt.step()
        schedule.step()
        rates += schedule.get_last_lr()
    return rates


def custom_optimizer(torch: Any) -> Any:
    class Plain(torch.optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.add_(p.grad, alpha=-group["lr"])

    return stepped(torch, lambda params: Plain(params, 0.1))


def custom_module(torch: Any) -> Any:
    class Scale(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(3) * 2)

        def forward(self, given: Any) -> Any:
            return given * self.w

    net = Scale()
    return [net(x(torch)), repr(net), [n for n, _ in net.named_parameters()]]


def with_flag(torch: Any) -> Any:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.benchmark = False
    return [before, torch.backends.cudnn.benchmark]


def quiet(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def t(torch: Any, *data: float) -> Any:
    return torch.tensor(data)


MODULE = {
    "Module.add_module": lambda torch: (net := torch.nn.Sequential(), net.add_module("act", torch.nn.ReLU()), repr(net))[2],
    "Module.apply": lambda torch: small(torch).apply(lambda m: m.weight.data.fill_(1) if hasattr(m, "weight") else None).state_dict(),
    "Module.children": lambda torch: [type(m).__name__ for m in small(torch).children()],
    "Module.eval": lambda torch: [m.training for m in small(torch).eval().modules()],
    "Module.forward": lambda torch: small(torch).forward(x(torch)),
    "Module.load_state_dict": lambda torch: (net := small(torch), str(net.load_state_dict(small(torch).state_dict())), net.state_dict())[1:],
    "Module.modules": lambda torch: [type(m).__name__ for m in small(torch).modules()],
    "Module.named_modules": lambda torch: [[n, type(m).__name__] for n, m in small(torch).named_modules()],
    "Module.named_parameters": lambda torch: dict(small(torch).named_parameters()),
    "Module.parameters": lambda torch: list(small(torch).parameters()),
    "Module.register_buffer": lambda torch: (net := small(torch), net.register_buffer("mean", torch.ones(2)), list(net.state_dict()), net.mean)[2:],
    "Module.register_forward_hook": hooked,
    "Module.state_dict": lambda torch: small(torch).state_dict(),
    "Module.train": lambda torch: [m.training for m in small(torch).eval().train().modules()],
    "Module.training": lambda torch: small(torch).training,
    "Module.zero_grad": lambda torch: (net := small(torch), net(x(torch)).sum().backward(), net.zero_grad(), [p.grad for p in net.parameters()])[3],
}
TENSOR = {
    "Tensor.T": lambda torch: x(torch).T,
    "Tensor.add": lambda torch: graded(torch, lambda v: v.add(1, alpha=2)),
    "Tensor.add_": lambda torch: x(torch).add_(torch.ones(3), alpha=0.5),
    "Tensor.all": lambda torch: [x(torch).all(), x(torch).all(1), x(torch).all(dim=0, keepdim=True)],
    "Tensor.argmax": lambda torch: [x(torch).argmax(), x(torch).argmax(1), x(torch).argmax(0, keepdim=True)],
    "Tensor.backward": lambda torch: graded(torch, lambda v: v * v),
    "Tensor.bmm": lambda torch: image(torch)[0].bmm(image(torch)[0]),
    "Tensor.chunk": lambda torch: x(torch).chunk(2, dim=1),
    "Tensor.clamp": lambda torch: graded(torch, lambda v: v.clamp(-1, max=1)),
    "Tensor.clamp_": lambda torch: x(torch).clamp_(min=0.2),
    "Tensor.clone": lambda torch: (a := x(torch), b := a.clone(), b.zero_(), a)[3],
    "Tensor.contiguous": lambda torch: [x(torch).t().is_contiguous(), x(torch).t().contiguous().stride(), x(torch).t().contiguous()],
    "Tensor.copy_": lambda torch: torch.zeros(2, 3).copy_(torch.arange(3)),
    "Tensor.data": lambda torch: (leaf := x(torch).requires_grad_(), leaf.data.mul_(2), leaf, leaf.data.requires_grad)[2:],
    "Tensor.detach": lambda torch: (leaf := x(torch).requires_grad_(), (leaf * 2).detach().requires_grad, leaf.detach())[1:],
    "Tensor.device": lambda torch: [str(x(torch).device), x(torch).device.type],
    "Tensor.dim": lambda torch: x(torch).dim(),
    "Tensor.div": lambda torch: graded(torch, lambda v: v.div(4)) + [x(torch).div(2, rounding_mode="floor")],
    "Tensor.dtype": lambda torch: [str(x(torch).dtype), str(torch.tensor([1]).dtype), str(torch.tensor([True]).dtype)],
    "Tensor.eq": lambda torch: [x(torch).eq(3.0), x(torch).eq(x(torch)).sum().item()],
    "Tensor.exp": lambda torch: graded(torch, lambda v: v.exp()),
    "Tensor.expand": lambda torch: graded(torch, lambda v: v.unsqueeze(0).expand(2, -1, 3)),
    "Tensor.expand_as": lambda torch: torch.ones(1, 3).expand_as(x(torch)),
    "Tensor.fill_": lambda torch: x(torch).fill_(7),
    "Tensor.flatten": lambda torch: graded(torch, lambda v: v.flatten()),
    "Tensor.flip": lambda torch: graded(torch, lambda v: v.flip(0, 1)),
    "Tensor.gather": lambda torch: graded(torch, lambda v: v.gather(1, torch.tensor([[0, 0], [2, 1]]))),
    "Tensor.grad": lambda torch: (leaf := x(torch).requires_grad_(), leaf.grad, (leaf * 3).sum().backward(), leaf.grad)[1::2],
    "Tensor.index": lambda torch: [x(torch)[0].tolist().index(-2.0)],
    "Tensor.is_cuda": lambda torch: x(torch).is_cuda,
    "Tensor.item": lambda torch: [torch.tensor(3).item(), torch.tensor([2.5]).item(), refused(lambda: x(torch).item())],
    "Tensor.long": lambda torch: [x(torch).long(), str(x(torch).long().dtype)],
    "Tensor.masked_fill": lambda torch: graded(torch, lambda v: v.masked_fill(v > 1, -9.0)),
    "Tensor.max": lambda torch: [x(torch).max(), *x(torch).max(1), *x(torch).max(dim=0, keepdim=True), x(torch).max(torch.zeros(3))],
    "Tensor.mean": lambda torch: graded(torch, lambda v: v.mean(1, keepdim=True)) + [x(torch).mean()],
    "Tensor.min": lambda torch: [x(torch).min(), *x(torch).min(1)],
    "Tensor.mul_": lambda torch: x(torch).mul_(torch.tensor([1.0, 2.0, 3.0])),
    "Tensor.name": lambda torch: x(torch).name,
    "Tensor.ndim": lambda torch: [x(torch).ndim, torch.tensor(1).ndim],
    "Tensor.norm": lambda torch: [x(torch).norm(), x(torch).norm(1), x(torch).norm(dim=1), *graded(torch, lambda v: v.norm(2, 0, True))],
    "Tensor.normal_": lambda torch: torch.empty(3, 2).normal_(1.0, 2.0),
    "Tensor.numel": lambda torch: x(torch).numel(),
    "Tensor.numpy": lambda torch: (a := x(torch), n := a.numpy(), n.__setitem__((0, 0), 9.0), [a, str(n.dtype), list(n.shape)])[3],
    "Tensor.permute": lambda torch: graded(torch, lambda v: v.permute(1, 0)),
    "Tensor.pow": lambda torch: graded(torch, lambda v: v.pow(3)) + [x(torch).pow(2), x(torch).abs().pow(0.5)],
    "Tensor.relu": lambda torch: graded(torch, lambda v: v.relu()),
    "Tensor.repeat": lambda torch: graded(torch, lambda v: v.repeat(2, 1, 2)),
    "Tensor.requires_grad": lambda torch: [x(torch).requires_grad, (x(torch).requires_grad_() * 2).requires_grad],
    "Tensor.reshape": lambda torch: graded(torch, lambda v: v.t().reshape(-1)),
    "Tensor.shape": lambda torch: [list(x(torch).shape), x(torch).shape[1], repr(x(torch).shape), x(torch).shape.numel()],
    "Tensor.sigmoid": lambda torch: graded(torch, lambda v: v.sigmoid()),
    "Tensor.size": lambda torch: [list(x(torch).size()), x(torch).size(0), x(torch).size(-1)],
    "Tensor.softmax": lambda torch: graded(torch, lambda v: v.softmax(dim=-1)),
    "Tensor.sort": lambda torch: [*x(torch).sort(), *x(torch).sort(0, descending=True)],
    "Tensor.split": lambda torch: [x(torch).split(2, dim=1), x(torch).split([1, 1])],
    "Tensor.sqrt": lambda torch: graded(torch, lambda v: v.abs().add(1).sqrt()),
    "Tensor.squeeze": lambda torch: [x(torch)[None].squeeze(), x(torch)[:, :1].squeeze(1), list(torch.ones(1, 2, 1).squeeze().shape)],
    "Tensor.std": lambda torch: graded(torch, lambda v: v.std(1)) + [x(torch).std(), x(torch).std(unbiased=False)],
    "Tensor.stride": lambda torch: [x(torch).stride(), x(torch).t().stride(), x(torch).stride(0)],
    "Tensor.sum": lambda torch: graded(torch, lambda v: v.sum(0)) + [x(torch).sum(), x(torch).sum(1, keepdim=True)],
    "Tensor.t": lambda torch: graded(torch, lambda v: v.t()),
    "Tensor.tolist": lambda torch: [x(torch).tolist(), torch.tensor(3).tolist()],
    "Tensor.topk": lambda torch: [*x(torch).topk(2), *x(torch).topk(1, dim=0, largest=False)],
    "Tensor.transpose": lambda torch: graded(torch, lambda v: v.transpose(0, 1)),
    "Tensor.uniform_": lambda torch: torch.empty(3, 2).uniform_(-1, 2),
    "Tensor.unsqueeze": lambda torch: [list(x(torch).unsqueeze(0).shape), list(x(torch).unsqueeze(-1).shape)],
    "Tensor.values": lambda torch: [x(torch).max(0).values, x(torch).sort(1).values],
    "Tensor.view": lambda torch: graded(torch, lambda v: v.view(3, -1)) + [refused(lambda: x(torch).t().view(-1))],
    "Tensor.view_as": lambda torch: x(torch).view_as(torch.ones(3, 2)),
    "Tensor.zero_": lambda torch: x(torch).zero_(),
    "Tensor|Module.cpu": lambda torch: [x(torch).cpu(), small(torch).cpu().state_dict()],
    "Tensor|Module.cuda": lambda torch: [refused(lambda: x(torch).cuda()), refused(lambda: small(torch).cuda())],
    "Tensor|Module.double": lambda torch: [x(torch).double(), str(small(torch).double()[0].weight.dtype)],
    "Tensor|Module.float": lambda torch: [torch.tensor([1, 2]).float(), str(small(torch).double().float()[0].weight.dtype)],
    "Tensor|Module.requires_grad_": lambda torch: [x(torch).requires_grad_().requires_grad, [p.requires_grad for p in small(torch).requires_grad_(False).parameters()]],
    "Tensor|Module.to": lambda torch: [x(torch).to(torch.int64), str(x(torch).to("cpu", torch.float16).dtype), str(small(torch).to(torch.float64)[0].weight.dtype)],
    "Tensor|Module.type": lambda torch: [x(torch).type(), x(torch).type(torch.int32), str(small(torch).type(torch.float64)[0].weight.dtype)],
}
TORCH = {
    "torch.FloatTensor": lambda torch: [torch.FloatTensor([1, 2]), list(torch.FloatTensor(2, 3).shape)],
    "torch.LongTensor": lambda torch: [torch.LongTensor([1, 2]), torch.LongTensor([[3]]).dtype is torch.int64],
    "torch.Tensor": lambda torch: [torch.Tensor([1, 2]), list(torch.Tensor(2, 3).shape), isinstance(x(torch), torch.Tensor)],
    "torch.__version__": lambda torch: [torch.__version__[0], torch.__version__.count(".") >= 2, isinstance(torch.__version__, str)],
    "torch.abs": lambda torch: graded(torch, torch.abs),
    "torch.allclose": lambda torch: [torch.allclose(x(torch), x(torch) + 1e-9), torch.allclose(x(torch), x(torch) + 1)],
    "torch.arange": lambda torch: [torch.arange(4), torch.arange(1, 2, 0.25), torch.arange(5, 0, -2)],
    "torch.argmax": lambda torch: [torch.argmax(x(torch)), torch.argmax(x(torch), dim=1)],
    "torch.autograd.Function": doubled,
    "torch.backends.cudnn.benchmark": with_flag,
    "torch.bfloat16": lambda torch: [str(torch.bfloat16), x(torch).to(torch.bfloat16).float()],
    "torch.bmm": lambda torch: torch.bmm(image(torch)[0], image(torch)[0]),
    "torch.bool": lambda torch: [str(torch.bool), torch.tensor([0, 2]).to(torch.bool)],
    "torch.cat": lambda torch: graded(torch, lambda v: torch.cat([v, v * 2], dim=1)),
    "torch.clamp": lambda torch: graded(torch, lambda v: torch.clamp(v, min=0)),
    "torch.compile": lambda torch: quiet(lambda: torch.compile(torch.nn.Identity(), backend="eager")(x(torch))),
    "torch.cos": lambda torch: graded(torch, torch.cos),
    "torch.cuda.device_count": lambda torch: torch.cuda.device_count(),
    "torch.cuda.is_available": lambda torch: torch.cuda.is_available(),
    "torch.cuda.synchronize": lambda torch: refused(torch.cuda.synchronize),
    "torch.device": lambda torch: [str(torch.device("cpu")), repr(torch.device("cuda:1")), torch.device("cuda", 0).index, torch.device("cpu") == x(torch).device],
    "torch.distributed.init_process_group": lambda torch: callable(torch.distributed.init_process_group),
    "torch.double": lambda torch: torch.double is torch.float64,
    "torch.einsum": lambda torch: graded(torch, lambda v: torch.einsum("ij,kj->ik", v, v)),
    "torch.empty": lambda torch: [list(torch.empty(2, 3).shape), str(torch.empty(1, dtype=torch.int32).dtype)],
    "torch.exp": lambda torch: graded(torch, torch.exp),
    "torch.eye": lambda torch: torch.eye(2, 3),
    "torch.flatten": lambda torch: graded(torch, lambda v: torch.flatten(v[None], 1)),
    "torch.float": lambda torch: torch.float is torch.float32,
    "torch.float16": lambda torch: [str(torch.float16), x(torch).to(torch.float16).float()],
    "torch.float32": lambda torch: [str(torch.float32), torch.zeros(1, dtype=torch.float32).element_size()],
    "torch.from_numpy": lambda torch: (n := x(torch).numpy(), a := torch.from_numpy(n), a.add_(1), n.tolist())[3],
    "torch.full": lambda torch: [torch.full((2, 2), 3), torch.full((1,), 0.5)],
    "torch.int64": lambda torch: [str(torch.int64), torch.zeros(1, dtype=torch.int64)],
    "torch.jit.script": lambda torch: quiet(lambda: torch.jit.script(torch.nn.Linear(3, 2))(x(torch))),
    "torch.linspace": lambda torch: torch.linspace(-1, 1, 5),
    "torch.load": saved,
    "torch.log": lambda torch: graded(torch, lambda v: torch.log(v.abs() + 1)),
    "torch.long": lambda torch: torch.long is torch.int64,
    "torch.manual_seed": lambda torch: (torch.manual_seed(5), torch.rand(2))[1],
    "torch.matmul": lambda torch: graded(torch, lambda v: torch.matmul(v, torch.ones(3, 2))) + [torch.matmul(x(torch), torch.ones(3))],
    "torch.max": lambda torch: [torch.max(x(torch)), *torch.max(x(torch), 1), torch.max(x(torch), -x(torch))],
    "torch.mean": lambda torch: graded(torch, lambda v: torch.mean(v, dim=0)),
    "torch.mm": lambda torch: graded(torch, lambda v: torch.mm(v, v.t())),
    "torch.multinomial": lambda torch: [torch.multinomial(t(torch, 0.2, 0.3, 0.5), 2), torch.multinomial(torch.ones(2, 3), 4, replacement=True)],
    "torch.no_grad": lambda torch: (leaf := x(torch).requires_grad_(), torch.no_grad()(lambda: (leaf * 2).requires_grad)(), (leaf * 2).requires_grad)[1:],
    "torch.normal": lambda torch: [torch.normal(0.0, 1.0, (3,)), torch.normal(torch.zeros(2), torch.ones(2))],
    "torch.ones": lambda torch: [torch.ones(2, 2), torch.ones(1, dtype=torch.long)],
    "torch.ones_like": lambda torch: torch.ones_like(x(torch)),
    "torch.pow": lambda torch: graded(torch, lambda v: torch.pow(v, 2)) + [torch.pow(2, t(torch, 1.0, 2.0))],
    "torch.prod": lambda torch: graded(torch, lambda v: torch.prod(v, 1)) + [torch.prod(x(torch))],
    "torch.rand": lambda torch: torch.rand(2, 3),
    "torch.randint": lambda torch: [torch.randint(0, 10, (2, 3)), torch.randint(5, (4,))],
    "torch.randn": lambda torch: [torch.randn(3), torch.randn(4, 5)],
    "torch.randperm": lambda torch: torch.randperm(7),
    "torch.relu": lambda torch: graded(torch, torch.relu),
    "torch.round": lambda torch: [torch.round(t(torch, 0.5, 1.5, 2.4, -0.6)), torch.round(x(torch), decimals=1)],
    "torch.save": saved,
    "torch.sigmoid": lambda torch: graded(torch, torch.sigmoid),
    "torch.sin": lambda torch: graded(torch, torch.sin),
    "torch.softmax": lambda torch: graded(torch, lambda v: torch.softmax(v, dim=1)),
    "torch.sqrt": lambda torch: torch.sqrt(x(torch).abs()),
    "torch.stack": lambda torch: graded(torch, lambda v: torch.stack([v, v * 2], dim=1)),
    "torch.sum": lambda torch: graded(torch, lambda v: torch.sum(v, dim=(0, 1))) + [torch.sum(torch.tensor([True, True]))],
    "torch.tanh": lambda torch: graded(torch, torch.tanh),
    "torch.tensor": lambda torch: [torch.tensor([[1, 2]]), torch.tensor(1.5), torch.tensor([True]), torch.tensor([1, 2.5]), repr(torch.tensor([1.0], requires_grad=True))],
    "torch.testing.assert_close": lambda torch: [torch.testing.assert_close(x(torch), x(torch) + 1e-8), _says(lambda: torch.testing.assert_close(x(torch), x(torch) + 1))],
    "torch.topk": lambda torch: list(torch.topk(x(torch), 2, dim=1)),
    "torch.uint8": lambda torch: [str(torch.uint8), torch.tensor([255], dtype=torch.uint8) + 1],
    "torch.unsqueeze": lambda torch: list(torch.unsqueeze(x(torch), 1).shape),
    "torch.where": lambda torch: graded(torch, lambda v: torch.where(v > 0, v, -v * 3)) + [torch.where(x(torch) > 1)],
    "torch.zeros": lambda torch: [torch.zeros(2, 2), torch.zeros((1, 3), dtype=torch.bool)],
    "torch.zeros_like": lambda torch: torch.zeros_like(x(torch), dtype=torch.int64),
}


def _says(call: Callable[[], Any]) -> Any:
    try:
        call()
    except AssertionError as error:
        return str(error).splitlines()
    return None


def layer(make: Callable[[Any], Any], given: Callable[[Any], Any] = image) -> Callable[[Any], Any]:
    """A layer's weights and its output."""
    return lambda torch: (m := make(torch.nn), [repr(m), m.state_dict(), m(given(torch))])[1]


def rows(torch: Any) -> Any:
    return image(torch)[0]


def filled(name: str, *args: float) -> Callable[[Any], Any]:
    return lambda torch: getattr(torch.nn.init, name)(torch.empty(3, 4), *args)


NN = {
    "torch.nn": lambda torch: small(torch)(x(torch)),
    "torch.nn.AdaptiveAvgPool2d": layer(lambda nn: nn.AdaptiveAvgPool2d((1, 3))),
    "torch.nn.AvgPool2d": layer(lambda nn: nn.AvgPool2d(2)),
    "torch.nn.BatchNorm1d": layer(lambda nn: nn.BatchNorm1d(3), x),
    "torch.nn.BatchNorm2d": layer(lambda nn: nn.BatchNorm2d(2)),
    "torch.nn.Conv1d": layer(lambda nn: nn.Conv1d(4, 2, 3, padding=1), rows),
    "torch.nn.Conv2d": layer(lambda nn: nn.Conv2d(2, 3, 3, stride=2, padding=1)),
    "torch.nn.ConvTranspose2d": layer(lambda nn: nn.ConvTranspose2d(2, 3, 2, stride=2)),
    "torch.nn.CrossEntropyLoss": lambda torch: graded(torch, lambda v: torch.nn.CrossEntropyLoss()(v, torch.tensor([2, 0]))),
    "torch.nn.DataParallel": lambda torch: (net := torch.nn.DataParallel(small(torch)), [list(net.state_dict()), net.module(x(torch))])[1],
    "torch.nn.Dropout": layer(lambda nn: nn.Dropout(0.5)),
    "torch.nn.Dropout2d": layer(lambda nn: nn.Dropout2d(0.5)),
    "torch.nn.Embedding": layer(lambda nn: nn.Embedding(5, 2), lambda torch: torch.tensor([[1, 4], [0, 1]])),
    "torch.nn.Flatten": layer(lambda nn: nn.Flatten()),
    "torch.nn.GELU": layer(lambda nn: nn.GELU()),
    "torch.nn.GRU": layer(lambda nn: nn.GRU(4, 2), rows),
    "torch.nn.LSTM": layer(lambda nn: nn.LSTM(4, 2, batch_first=True), rows),
    "torch.nn.LayerNorm": layer(lambda nn: nn.LayerNorm(4)),
    "torch.nn.Linear": layer(lambda nn: nn.Linear(3, 2), x),
    "torch.nn.LogSoftmax": layer(lambda nn: nn.LogSoftmax(dim=1), x),
    "torch.nn.MSELoss": lambda torch: graded(torch, lambda v: torch.nn.MSELoss()(v, torch.ones(2, 3))),
    "torch.nn.MaxPool2d": layer(lambda nn: nn.MaxPool2d(2, 2)),
    "torch.nn.Module": custom_module,
    "torch.nn.ModuleDict": layer(lambda nn: nn.Sequential(nn.ModuleDict({"a": nn.Linear(3, 2)})["a"]), x),
    "torch.nn.ModuleList": lambda torch: [repr(torch.nn.ModuleList([torch.nn.ReLU(), torch.nn.ReLU()])), len(torch.nn.ModuleList())],
    "torch.nn.MultiheadAttention": lambda torch: torch.nn.MultiheadAttention(4, 2)(rows(torch), rows(torch), rows(torch)),
    "torch.nn.Parameter": lambda torch: (p := torch.nn.Parameter(x(torch)), [p, p.requires_grad, repr(p)])[1],
    "torch.nn.RNN": layer(lambda nn: nn.RNN(4, 2), rows),
    "torch.nn.ReLU": layer(lambda nn: nn.ReLU(inplace=True), x),
    "torch.nn.Sequential": lambda torch: [small(torch)(x(torch)), repr(small(torch)[1:])],
    "torch.nn.Sigmoid": layer(lambda nn: nn.Sigmoid(), x),
    "torch.nn.Softmax": layer(lambda nn: nn.Softmax(dim=1), x),
    "torch.nn.Tanh": layer(lambda nn: nn.Tanh(), x),
    "torch.nn.functional": lambda torch: torch.nn.functional.relu(x(torch)),
    "torch.nn.functional.avg_pool2d": lambda torch: torch.nn.functional.avg_pool2d(image(torch), 3, stride=1, padding=1),
    "torch.nn.functional.conv2d": lambda torch: torch.nn.functional.conv2d(image(torch), torch.ones(1, 2, 3, 3), padding=1),
    "torch.nn.functional.cross_entropy": lambda torch: graded(torch, lambda v: torch.nn.functional.cross_entropy(v, torch.tensor([0, 1]), reduction="sum")),
    "torch.nn.functional.dropout": lambda torch: [torch.nn.functional.dropout(x(torch), 0.5), torch.nn.functional.dropout(x(torch), 0.5, training=False)],
    "torch.nn.functional.linear": lambda torch: graded(torch, lambda v: torch.nn.functional.linear(v, torch.ones(2, 3), torch.ones(2))),
    "torch.nn.functional.log_softmax": lambda torch: graded(torch, lambda v: torch.nn.functional.log_softmax(v, dim=1)),
    "torch.nn.functional.max_pool2d": lambda torch: torch.nn.functional.max_pool2d(image(torch), 2),
    "torch.nn.functional.pad": lambda torch: graded(torch, lambda v: torch.nn.functional.pad(v, (1, 2), value=5.0)),
    "torch.nn.functional.relu": lambda torch: graded(torch, torch.nn.functional.relu),
    "torch.nn.functional.scaled_dot_product_attention": lambda torch: torch.nn.functional.scaled_dot_product_attention(image(torch), image(torch), image(torch), is_causal=True),
    "torch.nn.functional.sigmoid": lambda torch: torch.nn.functional.sigmoid(x(torch)),
    "torch.nn.functional.softmax": lambda torch: graded(torch, lambda v: torch.nn.functional.softmax(v, dim=0)),
    "torch.nn.init": filled("ones_"),
    "torch.nn.init.constant_": filled("constant_", 0.3),
    "torch.nn.init.kaiming_normal_": filled("kaiming_normal_"),
    "torch.nn.init.normal_": filled("normal_", 1.0, 0.5),
    "torch.nn.init.uniform_": filled("uniform_", -1, 1),
    "torch.nn.init.xavier_normal_": filled("xavier_normal_", 2.0),
    "torch.nn.init.xavier_uniform_": filled("xavier_uniform_"),
    "torch.nn.init.zeros_": filled("zeros_"),
    "torch.nn.parallel.DistributedDataParallel": lambda torch: refused(lambda: torch.nn.parallel.DistributedDataParallel(small(torch))),
    "torch.nn.utils.clip_grad_norm_": lambda torch: (net := small(torch), net(x(torch)).sum().backward(), torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1), [p.grad for p in net.parameters()])[2:],
    "torch.nn.utils.rnn.pack_padded_sequence": lambda torch: (p := torch.nn.utils.rnn.pack_padded_sequence(rows(torch), [2, 2, 1, 1]), [p.data, p.batch_sizes])[1],
}
TRAINING = {
    "torch.optim": lambda torch: stepped(torch, lambda p: torch.optim.RMSprop(p, lr=0.01)),
    "torch.optim.Adam": lambda torch: stepped(torch, lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1)),
    "torch.optim.AdamW": lambda torch: stepped(torch, lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.9))),
    "torch.optim.Optimizer": custom_optimizer,
    "torch.optim.SGD": lambda torch: stepped(torch, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    "torch.optim.lr_scheduler.StepLR": scheduled,
    "torch.utils.data": lambda torch: len(torch.utils.data.TensorDataset(x(torch))),
    "torch.utils.data.DataLoader": lambda torch: [batch for batch in torch.utils.data.DataLoader(dataset(torch), batch_size=2, shuffle=True)],
    "torch.utils.data.Dataset": lambda torch: [dataset(torch)[3], len(dataset(torch)), len(dataset(torch) + dataset(torch))],
    "torch.utils.data.RandomSampler": lambda torch: list(torch.utils.data.RandomSampler(range(6))),
    "torch.utils.data.Subset": lambda torch: [torch.utils.data.Subset(dataset(torch), [4, 1])[0], len(torch.utils.data.Subset(dataset(torch), [4, 1]))],
}
# PyTorch needs the tensorboard package for it, which this suite does without.
OURS_ONLY = {"torch.utils.tensorboard.SummaryWriter": written}
CALLS: dict[str, Callable[[Any], Any]] = {**MODULE, **TENSOR, **TORCH, **NN, **TRAINING}


def plain(value: Any) -> Any:
    """Tensors as dtype, shape and elements; containers as lists."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return [str(value.dtype).split(".")[-1], list(value.shape), value.tolist()]
    if isinstance(value, dict):
        return [[k, plain(v)] for k, v in value.items()]
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def run(torch: Any, name: str) -> Any:
    torch.manual_seed(0)
    return plain(CALLS[name](torch))
