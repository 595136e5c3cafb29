"""Calls whose numbers must be PyTorch's. Each is an expression over `t`, the module under test.

`make_golden.py` records what PyTorch gives; `test_golden.py` compares without PyTorch, and
`tests/differential/test_random.py` compares these and wider sweeps with PyTorch beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
SIZES = (1, 2, 3, 15, 16, 17, 31, 32, 33)

LAYOUTS = (
    "t.empty(4, 6).t()",
    "t.empty(2, 3, 4).permute(2, 0, 1)",
    "t.empty(2, 3, 4).transpose(0, 1)",
    "t.empty(6, 6)[::2, 1::2]",
    "t.empty(40)[::2]",
    "t.empty(2, 3, 2, 2, dtype=t.float64).permute(0, 3, 1, 2)",
    "t.empty_like(t.empty(2, 3, 4, 2).permute(0, 3, 1, 2))",
    "t.empty(1, 5, 4).transpose(1, 2)",
)

FILLS = (
    "uniform_(-1, 1)",
    "normal_()",
    "normal_(1.5, 0.1)",
    "exponential_(2.0)",
    "cauchy_(0.5, 2.0)",
    "log_normal_(0.1, 0.7)",
    "geometric_(0.3)",
    "bernoulli_(0.4)",
    "random_(100)",
)

OTHERS = (
    "t.rand(())", "t.rand(0)", "t.randn(0, 3)", "t.randn(())", "t.rand(2, 3, 4)", "t.randn([4, 5])",
    "t.randint(10, (7,))", "t.randint(-5, 5, (3, 3))", "t.randint(1 << 28, (5,))", "t.randint((1 << 28) - 1, (5,))",
    "t.randint(-(2**62), 2**62, (4,))", "t.randint(256, (9,), dtype=t.uint8)", "t.randint(3, (5,), dtype=t.float32)",
    "t.randint(2, (6,), dtype=t.int32)", "t.randint(-100, 100, (6,), dtype=t.int8)",
    "t.empty((), dtype=t.int64).random_()", "t.empty(5, dtype=t.int64).random_(-(2**63), None)",
    "t.empty(5, dtype=t.int64).random_(10, None)", "t.empty(4).random_(-(2**63), None)",
    "t.empty(5, dtype=t.float16).random_(0, 2048)", "t.empty(5, dtype=t.int16).random_(-7, None)",
    *[f"t.randperm({n})" for n in (0, 1, 2, 3, 10, 64, 257)], "t.randperm(20, dtype=t.int32)",
    "t.randperm(20, dtype=t.float32)", "t.randperm(30, dtype=t.float16)",
    "t.rand_like(t.empty(3, 4))", "t.randn_like(t.empty(4, 8).t())", "t.randn_like(t.empty(3, dtype=t.float64))",
    "t.randint_like(t.empty(3, 3), 10)", "t.randint_like(t.empty(5, dtype=t.int64), -4, 4)",
    "t.rand_like(t.empty(2, 3, 2, 4).permute(0, 3, 1, 2))",
    "t.normal(0.0, 1.0, (5,))", "t.normal(2.0, 3.0, (4, 5))", "t.normal(t.arange(4.0))",
    "t.normal(t.arange(20.0), 0.5)", "t.normal(1.0, t.arange(18.0))", "t.normal(t.arange(3.0), t.arange(3.0))",
    "t.normal(t.zeros(3, 1), t.ones(1, 6))", "t.normal(t.arange(20.0).to(t.float16), t.full((20,), 0.3))",
    "t.bernoulli(t.rand(20))", "t.bernoulli(t.rand(20, dtype=t.float64))", "t.bernoulli(t.rand(4, 5).t())",
    "t.bernoulli(t.full((9,), 0.5, dtype=t.float16))", "t.bernoulli(t.empty(9), 0.7)",
    "t.empty(4, 5, dtype=t.int64).bernoulli_(t.rand(5))", "t.empty(5, 4).t().bernoulli_(t.rand(4, 5))",
    "t.empty(4, 5).bernoulli_(t.rand(5, 4).t())", "t.empty(6, dtype=t.bool).bernoulli_(0.5)",
    "t.multinomial(t.tensor([0.1, 0.0, 3.0, 5.0]), 2)", "t.multinomial(t.tensor([0.1, 0.0, 3.0, 5.0]), 9, True)",
    "t.multinomial(t.rand(4, 6), 3)", "t.multinomial(t.rand(4, 6), 1)", "t.multinomial(t.rand(3, 5), 10, True)",
    "t.multinomial(t.rand(6, 4).t(), 2)", "t.multinomial(t.rand(5, dtype=t.float64), 4)",
    "t.multinomial(t.rand(5, dtype=t.float64), 4, True)", "t.multinomial(t.rand(50), 50)",
    "t.multinomial(t.ones(7, dtype=t.float16), 5, replacement=True)",
    "t.poisson(t.rand(10) * 5)", "t.poisson(t.rand(10) * 50)", "t.poisson(t.zeros(3))",
    "t.poisson(t.rand(4, 5, dtype=t.float64).t() * 30)",
    "t.binomial(t.full((8,), 10.0), t.rand(8))", "t.binomial(t.full((8,), 100.0), t.rand(8))",
    "t.binomial(t.full((3, 4), 1000.0, dtype=t.float64), t.rand(4, dtype=t.float64))",
    "t._standard_gamma(t.rand(6) * 3)", "t._standard_gamma(t.rand(6, dtype=t.float64) * 3)",
    "t._sample_dirichlet(t.rand(3, 4) + 0.5)",
    "t.rand(5, dtype=t.complex64)", "t.randn(3, 3, dtype=t.complex64)", "t.randn(9, dtype=t.complex128)",
    "t.dropout(t.ones(20), 0.3, True)", "t.dropout(t.ones(4, 5).t(), 0.5, True)", "t.dropout(t.ones(5), 0.0, True)",
    "t.dropout(t.ones(5), 1.0, True)", "t.dropout(t.ones(5), 0.5, False)",
    "t.dropout(t.ones(2, 2, 2, 3).permute(0, 3, 1, 2), 0.4, True)", "t.dropout(t.ones(6, dtype=t.float16), 0.3, True)",
    "t.dropout_(t.ones(8), 0.3, True)", "t.feature_dropout(t.ones(2, 5, 2, 2), 0.5, True)",
    "t.alpha_dropout(t.arange(8.0), 0.3, True)", "t.feature_alpha_dropout(t.ones(2, 4, 3), 0.3, True)",
    "(t.randn(3), t.rand(2), t.randn(4))[2]", "(t.randn(3), t.empty(2, dtype=t.float64).normal_())[1]",
    "(t.randn(1), t.randn(20), t.randn(1))[2]", "(t.randn(1), t.manual_seed(5), t.randn(2))[2]",
    "(t.randn(5), t.empty(3).log_normal_())[1]",
    "t.rand(3, generator=t.Generator().manual_seed(4))", "t.randn(3, generator=t.Generator())",
    "t.rand(4, out=t.empty(4))", "t.randn(4, 5, out=t.empty(5, 4).t())", "t.randn(17, out=t.empty(34)[::2])",
    "t.randperm(9, out=t.empty(9, dtype=t.int64))", "t.randint(9, (4,), out=t.empty(4))",
    "t.normal(t.zeros(4), t.ones(4), out=t.empty(4))", "t.bernoulli(t.rand(4), out=t.empty(4))",
    "t.multinomial(t.rand(4), 2, out=t.empty(2, dtype=t.int64))",
)  # fmt: skip


def all_cases() -> Iterator[str]:
    for d in FLOATS:
        for n in SIZES:
            yield f"t.rand({n}, dtype=t.{d})"
            yield f"t.randn({n}, dtype=t.{d})"
        for fill in FILLS:
            yield f"t.empty(5, dtype=t.{d}).{fill}"
            yield f"t.empty(20, dtype=t.{d}).{fill}"
        yield f"t.empty(7, dtype=t.{d}).random_()"
        yield f"t.empty(18, dtype=t.{d}).uniform_(5, 1000.5)"
    for d in INTEGERS:
        yield f"t.empty(7, dtype=t.{d}).random_()"
        yield f"t.empty(7, dtype=t.{d}).random_(3, 50)"
        yield f"t.empty(7, dtype=t.{d}).bernoulli_(0.5)"
        yield f"t.empty(7, dtype=t.{d}).geometric_(0.5)"
    yield "t.empty(7, dtype=t.bool).random_()"
    yield "t.empty(7, dtype=t.bool).random_(0, 2)"
    for layout in LAYOUTS:
        for fill in FILLS:
            yield f"{layout}.{fill}"
    yield from OTHERS


SEEDS = (0, 1, 42, -1, -(2**63), 2**32, 2**32 + 1, 2**63 + 12345, 2**64 - 1)

LARGE = (
    "t.rand(1_000_003)", "t.randn(1_000_003)", "t.randn(300_000) * 3", "t.empty(100_003).uniform_(-0.1, 0.1)",
    "t.randperm(100_003)", "t.randint(1000, (300_000,))", "t.empty(100_000).bernoulli_(0.3)",
    "t.randn(300_001, dtype=t.float16)", "t.rand(100_000, dtype=t.float64)",
)  # fmt: skip

ERRORS = (
    "t.empty(3).uniform_(2, 1)", "t.empty(3, dtype=t.int64).uniform_()", "t.empty(3, dtype=t.float16).uniform_(0, 1e6)",
    "t.empty(3, dtype=t.float16).uniform_(-60000, 60000)", "t.empty(3).normal_(0, -1)",
    "t.empty(3, dtype=t.int64).normal_()", "t.empty(3, dtype=t.bool).normal_()", "t.empty(3).exponential_(0)",
    "t.empty(3, dtype=t.int64).exponential_()", "t.empty(3).cauchy_(0, -1.5)", "t.empty(3, dtype=t.int64).cauchy_()",
    "t.empty(3).log_normal_(0, 0)", "t.empty(3, dtype=t.int64).log_normal_()", "t.empty(3).geometric_(0)",
    "t.empty(3).geometric_(1)", "t.empty(3, dtype=t.bool).geometric_(0.5)", "t.empty(3).bernoulli_(2)",
    "t.empty(3).bernoulli_(-0.1)", "t.empty(3).bernoulli_(t.tensor([0.5, 2.0, 0.1]))",
    "t.empty(3).bernoulli_(t.tensor([1, 0, 1]))", "t.empty(3).bernoulli_(t.rand(4))",
    "t.bernoulli(t.tensor([1.5]))", "t.bernoulli(t.tensor([1]))", "t.bernoulli(t.empty(3), p=3)",
    "t.empty(3).random_(5, 5)", "t.empty(3).random_(7, 5)", "t.empty(3, dtype=t.uint8).random_(0, 300)",
    "t.empty(3, dtype=t.uint8).random_(-1, 3)", "t.empty(3, dtype=t.bool).random_(3)",
    "t.empty(3, dtype=t.int8).random_(2**40)", "t.empty(3, dtype=t.float16).random_(0, 100000)",
    "t.empty(3, dtype=t.int64).random_(0)", "t.empty(3).random_(2**70)", "t.empty(3).random_(1.5)",
    "t.empty(3).random_(2**62, None)", "t.empty(3, dtype=t.int32).random_(-(2**63), None)",
    "t.randint(5)", "t.randint(0, (2,))", "t.randint(5, 2, (2,))", "t.randint(5, (-2,))", "t.randint(0, 5, 2)",
    "t.randint(1.5, (2,))", "t.randint(0, 300, (2,), dtype=t.uint8)", "t.rand(-1)", "t.rand(2, dtype=t.int64)",
    "t.randn(2, dtype=t.int64)", "t.randn(2, generator=3)", "t.rand('a')", "t.rand(2.5)", "t.rand()",
    "t.randn((2,), 3)",
    "t.randperm(-1)", "t.randperm(3.5)", "t.randperm(300, dtype=t.uint8)", "t.randperm(3000, dtype=t.float16)",
    "t.randperm(3, dtype=t.bool)", "t.normal(0, 1)", "t.normal(0.0, t.tensor([-1.0]))", "t.normal(t.zeros(3), -1)",
    "t.normal(t.zeros(3), t.zeros(4))", "t.normal(t.zeros(3, dtype=t.int64), 1.0)",
    "t.normal(0.0, 1.0, (3,), dtype=t.int64)", "t.normal(0, -1, (3,))", "t.normal(0.0, 1.0, size=3)",
    "t.multinomial(t.ones(3), 4)", "t.multinomial(t.ones(3), 0)", "t.multinomial(t.ones(2, 3, 4), 1)",
    "t.multinomial(t.ones(3, dtype=t.int64), 1)", "t.multinomial(t.zeros(3), 1)", "t.multinomial(t.zeros(3), 2, True)",
    "t.multinomial(t.tensor([1.0, -1.0]), 1)", "t.multinomial(t.tensor([1.0, -1.0]), 2, True)",
    "t.multinomial(t.tensor([1.0, float('nan')]), 2, True)", "t.multinomial(t.tensor([1.0, float('inf')]), 2, True)",
    "t.multinomial(t.tensor([1.0, float('inf')]), 2)", "t.multinomial(t.tensor(1.0), 1)",
    "t.multinomial(t.ones(3), 2, out=t.empty(2))", "t.multinomial([1.0, 2.0], 1)", "t.poisson(t.tensor([-1.0]))",
    "t.poisson(t.tensor([1]))", "t.binomial(t.tensor([1]), t.tensor([0.5]))",
    "t.binomial(t.tensor([1.0]), t.tensor([1]))", "t.rand_like([1])", "t.rand_like(t.empty(3, dtype=t.int64))",
    "t.randn_like(t.empty(3, dtype=t.int64))", "t.randint_like(t.empty(3))", "t.randint_like(t.empty(3), 5, 3)",
    "t.manual_seed(2**64)", "t.manual_seed(-(2**63) - 1)", "t.manual_seed('a')", "t.manual_seed(None)",
    "t.Generator().manual_seed(1.5)", "t.Generator().manual_seed(2**65)", "t.Generator('foo')",
    "t.Generator().set_state(t.zeros(3))", "t.Generator().set_state(t.zeros(3, dtype=t.uint8))",
    "t.Generator().set_state(t.zeros(5056, dtype=t.uint8))", "t.Generator().set_state([1])",
    "t.Generator().get_offset()", "t.Generator().set_offset(1)", "t.set_rng_state(t.zeros(3))",
    "t.empty(1).expand(3).uniform_()", "t.empty(1).expand(3).bernoulli_(0.3)", "t.empty(1).expand(3).random_(3)",
    "t.ones(2, requires_grad=True).uniform_()", "t.ones(2, requires_grad=True)[0].uniform_()",
    "t.ones(2, requires_grad=True).random_(3, 2)", "t.dropout(t.empty(3), 1.5, True)",
    "t.dropout(t.empty(3), -0.5, True)",
    "t.dropout(t.ones(3, dtype=t.int64), 0.5, True)", "t.feature_dropout(t.empty(3), 0.5, True)",
    "t.rand(2, out=t.empty(2, requires_grad=True))",
    "t.rand(2, out=t.empty(2, dtype=t.float64), dtype=t.float32)",
    "t.empty(2, dtype=t.complex64).bernoulli_(0.5)", "t.empty(2, dtype=t.complex64).random_(5)",
    "t.empty(2, dtype=t.complex64).exponential_()", "t.random.fork_rng(device_type='foo').__enter__()",
)  # fmt: skip

GRAPHS = (
    "x.normal_()", "x.uniform_()", "x.random_()", "x.random_(3, 7)", "x.bernoulli_(0.5)",
    "x.bernoulli_(t.full((5,), 0.5))", "x.exponential_()", "x.cauchy_()", "x.log_normal_()", "x.geometric_(0.5)",
    "t.bernoulli(x.abs())", "t.poisson(x.abs())", "t.normal(x, 1.0)", "t.normal(0.0, x.abs())",
    "t.normal(x, x.abs())",
    "t.dropout(x, 0.5, True)", "t.dropout(x, 1.0, True)", "t.alpha_dropout(x, 0.5, True)",
    "t.feature_dropout(x.view(1, 5), 0.5, True)", "t.rand_like(x)", "t.dropout_(x, 0.5, True)",
)  # fmt: skip


def _weights(layer: str) -> str:
    return f"t.nn.utils.parameters_to_vector({layer}.parameters()).detach()"


# Initialisation, samplers and loaders: everything that draws from the default generator on a user's behalf.
PROGRAMS = (
    *[
        f"t.nn.init.{scheme}"
        for scheme in (
            "uniform_(t.empty(5, 4), -1, 1)", "normal_(t.empty(5, 4), 1.0, 0.2)",
            "trunc_normal_(t.empty(9, 8))", "trunc_normal_(t.empty(4, 4), 0.0, 1.0, 2.0, 3.0)",
            "orthogonal_(t.empty(6, 4))",
            "trunc_normal_(t.empty(5, 4), std=0.02)",
            "xavier_uniform_(t.empty(5, 4))", "xavier_normal_(t.empty(5, 4), gain=2.0)",
            "kaiming_uniform_(t.empty(5, 4, 3, 3), a=5**0.5)", "kaiming_normal_(t.empty(5, 4, 3, 3), mode='fan_out')",
            "sparse_(t.empty(8, 4), 0.3)",
        )
    ],
    *[
        _weights("t.nn." + layer)
        for layer in (
            "Linear(4, 3)", "Linear(4, 3, bias=False)", "Conv1d(3, 4, 3)", "Conv2d(3, 4, 3)",
            "Conv2d(4, 4, 3, groups=2)",
            "Conv3d(2, 3, 2)", "ConvTranspose2d(3, 4, 3)", "Embedding(6, 5)", "Embedding(6, 5, padding_idx=2)",
            "RNN(4, 3)", "LSTM(4, 3, 2, bidirectional=True)", "GRU(4, 3)", "LSTMCell(3, 4)", "GRUCell(3, 4)",
            "Bilinear(3, 4, 2)", "MultiheadAttention(4, 2)", "MultiheadAttention(4, 2, kdim=3, vdim=6)",
            "TransformerEncoderLayer(4, 2, 8)", "BatchNorm2d(3)", "LayerNorm(4)", "PReLU()",
        )
    ],
    "t.nn.Dropout(0.4)(t.ones(30))", "t.nn.Dropout2d(0.4)(t.ones(2, 9, 2, 2))", "t.nn.AlphaDropout(0.4)(t.ones(20))",
    "t.nn.functional.dropout(t.ones(30), 0.2)", "t.nn.functional.gumbel_softmax(t.zeros(3, 4))",
    "t.cat(list(t.utils.data.DataLoader(t.arange(23), 4, shuffle=True)))",
    "t.cat(list(t.utils.data.DataLoader(t.arange(23), 4, shuffle=True, drop_last=True)))",
    "t.cat(list(t.utils.data.DataLoader(t.arange(9), 2, shuffle=True, generator=t.Generator().manual_seed(3))))",
    "t.tensor(list(t.utils.data.RandomSampler(range(10), replacement=True, num_samples=37)))",
    "t.tensor(list(t.utils.data.RandomSampler(range(10), num_samples=25)))",
    "t.tensor(list(t.utils.data.WeightedRandomSampler([0.1, 0.9, 0.5], 20)))",
    "t.tensor(list(t.utils.data.WeightedRandomSampler([0.1, 0.9, 0.5], 2, replacement=False)))",
    "t.tensor(list(t.utils.data.SubsetRandomSampler([3, 1, 4, 1, 5])))",
    "t.cat([t.tensor(part.indices) for part in t.utils.data.random_split(range(20), [0.5, 0.3, 0.2])])",
)  # fmt: skip

# Their last bit hangs on functions that other libraries compute (see docs/differences.md).
NEARLY = ("gumbel_softmax", "orthogonal_")
