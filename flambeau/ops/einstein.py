"""Sums of products named by subscripts: einsum and tensordot.

An equation is parsed into labels, one an operand's dimension; operands are then contracted two at a time, in the order
that costs least, each pair as one matrix product.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.contract import require_scalar_type
from flambeau.ops.elementwise import conj, mul_op
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.ops.views import diagonal_op, permute_op, reshape, select_op
from flambeau.shape import Ints, wrap_dim
from flambeau.tensors import Tensor

records = later("flambeau.engine.kernel.contract.records")

Labels = tuple[int, ...]
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ELLIPSIS = len(_LETTERS)  # labels from here on stand for the dimensions of an ellipsis

# -- two operands ----------------------------------------------------------------------------------------------


def _groups(la: Labels, lb: Labels, lo: Labels) -> tuple[Labels, Labels, Labels, Labels]:
    """Labels of a batch (in all three), of the rows (only in a), of the columns (only in b), and summed ones."""
    batch = tuple(x for x in lo if x in la and x in lb)
    rows = tuple(x for x in lo if x not in lb)
    columns = tuple(x for x in lo if x not in la)
    summed = tuple(x for x in la if x in lb and x not in lo)
    return batch, rows, columns, summed


def _matrices(x: np.ndarray, labels: Labels, batch: Labels, first: Labels, second: Labels) -> np.ndarray:
    """`x` as a batch of matrices, `first` by `second`; read transposed where memory lies that way, to spare a copy."""

    def step(group: Labels) -> int:
        return min((x.strides[labels.index(g)] for g in group if x.shape[labels.index(g)] > 1), default=x.nbytes)

    def folded(a: Labels, b: Labels) -> np.ndarray:
        axes = [labels.index(g) for g in (*batch, *a, *b)]
        sizes = [prod([x.shape[labels.index(g)] for g in group]) for group in (batch, a, b)]
        return x.transpose(axes).reshape(sizes)

    if step(first) < step(second):
        return folded(second, first).swapaxes(1, 2)
    return folded(first, second)


def _pair(a: np.ndarray, b: np.ndarray, la: Labels, lb: Labels, lo: Labels) -> np.ndarray:
    batch, rows, columns, summed = _groups(la, lb, lo)
    left = _matrices(a, la, batch, rows, summed)
    right = _matrices(b, lb, batch, summed, columns)
    product = left[0] @ right[0] if left.shape[0] == 1 else left @ right
    size = dict(zip(la + lb, a.shape + b.shape))
    return product.reshape([size[x] for x in lo])


def _meta_pair(a: Tensor, b: Tensor, la: Labels, lb: Labels, lo: Labels) -> Meta:
    require_scalar_type(a, b)
    size = dict(zip(la + lb, a._shape + b._shape))
    return Meta(tuple([size[x] for x in lo]), a.dtype)


# `lo` lists batch, rows and columns in this order: the product as it comes out, without a copy.
pair_op = op(
    "sumproduct_pair", ref=_pair, meta=_meta_pair, backward_name="ViewBackward0", narrows=True,
    lower=Kernels(records.pair, epilogue=True),
    vjp=(lambda g, _y, _a, b, la, lb, lo: contract_pair(g, lo, conj(b), lb, la),
         lambda g, _y, a, _b, la, lb, lo: contract_pair(conj(a), la, g, lo, lb)),
    samples=lambda t: [call(t(2, 3), t(3, 4), la=(0, 1), lb=(1, 2), lo=(0, 2)),
                       call(t(3, 2, 4), t(2, 3, 5), la=(0, 1, 2), lb=(1, 0, 3), lo=(1, 2, 3)),
                       call(t(3, 4), t(4, 3), la=(0, 1), lb=(1, 0), lo=())],
)  # fmt: skip


def contract_pair(a: Tensor, la: Labels, b: Tensor, lb: Labels, lo: Labels) -> Tensor:
    """The sum of products over labels in both operands and not in `lo`; every other label is in `lo`."""
    batch, rows, columns, summed = _groups(la, lb, lo)
    if not summed:
        return mul_op(_aligned(a, la, lo), _aligned(b, lb, lo))
    order = batch + rows + columns
    result = pair_op(a, b, la=la, lb=lb, lo=order)
    return result if order == lo else permute_op(result, dims=tuple(order.index(x) for x in lo))


def _aligned(x: Tensor, labels: Labels, to: Labels) -> Tensor:
    """`x` with its dimensions in the order `to`, and dimensions of size 1 where it has none."""
    order = tuple(labels.index(g) for g in to if g in labels)
    if order != tuple(range(x.ndim)):
        x = permute_op(x, dims=order)
    sizes = iter(x._shape)
    shape = tuple([next(sizes) if g in labels else 1 for g in to])
    return x if shape == x._shape else reshape(x, shape)


# -- many operands ---------------------------------------------------------------------------------------------


def _prepared(x: Tensor, labels: Labels, size: dict[int, int]) -> tuple[Tensor, Labels]:
    """An operand whose labels are all different and of full size: diagonals taken, broadcast dimensions dropped."""
    left = list(labels)
    for label in dict.fromkeys(labels):
        while left.count(label) > 1:
            d1 = left.index(label)
            d2 = left.index(label, d1 + 1)
            x = diagonal_op(x, k=0, dim1=d1, dim2=d2)
            left = [g for i, g in enumerate(left) if i not in (d1, d2)] + [label]
    for d in range(len(left) - 1, -1, -1):
        if x._shape[d] == 1 and size[left[d]] != 1:
            x = select_op(x, dim=d, index=0)
            del left[d]
    return x, tuple(left)


def _without(x: Tensor, labels: Labels, keep: set[int]) -> tuple[Tensor, Labels]:
    """`x` summed over the labels that nobody else needs."""
    drop = tuple(d for d, g in enumerate(labels) if g not in keep)
    if not drop:
        return x, labels
    return x.sum(drop), tuple(g for g in labels if g in keep)


def _cheapest(terms: list[tuple[Tensor, Labels]], lo: Labels, size: dict[int, int]) -> tuple[int, int]:
    """The two terms whose product costs the fewest multiplications (the earliest such pair)."""
    best, at = None, (0, 1)
    for i in range(len(terms)):
        for j in range(i + 1, len(terms)):
            both = set(terms[i][1]) | set(terms[j][1])
            needed = set(lo).union(*(t[1] for k, t in enumerate(terms) if k not in (i, j)))
            cost = (prod([size[g] for g in both]), prod([size[g] for g in both & needed]))
            if best is None or cost < best:
                best, at = cost, (i, j)
    return at


def contract(terms: list[tuple[Tensor, Labels]], lo: Labels) -> Tensor:
    """The sum over all labels not in `lo` of the product of the terms."""
    size: dict[int, int] = {}
    for x, labels in terms:
        for g, n in zip(labels, x._shape):
            size[g] = n if size.get(g, 1) == 1 else size[g]
    terms = [_prepared(x, labels, size) for x, labels in terms]
    while len(terms) > 1:
        i, j = _cheapest(terms, lo, size) if len(terms) > 2 else (0, 1)
        second, first = terms.pop(j), terms.pop(i)
        needed = set(lo).union(*(labels for _, labels in terms))
        a, la = _without(*first, needed | set(second[1]))
        b, lb = _without(*second, needed | set(la))
        wanted = set(la) | set(lb)
        middle = lo if not terms else tuple(sorted(wanted & needed))
        labels = tuple(g for g in middle if g in wanted)
        terms.insert(i, (contract_pair(a, la, b, lb, labels), labels))
    x, labels = _without(*terms[0], set(lo))
    order = tuple(labels.index(g) for g in lo)
    return x if order == tuple(range(x.ndim)) else permute_op(x, dims=order)


# -- equations -------------------------------------------------------------------------------------------------


def _parse_term(text: str, operand: int | None) -> list[int]:
    """Labels of one operand (or, with None, of the output); -1 stands for the ellipsis."""
    labels: list[int] = []
    where = f"for operand {operand} " if operand is not None else "in output "
    at = 0
    while at < len(text):
        c = text[at]
        if c == ".":
            if -1 in labels:
                raise RuntimeError(f"einsum(): found '.' {where}for which an ellipsis was already found")
            if text[at : at + 3] != "...":
                raise RuntimeError(f"einsum(): found '.' {where}that is not part of any ellipsis")
            labels.append(-1)
            at += 3
            continue
        if c != " ":
            if c not in _LETTERS:
                raise RuntimeError(
                    f"einsum(): invalid subscript given at index {at} in the equation string, subscripts must be in "
                    "[a-zA-Z]"
                )
            labels.append(_LETTERS.index(c))
        at += 1
    return labels


@functools.lru_cache(maxsize=512)
def _parse_equation(equation: str) -> tuple[list[list[int]], list[int] | None]:
    left, arrow, right = equation.partition("->")
    terms = [_parse_term(term, i) for i, term in enumerate(left.split(","))]
    return terms, _parse_term(right, None) if arrow else None


def _parse_sublists(args: Sequence[Any]) -> tuple[list[Tensor], list[list[int]], list[int] | None]:
    """`einsum(x, [0, 1], y, [1, 2], [0, 2])`: operands alternate with lists of labels."""

    def labels(entry: Sequence[Any]) -> list[int]:
        for s in entry:
            if s is not Ellipsis and not 0 <= s < len(_LETTERS):
                raise ValueError(f"einsum(): expected subscript {s} to be within the range [0, 52), but got {s}")
        return [-1 if s is Ellipsis else int(s) for s in entry]

    pairs = len(args) // 2
    out = labels(args[-1]) if len(args) % 2 else None
    return [args[2 * i] for i in range(pairs)], [labels(args[2 * i + 1]) for i in range(pairs)], out


def _check_counts(terms: list[list[int]], operands: Sequence[Tensor]) -> None:
    if len(terms) > len(operands):
        raise RuntimeError("einsum(): fewer operands were provided than specified in the equation")
    if len(terms) < len(operands):
        raise RuntimeError("einsum(): more operands were provided than specified in the equation")
    for i, (labels, x) in enumerate(zip(terms, operands)):
        named = len(labels) - labels.count(-1)
        if -1 not in labels and named != x.ndim:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({named}) does not match the number of dimensions "
                f"({x.ndim}) for operand {i} and no ellipsis was given"
            )
        if named > x.ndim:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({named}) is more than the number of dimensions "
                f"({x.ndim}) for operand {i}"
            )


def _name(label: int) -> str:
    return _LETTERS[label] if label < _ELLIPSIS else "..."


def _check_sizes(terms: list[Labels], operands: Sequence[Tensor]) -> None:
    seen: dict[int, int] = {}
    for i, (labels, x) in enumerate(zip(terms, operands)):
        own: dict[int, int] = {}
        for g, n in zip(labels, x._shape):
            if own.setdefault(g, n) != n:
                raise RuntimeError(
                    f"einsum(): subscript {_name(g)} is repeated for operand {i} but the sizes don't match, {n} != "
                    f"{own[g]}"
                )
            if n != 1 and seen.get(g, 1) not in (1, n):
                raise RuntimeError(
                    f"einsum(): subscript {_name(g)} has size {n} for operand {i} which does not broadcast with "
                    f"previously seen size {seen[g]}"
                )
            seen[g] = max(n, seen.get(g, 1)) if n else 0


def _output_labels(terms: list[list[int]], given: list[int] | None, ellipsis: list[int]) -> Labels:
    used = [g for labels in terms for g in labels if g != -1]
    if given is None:
        once = sorted(g for g in set(used) if used.count(g) == 1)
        return (*ellipsis, *once)
    named = [g for g in given if g != -1]
    for g in named:
        if named.count(g) > 1:
            raise RuntimeError(f"einsum(): output subscript {_name(g)} appears more than once in the output")
        if g not in used:
            raise RuntimeError(
                f"einsum(): output subscript {_name(g)} does not appear in the equation for any input operand"
            )
    return tuple(x for g in given for x in (ellipsis if g == -1 else [g]))


@public("torch")
def einsum(*args: Any) -> Tensor:
    """A sum of products, named by one letter a dimension: `einsum("bij,bjk->bik", x, y)`.

    Letters missing from the output are summed over; `...` stands for dimensions that broadcast; repeated letters take
    diagonals. Without `->` the output has the letters that occur once, in alphabetical order.

    >>> einsum("ij,j->i", tensor([[1, 2], [3, 4]]), tensor([1, 1]))
    tensor([3, 7])

    Raises:
        RuntimeError: the equation is malformed, or sizes do not agree.
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its "
            "subscripts list"
        )
    if isinstance(args[0], str):
        operands = list(args[1]) if len(args) == 2 and isinstance(args[1], (list, tuple)) else list(args[1:])
        terms, out = _parse_equation(args[0])
    else:
        operands, terms, out = _parse_sublists(args)
    for i, x in enumerate(operands):
        require_tensor("einsum", "operands", i + 2, x)
    _check_counts(terms, operands)
    spare = max((x.ndim - len(labels) + 1 for labels, x in zip(terms, operands) if -1 in labels), default=0)
    ellipsis = list(range(_ELLIPSIS, _ELLIPSIS + spare))
    full = [_expanded(labels, x.ndim, ellipsis) for labels, x in zip(terms, operands)]
    _check_sizes(full, operands)
    return contract(list(zip(operands, full)), _output_labels(terms, out, ellipsis))


def _expanded(labels: list[int], ndim: int, ellipsis: list[int]) -> Labels:
    own = ndim - len(labels) + 1
    return tuple(x for g in labels for x in (ellipsis[len(ellipsis) - own :] if g == -1 else [g]))


# -- tensordot -------------------------------------------------------------------------------------------------


def _dot_dims(dims: Any, a: Tensor, b: Tensor) -> tuple[Ints, Ints]:
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, (list, tuple)) and len(dims) == 2 and not isinstance(dims[0], int):
        return tuple(int(d) for d in dims[0]), tuple(int(d) for d in dims[1])
    if isinstance(dims, (list, tuple)):
        first, second = dims
        return (int(first),), (int(second),)
    if dims < 0:
        raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
    if dims > min(a.ndim, b.ndim):
        raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
    return tuple(range(-dims, 0)), tuple(range(dims))


@public("torch", out=True)
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over pairs of dimensions: the last `dims` of `a` with the first of `b`, or two lists of them."""
    first, second = _dot_dims(dims, a, b)
    if len(first) != len(second):
        raise RuntimeError("both dimension lists should have same length")
    la, lb = list(range(a.ndim)), list(range(a.ndim, a.ndim + b.ndim))
    for x, y in zip(first, second):
        d, e = wrap_dim(x, a.ndim), wrap_dim(y, b.ndim)
        n, m = a._shape[d], b._shape[e]
        if n != m and 1 not in (n, m):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {n} in dim {x} and second has size {m} in "
                f"dim {y}"
            )
        lb[e] = la[d]
    out = tuple(g for g in la if g not in lb) + tuple(g for g in lb if g not in la)
    return contract([(a, tuple(la)), (b, tuple(lb))], out)
