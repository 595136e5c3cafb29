"""Small programs around classes of a user's own that build on the layers, and around parameters as tensors."""

from __future__ import annotations

import copy
import pickle
from importlib import import_module
from typing import Any

from nn_programs import programs_of, said


def layers_made_of_functions(torch: Any) -> Any:
    class InPlace(torch.nn.ReLU):
        def __init__(self) -> None:
            super().__init__(inplace=True)

    class Dense(torch.nn.MaxPool2d):
        def __init__(self, size: int) -> None:
            super().__init__(size, stride=1)
            self.size = size

        def forward(self, input: Any) -> Any:
            return super().forward(input) + self.size

    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    return [
        repr(InPlace()), InPlace()(torch.tensor([-1.0, 2.0])).tolist(), repr(Dense(2)), Dense(2)(image).tolist(),
        torch.nn.ReLU()(input=torch.ones(1)).tolist(), torch.nn.Softmax(dim=0)(input=torch.ones(2)).tolist(),
    ]  # fmt: skip


def convolution_with_a_mask(torch: Any) -> Any:
    class Masked(torch.nn.Conv2d):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.register_buffer("mask", torch.ones_like(self.weight).triu())

        def forward(self, given: Any) -> Any:
            return self._conv_forward(given, self.weight * self.mask, self.bias)

    torch.manual_seed(0)
    m = Masked(1, 2, 3, padding=1, padding_mode="reflect")
    return [repr(m), m(torch.ones(1, 1, 3, 3)).tolist(), list(m.state_dict())]


def private_bases(torch: Any) -> Any:
    modules = torch.nn.modules

    class Norm(modules.batchnorm._BatchNorm):
        def _check_input_dim(self, given: Any) -> None:
            if given.dim() != 4:
                raise ValueError("four dimensions")

    class Convolution(modules.conv._ConvNd):
        def __init__(self) -> None:
            super().__init__(1, 2, (3, 3), (1, 1), (0, 0), (1, 1), False, (0, 0), 1, True, "zeros")

        def forward(self, given: Any) -> Any:
            return torch.nn.functional.conv2d(given, self.weight, self.bias)

    class Loss(modules.loss._WeightedLoss):
        def forward(self, a: Any, b: Any) -> Any:
            return (self.weight * (a - b)).sum()

    torch.manual_seed(0)
    loss = Loss(torch.tensor([1.0, 2.0]))
    return [
        repr(Norm(2)), Norm(2)(torch.arange(8.0).reshape(1, 2, 2, 2)).tolist(), said(lambda: Norm(2)(torch.ones(2, 2))), repr(Convolution()),
        Convolution()(torch.ones(1, 1, 3, 3)).tolist(), loss(torch.ones(2), torch.zeros(2)).tolist(), list(loss.state_dict()), loss.reduction,
    ]  # fmt: skip


def own_initialisation(torch: Any) -> Any:
    class Ones(torch.nn.Linear):
        def reset_parameters(self) -> None:
            torch.nn.init.ones_(self.weight)
            torch.nn.init.zeros_(self.bias)

    class Last(torch.nn.LSTM):
        def forward(self, given: Any) -> Any:
            return super().forward(given)[0][-1]

    torch.manual_seed(0)
    return [Ones(2, 1)(torch.tensor([[2.0, 3.0]])).tolist(), repr(Last(2, 3)), Last(2, 3)(torch.ones(2, 1, 2)).tolist()]


def broken_property(torch: Any) -> Any:
    class Broken(torch.nn.Module):
        @property
        def value(self) -> Any:
            return self.nothing

    m = Broken()
    return [
        said(lambda: m.value)[0],
        hasattr(m, "value"),
        getattr(m, "other", 5),
        m == m,
        m == Broken(),
        len({m, Broken()}),
    ]


def copies_and_pickles(torch: Any) -> Any:
    nn, found = torch.nn, []
    for m in (
        nn.ReLU(), nn.MaxPool2d(2), nn.LSTM(2, 3), nn.Transformer(4, 2, 1, 1, 8), nn.BatchNorm2d(2), nn.ConstantPad2d(1, 2.0), nn.Dropout(),
        nn.Conv2d(1, 1, 1), nn.Sequential(nn.ReLU()), nn.ParameterList([torch.ones(1)]), nn.CrossEntropyLoss(torch.ones(2)), nn.LocalResponseNorm(2),
        nn.TripletMarginWithDistanceLoss(), nn.AdaptiveAvgPool2d(1), nn.ModuleDict({"a": nn.Tanh()}), nn.LazyLinear(3), nn.MultiheadAttention(4, 2),
    ):  # fmt: skip
        back = pickle.loads(pickle.dumps(m))
        found.append(
            [
                type(back) is type(m),
                repr(back) == repr(m) == repr(copy.deepcopy(m)),
                list(back.state_dict()) == list(m.state_dict()),
            ]
        )
    return found


def parameters_as_tensors(torch: Any) -> Any:
    nn = torch.nn
    p = nn.Parameter(torch.arange(4.0))
    again = nn.Parameter(p)
    twin = copy.deepcopy(p)
    return [
        type(p * 2).__name__, type(p.clone()).__name__, type(p.data).__name__, type(p.detach()).__name__, type(twin).__name__, again is p,
        again.data_ptr() == p.data_ptr(), twin.data_ptr() == p.data_ptr(), isinstance(p, torch.Tensor), isinstance(torch.ones(1), nn.Parameter),
        repr(p), repr(nn.Parameter(torch.tensor([1]), requires_grad=False)), said(lambda: nn.Parameter(torch.tensor([1]))), p.view(2, 2).tolist(),
        p.is_leaf, nn.Parameter(torch.ones(2), False).requires_grad, repr(nn.Buffer(torch.ones(1))), nn.Parameter().shape.numel(),
        type(pickle.loads(pickle.dumps(p))).__name__, (p == twin).all().item(),
    ]  # fmt: skip


def layers_of_other_dtypes(torch: Any) -> Any:
    nn = torch.nn
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).bfloat16()
    half = nn.Linear(2, 2).half()(torch.ones(1, 2).half())
    last = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last).weight
    return [
        str(net(torch.ones(1, 1, 4, 4).bfloat16()).dtype), str(half.dtype), half.float().tolist(), last.stride(),
        str(nn.Linear(1, 1).type("torch.DoubleTensor").weight.dtype), list(nn.Linear(1, 2).to_empty(device="cpu").weight.shape),
        nn.Linear(1, 1).share_memory().weight.is_shared(), nn.LSTM(2, 3).mode, nn.RNN(2, 3, nonlinearity="relu").mode,
        nn.MSELoss(size_average=False).reduction, nn.CrossEntropyLoss(reduce=False).reduction,
        nn.Transformer.generate_square_subsequent_mask(3).tolist(),
    ]  # fmt: skip


def flexible_attention(torch: Any) -> Any:
    flex = import_module(f"{torch.__name__}.nn.attention.flex_attention")
    bias = import_module(f"{torch.__name__}.nn.attention.bias")
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 6, 8), torch.randn(2, 2, 6, 8)
    out, lse = flex.flex_attention(
        q, k, v, score_mod=lambda s, b, h, i, j: s + (i - j) * 0.1 + h, enable_gqa=True, return_lse=True
    )
    causal = flex.create_block_mask(lambda b, h, i, j: i >= j, None, None, 5, 6, device="cpu")
    masked = flex.flex_attention(q, k, v, block_mask=causal, enable_gqa=True, scale=0.5)
    near = flex.and_masks(lambda b, h, i, j: (i - j).abs() < 2, lambda b, h, i, j: j != 1)
    wide = torch.ones(1, 1, 6, 8)
    lower = torch.nn.functional.scaled_dot_product_attention(
        q, wide, wide * torch.arange(6.0).view(6, 1), attn_mask=bias.causal_lower_right(5, 6)
    )
    return [
        out.sum(-1).tolist(), lse.tolist(), masked.sum(-1).tolist(), flex.create_mask(near, 1, 1, 3, 4, device="cpu").tolist(),
        flex.create_mask(flex.or_masks(near, near), 1, 1, 2, 2, device="cpu").tolist(), lower[0, 0, :, 0].tolist(),
        said(lambda: flex.flex_attention(q, k, v)),
    ]  # fmt: skip


PROGRAMS = programs_of(globals())
