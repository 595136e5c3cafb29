"""Small programs around Module, written once for Flambeau and PyTorch: `program(torch) -> what it saw`."""

from __future__ import annotations

import copy
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any


def said(call: Callable[[], Any]) -> list[str]:
    """The type and text of the error that a call raises."""
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error).replace("flambeau.", "torch.")]
    return ["no error", ""]


def net(torch: Any) -> Any:
    torch.manual_seed(1)
    nn = torch.nn
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), bn=nn.BatchNorm2d(2), act=nn.ReLU(), head=nn.Linear(2, 2)))


def shared(torch: Any) -> Any:
    """A module that holds one submodule and one parameter twice."""
    nn = torch.nn
    torch.manual_seed(2)
    m = nn.Module()
    m.a = nn.Linear(2, 2)
    m.b = m.a
    m.w = nn.Parameter(torch.ones(2))
    m.v = m.w
    m.register_buffer("r", torch.zeros(1))
    m.register_buffer("s", m.r)
    return m


# -- state dicts ---------------------------------------------------------------------------------------------------


def state_dict_keys(torch: Any) -> Any:
    m = net(torch)
    state = m.state_dict(prefix="x.")
    kept = m.state_dict(keep_vars=True)
    given = OrderedDict(a=1)
    out = m.state_dict(destination=given)
    return [
        list(state), dict(m.state_dict()._metadata), kept["conv.weight"] is m.conv.weight, state["x.conv.weight"].requires_grad,
        list(out), out is given, type(state).__name__,
        state["x.head.weight"].data_ptr() == m.head.weight.data_ptr(),
    ]  # fmt: skip


def load_errors(torch: Any) -> Any:
    m = net(torch)
    good = m.state_dict()
    without = {k: v for k, v in good.items() if "bias" not in k}
    more = {**good, "extra": torch.ones(1), "head.more.deep": torch.ones(1), "nope.weight": torch.ones(1)}
    wrong = {**good, "head.weight": torch.ones(3, 2), "conv.bias": torch.ones(1)}
    return [
        said(lambda: m.load_state_dict(without)), said(lambda: m.load_state_dict(more)), said(lambda: m.load_state_dict(wrong)),
        said(lambda: m.load_state_dict({**more, "head.weight": torch.ones(5)} | {"x": torch.ones(1)})),
        said(lambda: m.load_state_dict([1])), said(lambda: m.load_state_dict(wrong, strict=False)),
        said(lambda: m.load_state_dict({**good, "head.bias": 3})), said(lambda: m.load_state_dict({})),
    ]  # fmt: skip


def load_results(torch: Any) -> Any:
    m = net(torch)
    other = net(torch)
    state = {k: v + 1 if v.is_floating_point() else v for k, v in other.state_dict().items() if k != "head.bias"}
    result = m.load_state_dict({**state, "odd": torch.ones(1)}, strict=False)
    full = m.load_state_dict(other.state_dict())
    return [
        repr(result), result.missing_keys, result.unexpected_keys, repr(full), str(full),
        m.head.weight.tolist() == other.head.weight.tolist(),
    ]  # fmt: skip


def load_assign(torch: Any) -> Any:
    m = net(torch)
    state = {k: v.double() if v.is_floating_point() else v for k, v in net(torch).state_dict().items()}
    m.load_state_dict(state)
    before = str(m.head.weight.dtype)
    m.head.weight.requires_grad_(False)
    m.load_state_dict(state, assign=True)
    return [
        before, str(m.head.weight.dtype), type(m.head.weight).__name__, m.head.weight.requires_grad,
        m.conv.weight.requires_grad, m.bn.running_mean is state["bn.running_mean"],
    ]  # fmt: skip


def batch_norm_of_old_checkpoints(torch: Any) -> Any:
    m = torch.nn.BatchNorm1d(2)
    state = {k: v for k, v in m.state_dict().items() if k != "num_batches_tracked"}
    first = repr(m.load_state_dict(dict(state)))
    versioned = OrderedDict(state)
    versioned._metadata = OrderedDict({"": {"version": 2}})
    plain = torch.nn.InstanceNorm1d(2)
    stray = {"running_mean": torch.zeros(2), "running_var": torch.ones(2)}
    return [first, said(lambda: m.load_state_dict(versioned)), said(lambda: plain.load_state_dict(stray))]


def scalar_from_vector(torch: Any) -> Any:
    m = torch.nn.Module()
    m.w = torch.nn.Parameter(torch.tensor(1.0))
    m.load_state_dict({"w": torch.tensor([5.0])})
    return [m.w.tolist(), list(m.w.shape)]


def extra_state(torch: Any) -> Any:
    class Counting(torch.nn.Module):
        n = 3

        def get_extra_state(self) -> Any:
            return {"n": self.n}

        def set_extra_state(self, state: Any) -> None:
            self.n = state["n"]

    m = torch.nn.Sequential(Counting())
    m[0].n = 7
    state = m.state_dict()
    fresh = torch.nn.Sequential(Counting())
    fresh.load_state_dict(state)
    plain = torch.nn.Sequential(torch.nn.Module())
    return [
        list(state), fresh[0].n, said(lambda: fresh.load_state_dict({})), said(lambda: plain.load_state_dict(state)),
    ]  # fmt: skip


def state_dict_hooks(torch: Any) -> Any:
    m, log = net(torch), []
    m._register_state_dict_hook(lambda module, state, prefix, meta: log.append(["post", prefix, len(state)]))
    m.head.register_state_dict_pre_hook(lambda module, prefix, keep: log.append(["pre", prefix, keep]))
    m.head.register_state_dict_post_hook(lambda module, state, prefix, meta: log.append(["public", prefix, sorted(meta)]))
    m.head._register_load_state_dict_pre_hook(lambda state, prefix, *rest: log.append(["load", prefix, len(rest)]))
    m.head.register_load_state_dict_pre_hook(lambda module, state, prefix, *rest: log.append(["with", prefix, len(rest)]))
    m.register_load_state_dict_post_hook(lambda module, keys: log.append(["after", len(keys.missing_keys)]))
    state = m.state_dict()
    m.load_state_dict({k: v for k, v in state.items() if k != "conv.bias"}, strict=False)

    def forget(module: Any, keys: Any) -> None:
        keys.missing_keys.clear()

    m.register_load_state_dict_post_hook(forget)
    log.append(repr(m.load_state_dict({k: v for k, v in state.items() if k != "conv.bias"})))
    wrong = torch.nn.Linear(1, 1)
    wrong.register_load_state_dict_post_hook(lambda module, keys: keys)
    log.append(said(lambda: wrong.load_state_dict(wrong.state_dict())))
    return log


# -- walking -------------------------------------------------------------------------------------------------------


def names_with_shared_parts(torch: Any) -> Any:
    m = shared(torch)
    outer = torch.nn.Sequential(m, m.a)
    return [
        [n for n, _ in outer.named_modules()], [n for n, _ in outer.named_modules(remove_duplicate=False)],
        [n for n, _ in outer.named_parameters()], [n for n, _ in outer.named_parameters(remove_duplicate=False)],
        [n for n, _ in outer.named_buffers()], [n for n, _ in outer.named_buffers(remove_duplicate=False)],
        [n for n, _ in m.named_parameters(prefix="p", recurse=False)], [n for n, _ in m.named_children()],
        len(list(m.children())), len(list(m.modules())), len(list(m.buffers())), len(list(m.parameters())),
        [n for n, _ in m.named_modules(prefix="root")], list(outer.state_dict()),
    ]  # fmt: skip


def getting_by_path(torch: Any) -> Any:
    m = net(torch)
    m.inner = torch.nn.Sequential(torch.nn.Linear(1, 1))
    m.inner.tag = 3
    m.set_submodule("inner.0", torch.nn.Linear(1, 2))
    return [
        m.get_submodule("") is m, m.get_submodule("inner.0") is m.inner[0], m.get_parameter("inner.0.weight") is m.inner[0].weight,
        m.get_buffer("bn.running_mean") is m.bn.running_mean, repr(m.inner),
        said(lambda: m.get_submodule("inner.9")), said(lambda: m.get_submodule("inner.tag")),
        said(lambda: m.get_parameter("inner.nope")), said(lambda: m.get_parameter("bn.running_mean")),
        said(lambda: m.get_buffer("conv.weight")), said(lambda: m.get_buffer("conv.nope")), said(lambda: m.set_submodule("", m)),
    ]  # fmt: skip


# -- registering and assigning -------------------------------------------------------------------------------------


def registering_errors(torch: Any) -> Any:
    nn = torch.nn

    class Early(nn.Module):
        def __init__(self, what: str) -> None:
            if what == "parameter":
                self.w = nn.Parameter(torch.ones(1))
            elif what == "module":
                self.m = nn.Linear(1, 1)
            else:
                self.register_buffer("b", torch.ones(1))

    m = nn.Linear(2, 2)
    leaf = torch.ones(2, requires_grad=True)
    return [
        *[said(lambda what=what: Early(what)) for what in ("parameter", "module", "buffer")],
        said(lambda: m.register_parameter("weight", 3)), said(lambda: m.register_parameter("a.b", None)),
        said(lambda: m.register_parameter("", None)), said(lambda: m.register_parameter(3, None)),
        said(lambda: m.register_parameter("forward", None)), said(lambda: m.register_parameter("p", torch.ones(1))),
        said(lambda: m.register_buffer("a.b", None)), said(lambda: m.register_buffer("", None)), said(lambda: m.register_buffer(3, None)),
        said(lambda: m.register_buffer("weight", torch.ones(1))), said(lambda: m.register_buffer("q", 3)),
        said(lambda: m.add_module("a.b", None)), said(lambda: m.add_module("", None)), said(lambda: m.add_module("k", 3)),
        said(lambda: m.add_module("weight", nn.ReLU())), said(lambda: m.add_module(3, nn.ReLU())),
        said(lambda: setattr(m, "weight", torch.ones(2))), said(lambda: setattr(m, "weight", 3)), said(lambda: m.missing),
        said(lambda: nn.Module()(1)), said(lambda: nn.Linear(1, 1, odd=2)), said(lambda: m.train("yes")),
        said(lambda: nn.Module(3)), said(lambda: nn.Module(a=3)), said(lambda: m.register_module("x.y", None)),
        said(lambda: m.to(torch.int32)), said(lambda: m.register_parameter("n", nn.Parameter(leaf * 2) if False else (leaf * 2))),
        said(lambda: delattr(m, "missing")),
    ]  # fmt: skip


def assigning(torch: Any) -> Any:
    nn = torch.nn
    m = nn.Module()
    m.x = torch.ones(1)
    m.x = nn.Parameter(torch.ones(2))
    first = [list(m._parameters), "x" in m.__dict__]
    m.x = None
    second = [m.x, list(m._parameters)]
    m.y = nn.ReLU()
    m.y = nn.Tanh()
    m.register_buffer("z", torch.zeros(1))
    m.z = torch.ones(3)
    m.k = nn.Buffer(torch.ones(2), persistent=False)
    m.j = nn.Buffer(torch.ones(2))
    third = [list(m._modules), type(m.y).__name__, m.z.tolist(), list(m._buffers), list(m.state_dict())]
    del m.y, m.z
    m.late = nn.ReLU()
    m.late = None
    return [first, second, third, list(m._modules), list(m._buffers), m.late, said(lambda: setattr(m, "j", 3)),
            said(lambda: setattr(m, "late", 3))]  # fmt: skip


def buffers_persistent_or_not(torch: Any) -> Any:
    m = torch.nn.Module()
    m.register_buffer("keep", torch.ones(1))
    m.register_buffer("drop", torch.ones(1), persistent=False)
    m.register_buffer("none", None)
    before = [list(m.state_dict()), [n for n, _ in m.named_buffers()]]
    m.register_buffer("drop", torch.ones(2), persistent=True)
    return [before, list(m.state_dict()), m.none, repr(m.load_state_dict({"keep": torch.zeros(1), "drop": torch.zeros(2)}))]


def dir_and_repr(torch: Any) -> Any:
    class Shown(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ModuleList([torch.nn.ReLU()] * 3 + [torch.nn.Tanh()]))
            self.empty = torch.nn.ModuleList()
            self.table = torch.nn.ModuleDict({"a": torch.nn.Identity(), "b": None})

        def extra_repr(self) -> str:
            return "one=1\ntwo=2"

    m = Shown()
    names = dir(m)
    return [repr(m), repr(torch.nn.Module()), "inner" in names, "weight" in dir(m.inner[0]), "0" in dir(m.inner)]


# -- moving and casting --------------------------------------------------------------------------------------------


def casting(torch: Any) -> Any:
    m = net(torch)
    kinds = lambda: [str(m.conv.weight.dtype), str(m.bn.running_mean.dtype), str(m.bn.num_batches_tracked.dtype)]  # noqa: E731
    held = m.conv.weight
    m.conv.weight.grad = torch.ones_like(m.conv.weight)
    found = []
    for change in (
        lambda: m.double(), lambda: m.half(), lambda: m.bfloat16(), lambda: m.float(), lambda: m.to(torch.float64),
        lambda: m.to("cpu", torch.float16), lambda: m.to(torch.ones(1)), lambda: m.type(torch.float64),
        lambda: m.to(dtype=torch.float32), lambda: m.to(device="cpu"), lambda: m.cpu(),
    ):  # fmt: skip
        found.append([change() is m, *kinds(), str(m.conv.weight.grad.dtype)])
    return [found, m.conv.weight is held, type(m.conv.weight).__name__, m.conv.weight.is_leaf, m.conv.weight.requires_grad]


def moving_to_cuda(torch: Any) -> Any:
    return [said(lambda: net(torch).to("nonsense:3"))[0], net(torch).to(torch.device("cpu")).conv.weight.device.type]


def training_flags(torch: Any) -> Any:
    m = net(torch)
    m.bn.eval()
    first = [m.training, m.bn.training, m.conv.training]
    m.train()
    second = [x.training for x in m.modules()]
    m.eval()
    m.requires_grad_(False)
    third = [x.training for x in m.modules()] + [p.requires_grad for p in m.parameters()]
    return [first, second, third]


def zero_grad(torch: Any) -> Any:
    m = torch.nn.Linear(1, 1)
    m(torch.ones(1, 1)).sum().backward()
    grad = m.weight.grad
    m.zero_grad(set_to_none=False)
    first = [m.weight.grad is grad, grad.tolist()]
    m.zero_grad()
    return [first, m.weight.grad]


def applying(torch: Any) -> Any:
    m, log = net(torch), []
    result = m.apply(lambda module: log.append(type(module).__name__))
    return [log, result is m]


# -- copying and pickling ------------------------------------------------------------------------------------------


def deep_copies(torch: Any) -> Any:
    m = shared(torch)
    m.log = []
    m.register_forward_pre_hook(Hook())
    twin = copy.deepcopy(m)
    return [
        twin.a is twin.b, twin.w is twin.v, twin.r is twin.s, twin.a is not m.a, twin.w.tolist(), twin.w.data_ptr() != m.w.data_ptr(),
        len(twin._forward_pre_hooks), type(twin.w).__name__, twin.a.weight.requires_grad,
    ]  # fmt: skip


class Hook:
    """A hook that pickles."""

    def __call__(self, module: Any, args: Any) -> None:
        return None


def pickles(torch: Any) -> Any:
    m = net(torch)
    m.eval()
    x = torch.ones(1, 1, 3, 3).flatten(0)
    back = pickle.loads(pickle.dumps(m.head))
    file = io.BytesIO()
    torch.save(m, file)
    file.seek(0)
    whole = torch.load(file, weights_only=False)
    return [
        repr(back), torch.equal(back.weight, m.head.weight), whole.training, repr(whole) == repr(m), list(whole.state_dict()),
        len(x), torch.equal(whole.conv.weight, m.conv.weight), type(whole.conv.weight).__name__,
    ]  # fmt: skip


# -- hooks ---------------------------------------------------------------------------------------------------------


def forward_hooks(torch: Any) -> Any:
    m, log = torch.nn.Linear(2, 2, bias=False), []
    with torch.no_grad():
        m.weight.copy_(torch.eye(2))
    x = torch.ones(1, 2)
    first = m.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    m.register_forward_pre_hook(lambda module, args: log.append(["second", args[0].tolist()]))
    m.register_forward_pre_hook(lambda module, args: log.append(["first", args[0].tolist()]), prepend=True)
    m.register_forward_hook(lambda module, args, out: out + 1)
    m.register_forward_hook(lambda module, args, out: log.append(["out", out.tolist(), len(args)]))
    out = m(x)
    first.remove()
    again = m(x)
    with m.register_forward_hook(lambda module, args, out: out * 100):
        inside = m(x)
    return [out.tolist(), again.tolist(), inside.tolist(), m(x).tolist(), log, len(m._forward_hooks), len(m._forward_pre_hooks)]


def keyword_hooks(torch: Any) -> Any:
    class Scaled(torch.nn.Module):
        def forward(self, x: Any, scale: float = 1.0) -> Any:
            if scale == 0:
                raise ValueError("no scale")
            return x * scale

    m, log = Scaled(), []
    m.register_forward_pre_hook(lambda module, args, kwargs: (args, {"scale": kwargs.get("scale", 1.0) + 1}), with_kwargs=True)
    m.register_forward_hook(lambda module, args, kwargs, out: log.append(dict(kwargs)), with_kwargs=True)
    m.register_forward_hook(lambda module, args, out: log.append(["always", out is None]), always_call=True)
    x = torch.ones(1)
    found = [m(x).tolist(), m(x, scale=4.0).tolist(), said(lambda: m(x, scale=-1.0))]
    bad = Scaled()
    bad.register_forward_pre_hook(lambda module, args, kwargs: args, with_kwargs=True)
    return [*found, log, said(lambda: bad(x))]


def backward_hooks(torch: Any) -> Any:
    m, log = torch.nn.Linear(2, 2, bias=False), []
    with torch.no_grad():
        m.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    plain = lambda grads: [None if g is None else g.tolist() for g in grads]  # noqa: E731
    m.register_full_backward_pre_hook(lambda module, out: log.append(["pre", plain(out)]))
    m.register_full_backward_hook(lambda module, given, out: log.append(["full", plain(given), plain(out)]))
    x = torch.ones(1, 2, requires_grad=True)
    m(x).sum().backward()
    m(torch.ones(1, 2)).sum().backward()
    changed = torch.nn.Linear(2, 2, bias=False)
    changed.register_full_backward_hook(lambda module, given, out: (given[0] * 0 + 7,))
    changed.register_full_backward_pre_hook(lambda module, out: (out[0] * 2,))
    y = torch.ones(1, 2, requires_grad=True)
    changed(y).sum().backward()
    return [log, x.grad.tolist(), m.weight.grad.tolist(), y.grad.tolist(), changed.weight.grad.tolist()]


def backward_hooks_of_many_tensors(torch: Any) -> Any:
    class Mix(torch.nn.Module):
        def forward(self, a: Any, b: Any, c: Any) -> Any:
            return a * b, c.detach(), a + 1

    m, log = Mix(), []
    plain = lambda grads: [None if g is None else g.tolist() for g in grads]  # noqa: E731
    m.register_full_backward_hook(lambda module, given, out: log.append([plain(given), plain(out)]))
    a, b, c = torch.ones(2, requires_grad=True), torch.full((2,), 3.0), torch.ones(2, requires_grad=True)
    first, _, third = m(a, b, c)
    (first.sum() + (third * 2).sum()).backward()
    return [log, a.grad.tolist(), c.grad.tolist()]


def global_hooks(torch: Any) -> Any:
    hooks, log = torch.nn.modules.module, []
    handles = [
        hooks.register_module_forward_pre_hook(lambda module, args: log.append("pre " + type(module).__name__)),
        hooks.register_module_forward_hook(lambda module, args, out: log.append("post " + type(module).__name__)),
        hooks.register_module_full_backward_hook(lambda module, given, out: log.append("back " + type(module).__name__)),
        hooks.register_module_full_backward_pre_hook(lambda module, out: log.append("before " + type(module).__name__)),
        hooks.register_module_module_registration_hook(lambda module, name, sub: log.append("module " + name)),
        hooks.register_module_parameter_registration_hook(lambda module, name, param: log.append("parameter " + name)),
        hooks.register_module_buffer_registration_hook(lambda module, name, buffer: log.append("buffer " + name)),
    ]
    try:
        m = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Tanh())
        m.register_buffer("b", torch.ones(1))
        m(torch.ones(1, 1, requires_grad=True)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    m(torch.ones(1, 1))
    return log


# -- containers ----------------------------------------------------------------------------------------------------


def sequential(torch: Any) -> Any:
    nn = torch.nn
    m = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())
    kinds = lambda s: [type(x).__name__ for x in s]  # noqa: E731
    found = [kinds(m[1:]), type(m[-1]).__name__, list(m[1:]._modules), len(m)]
    m.append(nn.GELU()).extend([nn.ELU()])
    m.insert(1, nn.SiLU())
    m.insert(-1, nn.Mish())
    found += [kinds(m), list(m._modules)]
    popped = m.pop(1)
    del m[0]
    del m[1:3]
    m[0] = nn.CELU()
    found += [type(popped).__name__, kinds(m), list(m._modules), kinds(m + nn.Sequential(nn.ReLU())), kinds(m * 2), kinds(2 * m)]
    m += nn.Sequential(nn.ReLU6())
    m *= 2
    found += [kinds(m), list(m._modules)]
    return [
        *found, said(lambda: m["a"]), said(lambda: m[99]), said(lambda: m * 0), said(lambda: m + 3), said(lambda: m * "a"),
        said(lambda: m.insert(99, nn.ReLU())), said(lambda: m.insert(0, 3)), said(lambda: nn.Sequential(3)), said(lambda: m.append(3)),
        m[0](torch.tensor([1.0])).tolist(), said(lambda: nn.Sequential(nn.ReLU())(1, 2))[0],
    ]  # fmt: skip


def module_list(torch: Any) -> Any:
    nn = torch.nn
    m = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    kinds = lambda s: [type(x).__name__ for x in s]  # noqa: E731
    m.append(nn.ELU())
    m.insert(1, nn.SiLU())
    m.extend(nn.ModuleList([nn.GELU()]))
    m += [nn.Mish()]
    found = [kinds(m), list(m._modules), kinds(m[1:3]), type(m[1:3]).__name__, kinds(m + [nn.ReLU()]), type(m[-1]).__name__]
    popped = m.pop(-1)
    del m[0:2]
    m[0] = nn.CELU()
    found += [type(popped).__name__, kinds(m), list(m._modules), len(m), nn.ReLU in [type(x) for x in m], repr(m)]
    return [
        *found, said(lambda: m[10]), said(lambda: m.extend(3)), said(lambda: m(1))[0], said(lambda: m.append(3)), said(lambda: m["a"])[0],
        repr(nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])), said(lambda: m.__setitem__(9, nn.ReLU())),
    ]  # fmt: skip


def module_dict(torch: Any) -> Any:
    nn = torch.nn
    m = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Tanh()})
    m.update([["c", nn.ELU()]])
    m.update({"a": nn.GELU()})
    m["d"] = nn.SiLU()
    found = [list(m), len(m), "a" in m, list(m.keys()), [k for k, _ in m.items()], [type(v).__name__ for v in m.values()]]
    popped = m.pop("b")
    del m["c"]
    found += [type(popped).__name__, list(m), repr(m)]
    errors = [said(lambda: m["no"]), said(lambda: m.update(3)), said(lambda: m.update([3])), said(lambda: m.__setitem__("k", 3)),
              said(lambda: m.update([["a"]])), said(lambda: m.__setitem__("keys", nn.ReLU()))]  # fmt: skip
    m.clear()
    return [*found, errors, len(m)]


def parameter_list(torch: Any) -> Any:
    nn = torch.nn
    m = nn.ParameterList([torch.ones(2), nn.Parameter(torch.zeros(1, 2), requires_grad=False), "text"])
    m.append(torch.ones(1))
    m += [torch.ones(3)]
    m[0] = torch.zeros(2)
    found = [len(m), [type(v).__name__ for v in m], list(m.state_dict()), repr(m), [type(v).__name__ for v in m[1:3]], type(m[1:3]).__name__]
    return [*found, said(lambda: m[9]), said(lambda: m.extend(3)), said(lambda: m()), said(lambda: m.__setitem__(9, 1)),
            [p.requires_grad for p in m.parameters()]]  # fmt: skip


def parameter_dict(torch: Any) -> Any:
    nn = torch.nn
    m = nn.ParameterDict({"b": torch.ones(2), "a": nn.Parameter(torch.zeros(1))})
    m["c"] = 3
    m.update([["d", torch.ones(1, 1)]])
    found = [list(m), len(m), list(m.state_dict()), type(m["b"]).__name__, m.get("zz"), m.get("c"), "a" in m, repr(m), list(reversed(m))]
    found += [m.setdefault("c", 5), type(m.setdefault("e", torch.ones(1))).__name__, list((m | {"f": torch.ones(1)}).keys())]
    found += [m.pop("c"), m.popitem()[0], list(m.copy().keys()), [k for k, _ in m.items()], len(list(m.values()))]
    m |= {"g": torch.ones(1)}
    del m["g"]
    new = m.fromkeys(["x", "y"], torch.ones(1))
    m.clear()
    left = len(m)
    errors = [said(lambda: m["zz"]), said(lambda: m.update(3)), said(lambda: m.update([["a"]])), said(lambda: m(1)), said(lambda: m.__setitem__(3, 4))[0]]
    return [*found, list(new), left, errors]


# -- lazy modules --------------------------------------------------------------------------------------------------


def lazy_modules(torch: Any) -> Any:
    nn = torch.nn
    torch.manual_seed(4)
    found = []
    for lazy, shape in (
        (nn.LazyLinear(3), (2, 4)), (nn.LazyLinear(3, bias=False), (4,)), (nn.LazyConv1d(2, 3), (1, 4, 5)), (nn.LazyConv2d(2, 3, bias=False), (4, 5, 5)),
        (nn.LazyConv3d(2, 2, groups=2), (1, 4, 3, 3, 3)), (nn.LazyConvTranspose1d(2, 3), (1, 4, 5)), (nn.LazyConvTranspose2d(4, 3, groups=2), (1, 4, 5, 5)),
        (nn.LazyConvTranspose3d(2, 2), (1, 4, 3, 3, 3)), (nn.LazyBatchNorm1d(), (3, 4)), (nn.LazyBatchNorm2d(affine=False), (3, 4, 2, 2)),
        (nn.LazyBatchNorm3d(track_running_stats=False), (2, 4, 2, 2, 2)), (nn.LazyInstanceNorm1d(affine=True), (2, 4, 5)),
        (nn.LazyInstanceNorm2d(), (2, 4, 3, 3)),
    ):  # fmt: skip
        before = [repr(lazy), lazy.has_uninitialized_params()]
        out = lazy(torch.ones(shape))
        weights = {n: p.tolist() for n, p in lazy.named_parameters()}
        found.append([before, type(lazy).__name__, repr(lazy), list(out.shape), weights])
    return found


def lazy_state(torch: Any) -> Any:
    nn = torch.nn
    lazy = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    full = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    keys = list(lazy.state_dict())
    lazy.load_state_dict(full.state_dict())
    loaded = [torch.equal(lazy[0].weight, full[0].weight), list(lazy[0].weight.shape), type(lazy[0]).__name__]
    lazy(torch.ones(4, 2))
    return [
        keys, loaded, type(lazy[0]).__name__, lazy[0].in_features,
        said(lambda: nn.LazyConv2d(4, 3)(torch.ones(3, 3))), said(lambda: nn.LazyConv2d(4, 3, groups=2)(torch.ones(1, 3, 5, 5))),
        said(lambda: full.load_state_dict(nn.Sequential(nn.LazyLinear(3), nn.BatchNorm1d(3)).state_dict()))[0],
    ]  # fmt: skip


# -- wrappers and helpers ------------------------------------------------------------------------------------------


def data_parallel(torch: Any) -> Any:
    m = torch.nn.DataParallel(net(torch))
    state = m.state_dict()
    prefix = torch.nn.modules.utils.consume_prefix_in_state_dict_if_present
    stripped = m.state_dict()
    prefix(stripped, "module.")
    return [list(state), list(stripped), list(stripped._metadata), type(m.module).__name__, repr(m)[:20]]


def sync_batch_norm(torch: Any) -> Any:
    m = net(torch)
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(m)
    return [repr(converted), list(converted.state_dict()), converted is m, said(lambda: converted.bn(torch.ones(2)))]


def clipping(torch: Any) -> Any:
    nn, found = torch.nn, []
    for norm in (1.0, 2.0, float("inf"), 0.5):
        ps = [nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([[3.0]])), nn.Parameter(torch.ones(1))]
        for p in ps[:2]:
            p.grad = p.detach() * 2
        total = nn.utils.clip_grad_norm_(ps, 1.5, norm_type=norm)
        found.append([total.tolist(), [None if p.grad is None else p.grad.tolist() for p in ps]])
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.tensor([float("nan"), 1.0])
    found.append(said(lambda: nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)))
    p.grad = torch.tensor([-3.0, 0.5])
    nn.utils.clip_grad_value_(p, 1.0)
    found.append([p.grad.tolist(), nn.utils.get_total_norm([p.grad]).tolist(), nn.utils.clip_grad_norm_([], 1.0).tolist()])
    vector = nn.utils.parameters_to_vector(nn.Linear(2, 1).parameters())
    m = nn.Linear(2, 1)
    nn.utils.vector_to_parameters(torch.arange(3.0), m.parameters())
    found.append([list(vector.shape), m.weight.tolist(), m.bias.tolist(), said(lambda: nn.utils.vector_to_parameters([1], m.parameters()))])
    return found


def sequences(torch: Any) -> Any:
    rnn = torch.nn.utils.rnn
    rows = [torch.arange(float(n)) + 1 for n in (3, 1, 2)]
    padded = rnn.pad_sequence(rows)
    packed = rnn.pack_padded_sequence(padded, torch.tensor([3, 1, 2]), enforce_sorted=False)
    again, lengths = rnn.pad_packed_sequence(packed, padding_value=-1.0, total_length=4)
    first = rnn.pack_sequence(rows, enforce_sorted=False)
    return [
        padded.tolist(), rnn.pad_sequence(rows, batch_first=True, padding_value=9.0).tolist(), rnn.pad_sequence(rows, padding_side="left").tolist(),
        packed.data.tolist(), packed.batch_sizes.tolist(), packed.sorted_indices.tolist(), packed.unsorted_indices.tolist(),
        again.tolist(), lengths.tolist(), first.data.tolist(), [r.tolist() for r in rnn.unpack_sequence(first)],
        [r.tolist() for r in rnn.unpad_sequence(padded, torch.tensor([3, 1, 2]))],
        said(lambda: rnn.pack_padded_sequence(padded, [3, 1, 2])), said(lambda: rnn.pack_padded_sequence(padded, [3, 1])),
        said(lambda: rnn.pack_padded_sequence(padded, [3, 1, 0])), said(lambda: rnn.pad_packed_sequence(packed, total_length=2)),
        str(packed.to(torch.float64).data.dtype), type(packed).__name__, packed.is_cuda, str(packed.double().data.dtype),
    ]  # fmt: skip


def packed_through_layers(torch: Any) -> Any:
    nn, found = torch.nn, []
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        torch.manual_seed(6)
        m = kind(2, 3, num_layers=2, bidirectional=True)
        x = torch.randn(4, 3, 2, requires_grad=True)
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([2, 4, 1]), enforce_sorted=False)
        out, state = m(packed)
        states = state if isinstance(state, tuple) else (state,)
        padded, lengths = nn.utils.rnn.pad_packed_sequence(out)
        (padded.cos().sum() + sum(s.sin().sum() for s in states)).backward()
        found.append([padded.tolist(), lengths.tolist(), [s.tolist() for s in states], x.grad.tolist(), m.weight_ih_l1.grad.tolist()])
        again, _ = m(packed, tuple(s * 0 + 0.5 for s in states) if kind is nn.LSTM else state * 0 + 0.5)
        found.append(again.data.tolist())
    return found


def recurrent_errors(torch: Any) -> Any:
    nn = torch.nn
    m, lstm = nn.GRU(2, 3), nn.LSTM(2, 3)
    x = torch.ones(4, 1, 2)
    return [
        said(lambda: m(torch.ones(4, 1, 5))), said(lambda: m(torch.ones(2))), said(lambda: m(x, torch.ones(1, 2, 3))),
        said(lambda: m(x, torch.ones(1, 3))), said(lambda: m(torch.ones(4, 2), torch.ones(1, 1, 3))),
        said(lambda: lstm(x, (torch.ones(1, 1, 3), torch.ones(1, 1, 4)))), said(lambda: lstm(x, (torch.ones(1, 1), torch.ones(1, 1)))),
        said(lambda: nn.RNN(2, 3, nonlinearity="odd")), said(lambda: nn.LSTM(2, 3, dropout=2)), said(lambda: nn.LSTM(2, 0)),
        said(lambda: nn.LSTM(2, 3, proj_size=3)), said(lambda: nn.GRU(2, 3, proj_size=1)), said(lambda: nn.LSTM(2, 3, num_layers=0)),
        said(lambda: nn.LSTM(2, 3.0)), said(lambda: nn.LSTMCell(2, 3)(torch.ones(1, 1, 2))), said(lambda: nn.RNNCell(2, 3, nonlinearity="x")(torch.ones(1, 2))),
        said(lambda: nn.GRUCell(2, 3)(torch.ones(1, 5))), said(lambda: lstm(x.double())),
        [list(t.shape) for group in nn.LSTM(2, 4, proj_size=3, bidirectional=True).all_weights for t in group],
    ]  # fmt: skip


def constructor_errors(torch: Any) -> Any:
    nn = torch.nn
    calls = (
        lambda: nn.Conv2d(3, 4, 3, groups=2), lambda: nn.Conv2d(4, 3, 3, groups=2), lambda: nn.Conv2d(1, 1, 3, groups=0),
        lambda: nn.Conv2d(1, 1, 3, padding="same", stride=2),
        lambda: nn.ConvTranspose2d(1, 1, 3, padding_mode="reflect"), lambda: nn.Dropout(1.5), lambda: nn.GroupNorm(2, 3),
        lambda: nn.MultiheadAttention(5, 2), lambda: nn.MultiheadAttention(0, 1), lambda: nn.Bilinear(0, 1, 1),
        lambda: nn.Embedding(3, 2, padding_idx=4), lambda: nn.Embedding(3, 2, _weight=torch.ones(2, 2)),
        lambda: nn.Embedding.from_pretrained(torch.ones(3)), lambda: nn.BatchNorm2d(2)(torch.ones(2, 2)),
        lambda: nn.BatchNorm1d(2)(torch.ones(2)), lambda: nn.InstanceNorm2d(2, affine=True)(torch.ones(1, 3, 2, 2)),
        lambda: nn.BatchNorm1d(2)(torch.ones(1, 2)), lambda: nn.Unflatten(1, 3), lambda: nn.Unflatten(1, (2, 1.5)), lambda: nn.Unflatten("a", 3),
        lambda: nn.TripletMarginLoss(margin=0.0), lambda: nn.MultiMarginLoss(p=3), lambda: nn.Transformer(4, 2, 1, 1)(torch.ones(3, 2, 4), torch.ones(3, 1, 4)),
        lambda: nn.Transformer(4, 2, 1, 1)(torch.ones(3, 2, 5), torch.ones(3, 2, 4)), lambda: nn.TransformerEncoderLayer(4, 2, activation="odd"),
        lambda: nn.ConvTranspose2d(1, 1, 3, stride=2)(torch.ones(1, 1, 3, 3), output_size=[20, 20]), lambda: nn.Softmax2d()(torch.ones(2)),
        lambda: nn.ConvTranspose2d(1, 1, 3)(torch.ones(1, 1, 3, 3), output_size=[20]), lambda: nn.PReLU(3)(torch.ones(1, 2)),
        lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 10, [5, 3]), lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 10, []),
        lambda: nn.CrossEntropyLoss(reduction="odd")(torch.ones(1, 2), torch.tensor([1])), lambda: nn.Linear(2, 3)(torch.ones(1, 4)),
        lambda: nn.LayerNorm(3)(torch.ones(1, 4)), lambda: nn.PixelShuffle(2)(torch.ones(1, 3, 2, 2)), lambda: nn.MaxPool2d(2)(torch.ones(2)),
    )  # fmt: skip
    return [said(call) for call in calls]


def initial_values(torch: Any) -> Any:
    init, found = torch.nn.init, []
    calls = {
        "uniform_": (-1.0, 2.0), "normal_": (1.0, 2.0), "trunc_normal_": (0.0, 1.0, -0.5, 2.0), "constant_": (3.0,), "ones_": (), "zeros_": (),
        "eye_": (), "xavier_uniform_": (2.0,), "xavier_normal_": (), "kaiming_uniform_": (0.1, "fan_out", "leaky_relu"),
        "kaiming_normal_": (0, "fan_in", "relu"), "orthogonal_": (1.5,), "sparse_": (0.4, 0.1),
    }  # fmt: skip
    for name, args in calls.items():
        torch.manual_seed(9)
        w = torch.nn.Parameter(torch.empty(3, 4))
        result = getattr(init, name)(w, *args)
        found.append([name, [[round(v, 5) for v in row] for row in w.tolist()], result is w, w.requires_grad])
    for shape in ((4, 2, 3), (2, 2, 3, 3), (4, 2, 1, 3, 2)):
        found.append(init.dirac_(torch.empty(*shape), groups=2 if shape[0] == 4 else 1).tolist())
    gains = ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
    found.append([init.calculate_gain(g) for g in gains] + [init.calculate_gain("leaky_relu", 0.2)])
    w = torch.empty(2, 3)
    return [
        *found, said(lambda: init.calculate_gain("odd")), said(lambda: init.calculate_gain("leaky_relu", "a")), said(lambda: init.eye_(torch.empty(2))),
        said(lambda: init.dirac_(w)), said(lambda: init.xavier_normal_(torch.empty(2))), said(lambda: init.kaiming_normal_(w, mode="odd")),
        said(lambda: init.orthogonal_(torch.empty(2))), said(lambda: init.sparse_(torch.empty(2), 0.1)), said(lambda: init.dirac_(torch.empty(3, 2, 2), 2)),
    ]  # fmt: skip


def adaptive_softmax(torch: Any) -> Any:
    torch.manual_seed(3)
    m = torch.nn.AdaptiveLogSoftmaxWithLoss(4, 10, [3, 6], div_value=2.0)
    x = torch.randn(5, 4, requires_grad=True)
    out = m(x, torch.tensor([0, 4, 9, 2, 6]))
    out.loss.backward()
    single = m(x[0], torch.tensor(7))
    return [
        out.output.tolist(), out.loss.tolist(), x.grad.tolist(), m.log_prob(x).tolist(), m.predict(x).tolist(), repr(m),
        single.output.tolist(), said(lambda: m(x, torch.tensor([0, 4, 10, 2, 6]))), said(lambda: m(x, torch.ones(5, 1))),
        said(lambda: m(x[0], torch.tensor([1, 2, 3, 4]))), said(lambda: m(x, torch.tensor([1]))),
    ]  # fmt: skip


def attention_kernels(torch: Any) -> Any:
    from importlib import import_module

    attention = import_module(torch.__name__ + ".nn.attention")
    x = torch.ones(1, 1, 2, 2)
    with attention.sdpa_kernel(attention.SDPBackend.MATH):
        out = torch.nn.functional.scaled_dot_product_attention(x, x, x)
    return [out.tolist(), said(lambda: attention.sdpa_kernel(3).__enter__())]


def public_paths(torch: Any) -> Any:
    modules = torch.nn.modules
    types = torch.nn.common_types
    return [
        issubclass(torch.nn.BatchNorm2d, modules.batchnorm._BatchNorm), issubclass(torch.nn.BatchNorm2d, modules.batchnorm._NormBase),
        issubclass(torch.nn.InstanceNorm2d, modules.instancenorm._InstanceNorm), issubclass(torch.nn.Conv2d, modules.conv._ConvNd),
        issubclass(torch.nn.ConvTranspose2d, modules.conv._ConvTransposeNd), issubclass(torch.nn.MSELoss, modules.loss._Loss),
        issubclass(torch.nn.NLLLoss, modules.loss._WeightedLoss), issubclass(torch.nn.Dropout2d, modules.dropout._DropoutNd),
        issubclass(torch.nn.LSTM, modules.rnn.RNNBase), issubclass(torch.nn.MaxPool2d, modules.pooling._MaxPoolNd),
        issubclass(torch.nn.LazyLinear, modules.lazy.LazyModuleMixin), modules.utils._pair(3), modules.utils._triple((1, 2, 3)),
        modules.utils._single(2), modules.utils._quadruple(1), modules.utils._reverse_repeat_tuple((1, 2), 2), str(types._size_2_t),
        modules.upsampling.Upsample is torch.nn.Upsample, modules.linear.Identity is torch.nn.Identity,
        modules.activation.MultiheadAttention is torch.nn.MultiheadAttention, modules.flatten.Flatten is torch.nn.Flatten,
        modules.container.Sequential is torch.nn.Sequential, modules.module.Module is torch.nn.Module, modules.Module is torch.nn.Module,
        torch.nn.factory_kwargs({"dtype": None, "factory_kwargs": {"device": "cpu"}}), said(lambda: torch.nn.factory_kwargs({"odd": 1})),
        torch.nn.parameter.Parameter is torch.nn.Parameter, torch.nn.utils.rnn.PackedSequence.__name__,
        [n for n in ("training", "_parameters", "_buffers", "forward") if n in torch.nn.Module.__annotations__],
    ]  # fmt: skip


PROGRAMS = {
    name: value for name, value in list(globals().items())
    if callable(value) and getattr(value, "__module__", None) == __name__ and name not in ("said", "net", "shared", "Hook")
}  # fmt: skip
