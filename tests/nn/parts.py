"""Small programs around containers, lazy and recurrent modules, helpers, initialisation and constructors."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from nn_programs import net, programs_of, said

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
    found += [
        type(popped).__name__,
        kinds(m),
        list(m._modules),
        kinds(m + nn.Sequential(nn.ReLU())),
        kinds(m * 2),
        kinds(2 * m),
    ]
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
    found = [
        kinds(m),
        list(m._modules),
        kinds(m[1:3]),
        type(m[1:3]).__name__,
        kinds(m + [nn.ReLU()]),
        type(m[-1]).__name__,
    ]
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
    found = [
        list(m),
        len(m),
        "a" in m,
        list(m.keys()),
        [k for k, _ in m.items()],
        [type(v).__name__ for v in m.values()],
    ]
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
    found = [
        len(m),
        [type(v).__name__ for v in m],
        list(m.state_dict()),
        repr(m),
        [type(v).__name__ for v in m[1:3]],
        type(m[1:3]).__name__,
    ]
    return [*found, said(lambda: m[9]), said(lambda: m.extend(3)), said(lambda: m()), said(lambda: m.__setitem__(9, 1)),
            [p.requires_grad for p in m.parameters()]]  # fmt: skip


def parameter_dict(torch: Any) -> Any:
    nn = torch.nn
    m = nn.ParameterDict({"b": torch.ones(2), "a": nn.Parameter(torch.zeros(1))})
    m["c"] = 3
    m.update([["d", torch.ones(1, 1)]])
    found = [
        list(m),
        len(m),
        list(m.state_dict()),
        type(m["b"]).__name__,
        m.get("zz"),
        m.get("c"),
        "a" in m,
        repr(m),
        list(reversed(m)),
    ]
    found += [
        m.setdefault("c", 5),
        type(m.setdefault("e", torch.ones(1))).__name__,
        list((m | {"f": torch.ones(1)}).keys()),
    ]
    found += [m.pop("c"), m.popitem()[0], list(m.copy().keys()), [k for k, _ in m.items()], len(list(m.values()))]
    m |= {"g": torch.ones(1)}
    del m["g"]
    new = m.fromkeys(["x", "y"], torch.ones(1))
    m.clear()
    left = len(m)
    errors = [
        said(lambda: m["zz"]),
        said(lambda: m.update(3)),
        said(lambda: m.update([["a"]])),
        said(lambda: m(1)),
        said(lambda: m.__setitem__(3, 4))[0],
    ]
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
    found.append(
        [p.grad.tolist(), nn.utils.get_total_norm([p.grad]).tolist(), nn.utils.clip_grad_norm_([], 1.0).tolist()]
    )
    vector = nn.utils.parameters_to_vector(nn.Linear(2, 1).parameters())
    m = nn.Linear(2, 1)
    nn.utils.vector_to_parameters(torch.arange(3.0), m.parameters())
    found.append(
        [
            list(vector.shape),
            m.weight.tolist(),
            m.bias.tolist(),
            said(lambda: nn.utils.vector_to_parameters([1], m.parameters())),
        ]
    )
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
        found.append(
            [
                padded.tolist(),
                lengths.tolist(),
                [s.tolist() for s in states],
                x.grad.tolist(),
                m.weight_ih_l1.grad.tolist(),
            ]
        )
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


def gradients_by_name(torch: Any) -> Any:
    torch.manual_seed(2)
    grad, found = import_module(f"{torch.__name__}.nn.grad"), []
    for n in (1, 2, 3):
        x, w = torch.randn(2, 4, *[5] * n), torch.randn(6, 2, *[3] * n)
        g = torch.randn(2, 6, *[3] * n)
        how = {"stride": 2, "padding": 1, "groups": 2}
        found.append(getattr(grad, f"conv{n}d_input")(x.shape, w, g, **how).sum(1).tolist())
        found.append(getattr(grad, f"conv{n}d_weight")(x, w.shape, g, **how).sum(0).tolist())
    pool = torch.nn.FractionalMaxPool2d
    return [
        *found, said(lambda: pool(2)), said(lambda: pool(2, 3, 0.5)), said(lambda: pool(2, output_ratio=1.5)),
        said(lambda: torch.nn.FractionalMaxPool3d(0, 3)),
    ]  # fmt: skip


def attention_kernels(torch: Any) -> Any:
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


PROGRAMS = programs_of(globals())
