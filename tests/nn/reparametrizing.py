"""Small programs around nn.utils: parametrizations, weight and spectral norm, pruning, fusion."""

from __future__ import annotations

import copy
import pickle
from importlib import import_module
from typing import Any

from nn_programs import part, programs_of, said, state, trained


def weight_norm(torch: Any) -> Any:
    made, parametrize = part(torch, "parametrizations"), part(torch, "parametrize")
    torch.manual_seed(0)
    m = made.weight_norm(torch.nn.Linear(4, 3))
    found = [repr(m), state(m), trained(torch, m, 2, 4)]
    old = torch.nn.Linear(4, 3)
    torch.nn.utils.weight_norm(old)
    m.load_state_dict(old.state_dict())
    found += [state(m), torch.allclose(m.weight, old.weight)]
    parametrize.remove_parametrizations(m, "weight")
    return [*found, repr(m), state(m), trained(torch, made.weight_norm(torch.nn.Conv2d(2, 3, 2), dim=1), 1, 2, 3, 3)]


def spectral_norm(torch: Any) -> Any:
    made, found = part(torch, "parametrizations"), []
    for m, shape in (
        (torch.nn.Conv2d(2, 3, 3), (1, 2, 5, 5)),
        (torch.nn.ConvTranspose2d(2, 3, 2), (1, 2, 3, 3)),
        (torch.nn.Linear(3, 4), (2, 3)),
    ):
        torch.manual_seed(0)
        made.spectral_norm(m, n_power_iterations=2)
        found += [
            [n for n, _ in m.state_dict().items()],
            list(trained(torch, m, *shape)[0])[0][0] is not None,
            list(m(torch.ones(shape)).shape),
        ]
    torch.manual_seed(0)
    m = made.spectral_norm(torch.nn.Linear(3, 4))
    found += [trained(torch, m, 2, 3), state(m), trained(torch, m.eval(), 2, 3)]
    bias = made.spectral_norm(torch.nn.Linear(3, 4), "bias")
    return [*found, bias.bias.tolist(), said(lambda: made.spectral_norm(torch.nn.Linear(3, 4), dim=5)),
            said(lambda: made.spectral_norm(torch.nn.Linear(3, 4), n_power_iterations=0)), said(lambda: made.spectral_norm(torch.nn.ReLU()))[0]]  # fmt: skip


def orthogonal(torch: Any) -> Any:
    made, found = part(torch, "parametrizations"), []
    for ins, outs in ((4, 4), (3, 5), (5, 3)):
        for how in (None, "cayley", "matrix_exp", "householder"):
            torch.manual_seed(0)
            m = made.orthogonal(torch.nn.Linear(ins, outs), orthogonal_map=how)
            w = m.weight
            (w * w.detach().cos()).sum().backward()
            found.append([how, w.tolist(), m.parametrizations.weight.original.grad.tolist()])
    free = made.orthogonal(torch.nn.Linear(3, 3), orthogonal_map="cayley", use_trivialization=False)
    return [
        *found, said(lambda: setattr(free, "weight", torch.eye(3))), said(lambda: made.orthogonal(torch.nn.Linear(2, 2), "bias")),
        said(lambda: made.orthogonal(torch.nn.Linear(2, 2), orthogonal_map="odd")), said(lambda: setattr(m, "weight", torch.eye(2))),
    ]  # fmt: skip


def own_parametrization(torch: Any) -> Any:
    parametrize = part(torch, "parametrize")

    class Symmetric(torch.nn.Module):
        def forward(self, given: Any) -> Any:
            return given.triu() + given.triu(1).transpose(-1, -2)

        def right_inverse(self, given: Any) -> Any:
            return given.triu()

    class Twice(torch.nn.Module):
        calls = 0

        def forward(self, given: Any) -> Any:
            type(self).calls += 1
            return given * 2

    torch.manual_seed(0)
    m = torch.nn.Linear(3, 3)
    parametrize.register_parametrization(m, "weight", Symmetric())
    parametrize.register_parametrization(m, "weight", Twice())
    found = [
        repr(m),
        m.weight.tolist(),
        state(m),
        parametrize.is_parametrized(m),
        parametrize.is_parametrized(m, "bias"),
    ]
    before = Twice.calls
    with parametrize.cached():
        found += [m.weight is m.weight, Twice.calls - before]
    twin = copy.deepcopy(m)
    found += [
        type(twin).__name__,
        torch.equal(twin.weight, m.weight),
        parametrize.type_before_parametrizations(m).__name__,
    ]
    found += [said(lambda: setattr(m, "weight", torch.eye(3))), said(lambda: pickle.dumps(m))]
    single = torch.nn.Linear(3, 3)
    parametrize.register_parametrization(single, "weight", Symmetric())
    single.weight = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    found += [single.weight.tolist(), single.parametrizations.weight.original.tolist(), trained(torch, single, 2, 3)]
    parametrize.remove_parametrizations(m, "weight", leave_parametrized=False)
    found += [repr(m), type(m).__name__, type(m.weight).__name__]
    return [
        *found, said(lambda: parametrize.register_parametrization(single, "nope", Symmetric())),
        said(lambda: parametrize.register_parametrization(torch.nn.Linear(2, 3), "weight", torch.nn.Flatten(0))),
        said(lambda: parametrize.register_parametrization(single, "weight", torch.nn.Flatten(0))),
        said(lambda: parametrize.remove_parametrizations(single, "bias")), said(lambda: parametrize.ParametrizationList([], torch.ones(1))),
    ]  # fmt: skip


def old_weight_norm(torch: Any) -> Any:
    torch.manual_seed(0)
    m = torch.nn.utils.weight_norm(torch.nn.Linear(3, 4))
    found = [state(m), repr(m), trained(torch, m, 2, 3), said(lambda: torch.nn.utils.weight_norm(m))]
    torch.nn.utils.remove_weight_norm(m)
    whole = torch.nn.utils.weight_norm(torch.nn.Linear(3, 4), dim=None)
    return [
        *found,
        state(m),
        whole.weight_g.tolist(),
        whole.weight.tolist(),
        said(lambda: torch.nn.utils.remove_weight_norm(m)),
    ]


def old_spectral_norm(torch: Any) -> Any:
    torch.manual_seed(0)
    m = torch.nn.utils.spectral_norm(torch.nn.Linear(3, 4))
    found = [
        state(m),
        dict(m.state_dict()._metadata),
        trained(torch, m, 2, 3),
        state(m),
        trained(torch, m.eval(), 2, 3),
    ]
    torch.nn.utils.remove_spectral_norm(m)
    return [*found, state(m), len(m._state_dict_hooks), said(lambda: torch.nn.utils.remove_spectral_norm(m)),
            said(lambda: torch.nn.utils.spectral_norm(torch.nn.Linear(3, 4), n_power_iterations=0))]  # fmt: skip


def pruning(torch: Any) -> Any:
    prune, nn = part(torch, "prune"), torch.nn
    torch.manual_seed(0)
    m = nn.Linear(4, 3)
    prune.l1_unstructured(m, "weight", amount=3)
    found = [state(m), m.weight.tolist(), trained(torch, m, 2, 4)]
    prune.ln_structured(m, "weight", amount=0.34, n=2, dim=0)
    prune.random_unstructured(m, "bias", 1)
    found += [state(m), prune.is_pruned(m), len(m._forward_pre_hooks)]
    prune.remove(m, "bias")
    found += [[n for n, _ in m.named_parameters()], m.bias.tolist()]
    other = nn.Linear(4, 3)
    prune.random_structured(other, "weight", 1, dim=1)
    prune.custom_from_mask(other, "bias", torch.tensor([1, 0, 1]))
    found += [
        other.weight.tolist(),
        other.bias.tolist(),
        prune.L1Unstructured(amount=1).prune(torch.tensor([1.0, 0.1])).tolist(),
    ]
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    prune.global_unstructured([(net[0], "weight"), (net[1], "weight")], pruning_method=prune.L1Unstructured, amount=0.5)
    prune.identity(net[0], "bias")
    return [
        *found, net[0].weight.tolist(), net[1].weight.tolist(), state(net), said(lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", amount=1.5)),
        said(lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", amount=9)), said(lambda: prune.remove(m, "bias")),
        said(lambda: prune.random_structured(nn.Linear(2, 2), "bias", 1, 0)), said(lambda: prune.ln_structured(nn.Linear(2, 2), "weight", 1, 2, dim=5)),
        said(lambda: prune.global_unstructured(3, prune.L1Unstructured)), said(lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", amount="a")),
    ]  # fmt: skip


def fusing(torch: Any) -> Any:
    nn, fusion, found = torch.nn, part(torch, "fusion"), []
    torch.manual_seed(0)
    for layer, bn, shape in (
        (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), (1, 2, 4, 4)), (nn.Conv1d(2, 3, 3, bias=False), nn.BatchNorm1d(3, affine=False), (1, 2, 4)),
        (nn.Linear(2, 3), nn.BatchNorm1d(3), (4, 2)),
    ):  # fmt: skip
        bn.running_mean.uniform_()
        bn.running_var.uniform_()
        layer.eval(), bn.eval()
        fuse = fusion.fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fusion.fuse_conv_bn_eval
        fused, x = fuse(layer, bn), torch.randn(shape)
        found.append(
            [
                torch.allclose(fused(x), bn(layer(x)), atol=1e-5),
                state(fused),
                fused.weight.requires_grad,
                fused.bias.requires_grad,
            ]
        )
    return [*found, said(lambda: fusion.fuse_conv_bn_eval(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))]


def skipping_initialisation(torch: Any) -> Any:
    torch.manual_seed(0)
    m = torch.nn.utils.skip_init(torch.nn.Linear, 3, 4, bias=False)
    return [
        repr(m), torch.rand(2).tolist(), m.weight.requires_grad, said(lambda: torch.nn.utils.skip_init(torch.nn.ReLU)),
        said(lambda: torch.nn.utils.skip_init(dict)),
    ]  # fmt: skip


def stateless_calls(torch: Any) -> Any:
    func, nn = import_module(f"{torch.__name__}.func"), torch.nn
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    given = {k: v.detach() * 2 for k, v in m.named_parameters()}
    x, before = torch.randn(3, 2), state(m)
    w = torch.ones(2, 2, requires_grad=True)
    func.functional_call(m, {"0.weight": w}, (x,)).pow(2).sum().backward()
    out = func.functional_call(m, (given, {"1.running_mean": torch.ones(2)}), x, {})
    tied = nn.Module()
    tied.a = nn.Linear(2, 2, bias=False)
    tied.b = nn.Linear(2, 2, bias=False)
    tied.b.weight = tied.a.weight
    tied.forward = lambda x: tied.b(tied.a(x))
    two = {"a.weight": torch.eye(2), "b.weight": torch.ones(2, 2)}
    call = part(torch, "stateless").functional_call
    return [
        out.tolist(), w.grad.tolist(), [k for k, _ in before], before[0] == state(m)[0],
        func.functional_call(tied, {"a.weight": torch.eye(2) * 3}, x).tolist(),
        func.functional_call(tied, two, x, tie_weights=False).tolist(), said(lambda: func.functional_call(tied, two, x)),
        said(lambda: func.functional_call(m, given, x, strict=True)), said(lambda: func.functional_call(m, {"odd": w}, x, strict=True)),
        said(lambda: func.functional_call(m, (given, given), x))[0], said(lambda: func.functional_call(m, 3, x)),
        said(lambda: func.functional_call(m, (given, 3), x)), call(m, given, x).tolist(),
    ]  # fmt: skip


PROGRAMS = programs_of(globals())
