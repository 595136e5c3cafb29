"""Random expressions on tensors: their text, with the shape and dtype they have if all goes well.

In exact programs all numbers are small integers, so that every order of a sum gives the same: what differs is wrong.
The others use smooth functions and keep their numbers near 1, so that rounding does not grow.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

Shape = tuple[int, ...]
FLOATS = ("float16", "bfloat16", "float32", "float64")
RANK = {name: i for i, name in enumerate(("bool", "int32", "int64", *FLOATS))}


@dataclass
class Expr:
    """Text and what it stands for. `grad`: has a history; `name`: it is a variable."""

    text: str
    shape: Shape
    dtype: str
    grad: bool = False
    leaf: bool = False
    name: str = ""

    def then(self, pattern: str, shape: Shape | None = None, dtype: str | None = None) -> Expr:
        """`pattern` applied to it, `{}` standing for its text."""
        kept = self.grad and (dtype or self.dtype) in FLOATS
        return Expr(pattern.replace("{}", self.text), self.shape if shape is None else shape, dtype or self.dtype, kept)


EXACT_UNARY = (
    "(-{})", "{}.abs()", "torch.relu({})", "{}.clamp(-3, 3)", "torch.sign({})", "({} * 2)", "({} + 1)", "(3 - {})",
    "{}.square().clamp(max=9)", "torch.where({} > 1, 1, {})", "{}.masked_fill({} < 0, -1)", "F.hardtanh({}, -2, 2)",
    "F.threshold({}, 0, -1)", "{}.clone()", "{}.floor()", "Cube.apply({}.clamp(-2, 2))", "Gate.apply({}, 0.5)",
    "F.leaky_relu({}, 2)", "({} // 2)", "({} % 3)",
)  # fmt: skip
SMOOTH_UNARY = (
    "torch.tanh({})", "torch.sigmoid({})", "torch.sin({})", "{}.cos()", "{}.clamp(-2, 2).exp()", "({}.abs() + 1).log()",
    "({}.abs() + 0.5).sqrt()", "F.gelu({})", "F.silu({})", "F.softplus({})", "({} * 0.7)", "(1.5 - {})", "{}.clamp(-2, 2).pow(2)",
    "F.leaky_relu({}, 0.1)", "torch.erf({})", "(1 + {} * {}).rsqrt()", "F.hardtanh({})", "({} / 3)", "F.elu({})",
    "Cube.apply({}.clamp(-1, 1))", "Gate.apply({}, 0.25)", "torch.relu({})", "{}.atan()", "torch.expm1({}.clamp(-1, 1))",
    "F.gelu({}, approximate='tanh')", "F.logsigmoid({})", "{}.reciprocal().clamp(-2, 2)", "F.mish({})", "{}.clone()",
)  # fmt: skip
EXACT_BINARY = ("({} + @)", "({} - @)", "({} * @).clamp(-8, 8)", "torch.maximum({}, @)", "torch.minimum({}, @)",
                "torch.where({} > @, {}, @)", "torch.add({}, @, alpha=2)")  # fmt: skip
SMOOTH_BINARY = ("({} + @) * 0.6", "({} - @) * 0.6", "({} * @).tanh()", "torch.maximum({}, @)", "torch.lerp({}, @, 0.3)",
                 "({} / (@.abs() + 1))", "torch.where({} > @, {}, @)", "torch.addcmul({}, {}, @, value=0.1)",
                 "torch.hypot({}, @).clamp(max=3)")  # fmt: skip
COMPARISONS = ("({} > @)", "({} <= @)", "({} == @)", "({} != @)")


class Expressions:
    """Draws expressions over the variables in `scope`."""

    def __init__(self, draw: random.Random, exact: bool) -> None:
        self.draw, self.exact = draw, exact
        self.scope: dict[str, Expr] = {}

    # -- operands ------------------------------------------------------------------------------------------------

    def variable(self, *, floating: bool = True, dims: int | None = None, plain: bool = False) -> Expr | None:
        """One of the variables that fit, or None."""
        fitting = [
            v for v in self.scope.values()
            if (v.dtype in FLOATS) == floating and (dims is None or len(v.shape) >= dims) and not (plain and v.grad)
        ]  # fmt: skip
        return self.draw.choice(fitting) if fitting else None

    def like(self, x: Expr) -> Expr:
        """An operand that broadcasts to x: a variable, or a constant."""
        fitting = [v for v in self.scope.values() if v.dtype in FLOATS and broadcasts(v.shape, x.shape)]
        if fitting and self.draw.random() < 0.8:
            return self.draw.choice(fitting)
        number = str(self.draw.randint(-2, 3)) if self.exact else f"{self.draw.uniform(-1, 1):.3f}"
        if self.draw.random() < 0.5:
            return Expr(f"torch.tensor({number}, dtype=torch.{x.dtype})", (), x.dtype)
        shape = tuple(1 if self.draw.random() < 0.3 else n for n in x.shape[self.draw.randint(0, len(x.shape)) :])
        return Expr(f"torch.full({shape}, {number}, dtype=torch.{x.dtype})", shape, x.dtype)

    def expression(self, depth: int | None = None, plain: bool = False) -> Expr:
        """A float variable with some operations applied to it."""
        x = self.variable(plain=plain) or self.constant()
        for _ in range(self.draw.choice((1, 1, 2, 2, 3, 4)) if depth is None else depth):
            kinds = (
                self.unary,
                self.binary,
                self.rows,
                self.reduced,
                self.product,
                self.picked,
                self.joined,
                self.viewed,
            )
            kind = self.draw.choices(kinds, (6, 6, 3, 2, 2, 2, 1, 3))[0]
            x = kind(x) or self.unary(x)
        return x

    def constant(self) -> Expr:
        shape = self.shape()
        low, high = (-3, 4) if self.exact else (-1, 2)
        return Expr(f"torch.randint({low}, {high}, {shape}).float()", shape, "float32")

    def shape(self) -> Shape:
        sizes = [self.draw.choice((1, 2, 3, 3, 3, 4, 4, 4)) for _ in range(self.draw.choice((1, 2, 2, 2, 3)))]
        if self.draw.random() < 0.02:
            sizes[0] = self.draw.choice((0, 17, 300))
        return tuple(sizes)

    def dim(self, x: Expr) -> int:
        return self.draw.randrange(len(x.shape))

    # -- operations ----------------------------------------------------------------------------------------------

    def unary(self, x: Expr) -> Expr:
        return x.then(self.draw.choice(EXACT_UNARY if self.exact else SMOOTH_UNARY))

    def binary(self, x: Expr) -> Expr:
        y = self.like(x)
        made = x.then(self.draw.choice(EXACT_BINARY if self.exact else SMOOTH_BINARY).replace("@", y.text))
        made.grad = x.grad or y.grad
        made.dtype = max(x.dtype, y.dtype if y.shape or not x.shape else x.dtype, key=RANK.__getitem__)
        return made

    def rows(self, x: Expr) -> Expr | None:
        """Along one dimension, the shape staying."""
        if not x.shape or 0 in x.shape:
            return None
        d = self.dim(x)
        exact = (
            "{}.flip(%d)",
            "{}.roll(1, %d)",
            "{}.cumsum(%d)",
            "{}.sort(dim=%d, stable=True).values",
            "{}.cummax(%d).values",
        )
        smooth = ("{}.softmax(%d)", "{}.log_softmax(%d).clamp(-3, 3)", "F.normalize({}, dim=%d)", "{}.cumsum(%d).tanh()",
                  "({} - {}.mean(%d, keepdim=True))", "({} / (1 + {}.sum(%d, keepdim=True).abs()))",
                  "({} - {}.logsumexp(%d, keepdim=True)).clamp(-2, 2)")  # fmt: skip
        pattern = self.draw.choice(exact if self.exact else exact + smooth * 2).replace("%d", str(d))
        if not self.exact and x.shape[-1] > 1 and self.draw.random() < 0.15:
            pattern = f"F.layer_norm({{}}, ({x.shape[-1]},), eps=0.1)"
        return x.then(pattern)

    def reduced(self, x: Expr) -> Expr | None:
        if not x.shape or 0 in x.shape:
            return None
        d, keep = self.dim(x), self.draw.random() < 0.5
        shape = tuple(1 if i == d else n for i, n in enumerate(x.shape) if keep or i != d)
        exact = ("{}.sum(%d, keepdim=%s)", "{}.amax(%d, keepdim=%s)", "{}.max(%d, keepdim=%s).values",
                 "{}.min(%d, keepdim=%s)[0]")  # fmt: skip
        smooth = ("{}.mean(%d, keepdim=%s)", "{}.logsumexp(%d, keepdim=%s)", "({} + 1.1).norm(dim=%d, keepdim=%s)",
                  "{}.var(%d, unbiased=False, keepdim=%s)", "{}.sum(%d, keepdim=%s).tanh()")  # fmt: skip
        if self.draw.random() < 0.2:
            return x.then("{}.sum()" if self.exact else "{}.mean()", ())
        return x.then(self.draw.choice(exact if self.exact else exact + smooth * 2) % (d, keep), shape)

    def product(self, x: Expr) -> Expr | None:
        """Matrix products."""
        if len(x.shape) < 2 or x.dtype not in ("float32", "float64"):
            return None
        scale = "{}.clamp(-8, 8)" if self.exact else "torch.tanh({} * 0.5)"
        partners = [
            v for v in self.scope.values()
            if len(v.shape) == 2 and v.dtype == x.dtype and x.shape[-1] in v.shape and v.name != x.text
        ]  # fmt: skip
        if not partners or self.draw.random() < 0.3:
            made = x.then("({} @ {}.transpose(-1, -2))", (*x.shape[:-1], x.shape[-2]))
            return made.then(scale)
        y = self.draw.choice(partners)
        if y.shape[1] == x.shape[-1]:
            pattern, width = f"F.linear({{}}, {y.text})", y.shape[0]
        else:
            pattern, width = f"({{}} @ {y.text})", y.shape[1]
        made = x.then(pattern, (*x.shape[:-1], width)).then(scale)
        made.grad = x.grad or y.grad
        return made

    def picked(self, x: Expr) -> Expr | None:
        """Indexing that copies."""
        if not x.shape or 0 in x.shape:
            return None
        d = self.dim(x)
        count = self.draw.randint(1, 4)
        picks = [self.draw.randrange(x.shape[d]) for _ in range(count)]
        shape = tuple(count if i == d else n for i, n in enumerate(x.shape))
        colons = ":, " * d
        patterns = (f"{{}}.index_select({d}, torch.tensor({picks}))", f"{{}}[{colons}{picks}]",
                    f"torch.take_along_dim({{}}, torch.tensor({picks}).view({[-1 if i == d else 1 for i in range(len(x.shape))]}), {d})")  # fmt: skip
        return x.then(self.draw.choice(patterns), shape)

    def joined(self, x: Expr) -> Expr | None:
        if not x.shape or len(x.shape) > 3:
            return None
        same = [v for v in self.scope.values() if v.shape == x.shape and v.dtype == x.dtype]
        y = self.draw.choice(same) if same else x
        d = self.dim(x)
        if self.draw.random() < 0.6:
            shape = tuple(2 * n if i == d else n for i, n in enumerate(x.shape))
            made = x.then(f"torch.cat([{{}}, {y.text}], {d})", shape)
        else:
            made = x.then(f"torch.stack([{{}}, {y.text}], {d})", (*x.shape[:d], 2, *x.shape[d:]))
        made.grad = x.grad or y.grad
        return made

    def viewed(self, x: Expr) -> Expr | None:
        """A view, as an expression."""
        views = list(view_patterns(self.draw, x))
        return x.then(*self.draw.choice(views)) if views else None


def broadcasts(small: Shape, large: Shape) -> bool:
    return len(small) <= len(large) and all(s in (1, n) for s, n in zip(small[::-1], large[::-1]))


def view_patterns(draw: random.Random, x: Expr) -> list[tuple[str, Shape]]:
    """The ways to see a tensor differently without copying it."""
    shape, rank = x.shape, len(x.shape)
    if not rank or 0 in shape:
        return [("{}.view(1)", (1,)), ("{}.unsqueeze(0)", (1,))] if not rank else []
    d, n = draw.randrange(rank), shape
    start = draw.randrange(n[d])
    colons, rest = ":, " * d, tuple(s for i, s in enumerate(n) if i != d)
    cut = lambda length: tuple(length if i == d else s for i, s in enumerate(n))
    total = 1
    for s in n:
        total *= s
    found = [
        (f"{{}}[{colons}{start}]", rest),
        (f"{{}}[{colons}{start}:]", cut(n[d] - start)),
        (f"{{}}[{colons}::2]", cut((n[d] + 1) // 2)),
        (f"{{}}.narrow({d}, {start}, 1)", cut(1)),
        (f"{{}}.select({d}, {-1 - start})", rest),
        (f"{{}}.unsqueeze({d})", (*n[:d], 1, *n[d:])),
        ("{}.reshape(-1)", (total,)),
        (f"{{}}.expand(2, {', '.join(map(str, n))})", (2, *n)),
        (f"{{}}.chunk(2, {d})[0]", cut((n[d] + 1) // 2)),
        (f"{{}}.unbind({d})[{start}]", rest),
        (f"{{}}.view({n})", n),
    ]
    if rank >= 2:
        other = (d + 1) % rank
        swapped = list(n)
        swapped[d], swapped[other] = n[other], n[d]
        found += [(f"{{}}.transpose({d}, {other})", tuple(swapped))] * 2
        found += [("{}.flatten(0, 1)", (n[0] * n[1], *n[2:]))]
    if rank == 2:
        found += [("{}.t()", n[::-1]), ("{}.diagonal()", (min(n),))]
    return found
