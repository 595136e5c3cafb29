"""Small programs around Module, written once for Flambeau and PyTorch: `program(torch) -> what it saw`."""

from __future__ import annotations

import copy
import io
import pickle
from collections import OrderedDict, namedtuple
from typing import Any

from nn_programs import net, programs_of, said


def _shared(torch: Any) -> Any:
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
    m.head.register_state_dict_post_hook(
        lambda module, state, prefix, meta: log.append(["public", prefix, sorted(meta)])
    )
    m.head._register_load_state_dict_pre_hook(lambda state, prefix, *rest: log.append(["load", prefix, len(rest)]))
    m.head.register_load_state_dict_pre_hook(
        lambda module, state, prefix, *rest: log.append(["with", prefix, len(rest)])
    )
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
    m = _shared(torch)
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
    return [
        before,
        list(m.state_dict()),
        m.none,
        repr(m.load_state_dict({"keep": torch.zeros(1), "drop": torch.zeros(2)})),
    ]


def dir_and_repr(torch: Any) -> Any:
    class Shown(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Sequential(
                torch.nn.Linear(1, 2), torch.nn.ModuleList([torch.nn.ReLU()] * 3 + [torch.nn.Tanh()])
            )
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
    return [
        found,
        m.conv.weight is held,
        type(m.conv.weight).__name__,
        m.conv.weight.is_leaf,
        m.conv.weight.requires_grad,
    ]


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
    m = _shared(torch)
    m.log = []
    m.register_forward_pre_hook(Hook())
    twin = copy.deepcopy(m)
    return [
        twin.a is twin.b, twin.w is twin.v, twin.r is twin.s, twin.a is not m.a, twin.w.tolist(), twin.w.data_ptr() != m.w.data_ptr(),
        len(twin._forward_pre_hooks), type(twin.w).__name__, twin.a.weight.requires_grad,
    ]  # fmt: skip


Result = namedtuple("Result", ["first", "second"])


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
    return [
        out.tolist(),
        again.tolist(),
        inside.tolist(),
        m(x).tolist(),
        log,
        len(m._forward_hooks),
        len(m._forward_pre_hooks),
    ]


def keyword_hooks(torch: Any) -> Any:
    class Scaled(torch.nn.Module):
        def forward(self, x: Any, scale: float = 1.0) -> Any:
            if scale == 0:
                raise ValueError("no scale")
            return x * scale

    m, log = Scaled(), []
    m.register_forward_pre_hook(
        lambda module, args, kwargs: (args, {"scale": kwargs.get("scale", 1.0) + 1}), with_kwargs=True
    )
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


def backward_hooks_in_odd_places(torch: Any) -> Any:
    class Table(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return {"a": x * 2}

    class Pair(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return Result(x * 2, None)

    def hooked(module: Any, *hooks: Any) -> Any:
        for hook in hooks:
            module.register_full_backward_hook(hook)
        return module

    log: list = []
    nothing = lambda *args: log.append(len(args))  # noqa: E731
    x = torch.ones(2, requires_grad=True)
    hooked(Table(), nothing)(x)["a"].sum().backward()
    pair = hooked(Pair(), nothing)(x)
    pair.first.sum().backward()
    step = lambda m: m(torch.ones(1, 2, requires_grad=True)).sum().backward()  # noqa: E731
    mixed = torch.nn.Linear(2, 2)
    mixed.register_backward_hook(nothing)
    other = hooked(torch.nn.Linear(2, 2), nothing)
    return [
        x.grad.tolist(), log, type(pair).__name__, said(lambda: step(hooked(torch.nn.Linear(2, 2), lambda m, i, o: (i[0], i[0])))),
        said(lambda: mixed.register_full_backward_hook(nothing)), said(lambda: other.register_backward_hook(nothing)),
    ]  # fmt: skip


def global_hooks(torch: Any) -> Any:
    hooks, log = torch.nn.modules.module, []
    handles = [
        hooks.register_module_forward_pre_hook(lambda module, args: log.append("pre " + type(module).__name__)),
        hooks.register_module_forward_hook(lambda module, args, out: log.append("post " + type(module).__name__)),
        hooks.register_module_full_backward_hook(
            lambda module, given, out: log.append("back " + type(module).__name__)
        ),
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


PROGRAMS = programs_of(globals())
