"""The rows of the operator tables: what is called, how much arithmetic it takes and how much memory it must touch.

`make(torch)` prepares operands and gives the function that is timed; it returns the tensors it made, whose memory the
clock waits for. `flops` and `bytes` are the least that the mathematics asks for: every operand read once, every result
written once, whatever an implementation keeps in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Run = Callable[[], Any]


class Case(NamedTuple):
    name: str
    make: Callable[[Any], Run]
    flops: float = 0.0
    bytes: float = 0.0


def products() -> Iterator[Case]:
    """Square, skinny and batched matrix products."""
    for n in (64, 128, 256, 512, 1024, 2048):
        yield product(f"gemm {n}", (n, n), (n, n))
    for m in (1, 2, 4, 8, 16):
        for n in (1024, 4096):
            yield product(f"gemm {m} x {n} x {n}", (m, n), (n, n))
    yield product("matrix-vector 4096", (4096, 4096), (4096,))
    yield product("gemm 2048 x 128 x 512", (2048, 128), (128, 512))
    yield product("batched gemm 64 of 128 x 32 x 128", (64, 128, 32), (64, 32, 128))
    yield Case("linear 2048 x 128 to 512, gradients", linear, flops=3 * 2 * 2048 * 128 * 512)


def product(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> Case:
    def make(torch: Any) -> Run:
        x, y = torch.randn(*a), torch.randn(*b)
        return lambda: torch.matmul(x, y)

    columns = b[-1] if len(b) > 1 else 1
    elements = math.prod(a) + math.prod(b) + math.prod(a[:-1]) * columns
    memory_bound = min(a[-2], columns) < 32
    return Case(name, make, 0 if memory_bound else 2 * math.prod(a) * columns, 4 * elements if memory_bound else 0)


def linear(torch: Any) -> Run:
    x, w, b = torch.randn(2048, 128), torch.randn(512, 128), torch.randn(512)
    g = torch.randn(2048, 512)
    for t in (x, w, b):
        t.requires_grad_()
    return lambda: torch.autograd.grad(torch.nn.functional.linear(x, w, b), (x, w, b), g)


# name: images, channels in and out, image size, kernel, stride, padding, groups
CONVOLUTIONS = {
    "LeNet conv1, batch 4": (4, 3, 6, 32, 5, 1, 0, 1),
    "LeNet conv1, batch 128": (128, 3, 6, 32, 5, 1, 0, 1),
    "LeNet conv2, batch 128": (128, 6, 16, 14, 5, 1, 0, 1),
    "ResNet 3 to 64, 32": (32, 3, 64, 32, 3, 1, 1, 1),
    "ResNet 64, 32": (32, 64, 64, 32, 3, 1, 1, 1),
    "ResNet 64 to 128, 32, stride 2": (32, 64, 128, 32, 3, 2, 1, 1),
    "ResNet 128, 16": (32, 128, 128, 16, 3, 1, 1, 1),
    "ResNet 256, 8": (32, 256, 256, 8, 3, 1, 1, 1),
    "ResNet 512, 4": (32, 512, 512, 4, 3, 1, 1, 1),
    "ResNet 64 to 128, 1x1, stride 2": (32, 64, 128, 32, 1, 2, 0, 1),
    "ResNet 3 to 64, 224, 7x7, stride 2": (4, 3, 64, 224, 7, 2, 3, 1),
    "ResNet 64, 56": (8, 64, 64, 56, 3, 1, 1, 1),
    "VGG 64, 112": (2, 64, 64, 112, 3, 1, 1, 1),
    "VGG 256, 56": (2, 256, 256, 56, 3, 1, 1, 1),
    "VGG 512, 14": (8, 512, 512, 14, 3, 1, 1, 1),
    "MobileNet 24 to 144, 1x1": (32, 24, 144, 32, 1, 1, 0, 1),
    "MobileNet 144, depthwise": (32, 144, 144, 32, 3, 1, 1, 144),
    "MobileNet 144, depthwise, stride 2": (32, 144, 144, 32, 3, 2, 1, 144),
    "MobileNet 960, 4, depthwise": (32, 960, 960, 4, 3, 1, 1, 960),
    "MobileNet 320 to 1280, 4, 1x1": (32, 320, 1280, 4, 1, 1, 0, 1),
    "ResNet 64, 32, batch 1": (1, 64, 64, 32, 3, 1, 1, 1),
}  # fmt: skip


def convolutions() -> Iterator[Case]:
    for name, sizes in CONVOLUTIONS.items():
        images, inner, outer, size, kernel, stride, padding, groups = sizes
        out = (size + 2 * padding - kernel) // stride + 1
        flops = 2.0 * images * outer * out * out * (inner // groups) * kernel * kernel
        elements = images * (inner * size * size + outer * out * out) + outer * inner // groups * kernel * kernel
        traffic = 4 * elements if groups > 1 else 0  # depthwise: bound by memory
        for gradients in (False, True):
            times = 3 if gradients else 1
            yield Case(
                name + (", gradients" if gradients else ""),
                convolution(sizes, out, gradients),
                0 if traffic else flops * times, traffic * times,
            )  # fmt: skip
    yield Case("DCGAN transposed 256 to 128, gradients", transposed, flops=3 * 2.0 * 32 * 256 * 128 * 16 * 16)


def convolution(sizes: tuple[int, ...], out: int, gradients: bool) -> Callable[[Any], Run]:
    images, inner, outer, size, kernel, stride, padding, groups = sizes

    def make(torch: Any) -> Run:
        x, w = torch.randn(images, inner, size, size), torch.randn(outer, inner // groups, kernel, kernel)
        settings = {"stride": stride, "padding": padding, "groups": groups}
        conv2d = torch.nn.functional.conv2d
        if not gradients:
            return lambda: conv2d(x, w, **settings)
        x.requires_grad_(), w.requires_grad_()
        g = torch.randn(images, outer, out, out)
        return lambda: torch.autograd.grad(conv2d(x, w, **settings), (x, w), g)

    return make


def transposed(torch: Any) -> Run:
    x, w = torch.randn(32, 256, 4, 4, requires_grad=True), torch.randn(256, 128, 4, 4, requires_grad=True)
    g = torch.randn(32, 128, 8, 8)
    function = torch.nn.functional.conv_transpose2d
    return lambda: torch.autograd.grad(function(x, w, stride=2, padding=1), (x, w), g)


Formula = Callable[..., Any]


def of(name: str, shapes: list[tuple[int, ...]], formula: Formula, traffic: float, gradients: bool = False) -> Case:
    """A case of `formula(torch, *tensors)`; `traffic` counts elements of four bytes."""

    def make(torch: Any) -> Run:
        tensors = [torch.randn(*shape, requires_grad=gradients) for shape in shapes]
        if not gradients:
            return lambda: formula(torch, *tensors)
        g = torch.randn_like(formula(torch, *tensors).detach())
        return lambda: torch.autograd.grad(formula(torch, *tensors), tensors, g)

    return Case(name + (", gradients" if gradients else ""), make, bytes=4.0 * traffic)


BIG = 1 << 24  # elements: 64 MB
MIDDLE = 1 << 16  # in the cache


def elementwise() -> Iterator[Case]:
    for n, word in ((BIG, "64 MB"), (MIDDLE, "256 KB"), (1024, "4 KB")):
        yield of(f"add 1, {word}", [(n,)], lambda t, x: x + 1, 2 * n)
        yield of(f"x * y + z, {word}", [(n,)] * 3, lambda t, x, y, z: x * y + z, 4 * n)
        yield of(f"relu, {word}", [(n,)], lambda t, x: t.relu(x), 2 * n)
        yield of(f"exp, {word}", [(n,)], lambda t, x: t.exp(x), 2 * n)
        yield of(f"gelu, {word}", [(n,)], lambda t, x: t.nn.functional.gelu(x), 2 * n)
        yield of(f"chain of 6, {word}", [(n,)] * 2, lambda t, x, y: ((x * 2 + y).relu() - x).tanh() * y, 3 * n)
        yield of(f"tanh, {word}", [(n,)], lambda t, x: t.tanh(x), 3 * n, gradients=True)
    yield of("rows + row", [(4096, 4096), (4096,)], lambda t, x, y: x + y, 2 * BIG)
    yield of("rows * column", [(4096, 4096), (4096, 1)], lambda t, x, y: x * y, 2 * BIG)
    yield of("row + column", [(4096,), (4096, 1)], lambda t, x, y: x + y, BIG)
    yield of("maps * scale + shift", [(64, 64, 64, 64), (64, 1, 1), (64, 1, 1)], lambda t, x, y, z: x * y + z, 2 * BIG)
    yield of("bias and relu", [(4096, 4096), (4096,)], lambda t, x, y: t.relu(x + y), 3 * BIG, gradients=True)
    yield of("where", [(BIG,)] * 2, lambda t, x, y: t.where(x > 0, x, y), 3 * BIG)
    yield of("comparison", [(BIG,)] * 2, lambda t, x, y: x > y, 2.25 * BIG)


def reductions() -> Iterator[Case]:
    cube, maps, n = (256, 256, 256), (64, 64, 64, 64), 1 << 24
    for dims in (None, 0, 1, 2, (0, 1), (0, 2), (1, 2)):
        yield of(f"sum over {dims if dims is not None else 'all'}", [cube], lambda t, x, d=dims: x.sum(d), n)
    for dim in (0, 1, 2):
        yield of(f"max over {dim}", [cube], lambda t, x, d=dim: x.max(d).values, n)
        yield of(f"argmax over {dim}", [cube], lambda t, x, d=dim: x.argmax(d), n)
    yield of("sum of maps over (0, 2, 3)", [maps], lambda t, x: x.sum((0, 2, 3)), n)
    yield of("mean of maps over (2, 3)", [maps], lambda t, x: x.mean((2, 3)), n)
    yield of("sum of 4096 x 4096 over 0", [(4096, 4096)], lambda t, x: x.sum(0), n)
    yield of("sum of 4096 x 4096 over 1", [(4096, 4096)], lambda t, x: x.sum(1), n)
    yield of("sum of 1048576 x 16 over 0", [(1 << 20, 16)], lambda t, x: x.sum(0), n)
    yield of("sum of 1048576 x 16 over 1", [(1 << 20, 16)], lambda t, x: x.sum(1), n)
    yield of("var over all", [cube], lambda t, x: x.var(), n)
    yield of("norm over all", [cube], lambda t, x: x.norm(), n)
    yield of("dot", [(n,)] * 2, lambda t, x, y: (x * y).sum(), 2 * n)
    yield of("mean over 1, small", [(64, 128)], lambda t, x: x.mean(1), 64 * 129)
    for dim in (0, 1, 2):
        yield of(f"cumsum over {dim}", [cube], lambda t, x, d=dim: x.cumsum(d), 2 * n)
        yield of(f"cummax over {dim}", [cube], lambda t, x, d=dim: x.cummax(d), 4 * n)  # and eight bytes of places


def normalizations() -> Iterator[Case]:
    rows, maps = (8192, 768), (32, 64, 64, 64)
    n, m = math.prod(rows), math.prod(maps)
    layer = lambda t, x, w, b: t.nn.functional.layer_norm(x, (768,), w, b)
    narrow = lambda t, x, w, b: t.nn.functional.layer_norm(x, (64,), w, b)
    batch = lambda t, x, w, b: t.nn.functional.batch_norm(x, None, None, w, b, training=True)
    group = lambda t, x, w, b: t.nn.functional.group_norm(x, 8, w, b)
    for gradients in (False, True):
        times = 4 if gradients else 2  # backward reads the gradient and x or y, and writes
        yield of("softmax 16384 x 1000", [(16384, 1000)], lambda t, x: t.softmax(x, -1), times * 16384e3, gradients)
        yield of("log_softmax 16384 x 1000", [(16384, 1000)], lambda t, x: t.log_softmax(x, 1), times * 16384e3,
                 gradients)  # fmt: skip
        yield of("softmax over the middle", [(256, 1000, 64)], lambda t, x: t.softmax(x, 1), times * 16384e3, gradients)
        yield of("softmax 131072 x 64", [(131072, 64)], lambda t, x: t.softmax(x, 1), times * (1 << 23), gradients)
        yield of("layer_norm 8192 x 768", [rows, (768,), (768,)], layer, times * n, gradients)
        yield of("layer_norm 98304 x 64", [(98304, 64), (64,), (64,)], narrow, times * n, gradients)
        yield of("batch_norm 32 x 64 x 64 x 64", [maps, (64,), (64,)], batch, times * m, gradients)
        yield of("group_norm 32 x 64 x 64 x 64", [maps, (64,), (64,)], group, times * m, gradients)
        yield of("max_pool2d 2", [maps], lambda t, x: t.nn.functional.max_pool2d(x, 2), 0.625 * times * m, gradients)
        yield of("avg_pool2d 2", [maps], lambda t, x: t.nn.functional.avg_pool2d(x, 2), 0.625 * times * m, gradients)
    for heads, length in ((64, 128), (8, 1024)):
        for gradients in (False, True):
            yield attention(heads, length, gradients)


def attention(heads: int, length: int, gradients: bool) -> Case:
    width = 64
    formula = lambda t, q, k, v: t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    case = of(f"attention {heads} x {length} x {width}, causal", [(1, heads, length, width)] * 3, formula, 0, gradients)
    forward = 2.0 * heads * length * length * width  # two products, half of each masked away
    return case._replace(flops=forward * (3.5 if gradients else 1))


def movements() -> Iterator[Case]:
    """Copies, joins, transposes, gathers."""
    square, maps = (4096, 4096), (64, 64, 64, 64)
    yield of("clone, 64 MB", [(BIG,)], lambda t, x: x.clone(), 2 * BIG)
    yield of("copy_, 64 MB", [(BIG,)] * 2, lambda t, x, y: y.copy_(x), 2 * BIG)
    yield of("ones, 64 MB", [], lambda t: t.ones(BIG), BIG)
    yield of("zero_, 64 MB", [(BIG,)], lambda t, x: x.zero_(), BIG)
    yield of("add_, 64 MB", [(BIG,)] * 2, lambda t, x, y: y.add_(x, alpha=1e-9), 3 * BIG)
    yield of("to bfloat16, 64 MB", [(BIG,)], lambda t, x: x.to(t.bfloat16), 1.5 * BIG)
    yield of("to float64, 64 MB", [(BIG,)], lambda t, x: x.to(t.float64), 3 * BIG)
    yield of("cat of 4, 64 MB", [(BIG // 4,)] * 4, lambda t, *x: t.cat(x), 2 * BIG)
    yield of("cat of 4 along 1", [(4096, 1024)] * 4, lambda t, *x: t.cat(x, 1), 2 * BIG)
    yield of("stack of 4 along 0", [(4096, 1024)] * 4, lambda t, *x: t.stack(x), 2 * BIG)
    yield of("stack of 4, innermost", [(4096, 1024)] * 4, lambda t, *x: t.stack(x, -1), 2 * BIG)
    yield of("transpose 4096 x 4096", [square], lambda t, x: x.t().contiguous(), 2 * BIG)
    yield of("transposes, 4096 of 64 x 64", [(4096, 64, 64)], lambda t, x: x.mT.contiguous(), 2 * BIG)
    yield of("heads, 32 x 512 x (16 x 64)", [(32, 512, 16, 64)], lambda t, x: x.transpose(1, 2).contiguous(), 2 * BIG)
    yield of("NCHW to NHWC", [maps], lambda t, x: x.permute(0, 2, 3, 1).contiguous(), 2 * BIG)
    yield of("NHWC to NCHW", [maps], lambda t, x: x.permute(0, 3, 1, 2).contiguous(), 2 * BIG)
    yield of("permute (2, 1, 0)", [(256, 256, 256)], lambda t, x: x.permute(2, 1, 0).contiguous(), 2 * BIG)
    yield of("transposed + other", [square] * 2, lambda t, x, y: x.t() + y, 3 * BIG)
    yield of("every second column", [(4096, 8192)], lambda t, x: x[:, ::2].contiguous(), 3 * BIG)  # in whole lines
    yield of("flip", [square], lambda t, x: x.flip(1), 2 * BIG)
    yield of("roll", [square], lambda t, x: x.roll(7, 1), 2 * BIG)
    for mode in ("constant", "reflect"):
        pad = lambda t, x, mode=mode: t.nn.functional.pad(x, (1, 1, 1, 1), mode)
        yield of(f"pad by 1, {mode}", [maps], pad, BIG * (1 + (66 / 64) ** 2))
    for gradients in (False, True):
        name = "embedding, 131072 of 50000 x 128" + (", gradients" if gradients else "")
        traffic = 2 * INDICES * 128 + (2 * INDICES * 128 + 50_000 * 128 if gradients else 0)
        yield Case(name, embedding(gradients), bytes=4.0 * traffic)
    yield Case("rows by index, 131072 of 50000 x 128", rows_by_index, bytes=4.0 * 2 * INDICES * 128)
    yield Case("gather along 1", gather(1), bytes=16.0 * BIG)
    yield Case("gather along 0", gather(0), bytes=16.0 * BIG)


INDICES = 1 << 17


def embedding(gradients: bool) -> Callable[[Any], Run]:
    def make(torch: Any) -> Run:
        indices, table = torch.randint(0, 50_000, (INDICES,)), torch.randn(50_000, 128, requires_grad=gradients)
        function = torch.nn.functional.embedding
        g = torch.randn(INDICES, 128)
        if not gradients:
            return lambda: function(indices, table)
        return lambda: torch.autograd.grad(function(indices, table), table, g)

    return make


def rows_by_index(torch: Any) -> Run:
    indices, table = torch.randint(0, 50_000, (INDICES,)), torch.randn(50_000, 128)
    return lambda: table[indices]


def gather(dim: int) -> Callable[[Any], Run]:
    """Each element from somewhere in its row or column."""

    def make(torch: Any) -> Run:
        x, indices = torch.randn(4096, 4096), torch.randint(0, 4096, (4096, 4096))
        return lambda: x.gather(dim, indices)

    return make


FAMILIES = {
    "products": products,
    "convolutions": convolutions,
    "elementwise": elementwise,
    "reductions": reductions,
    "normalizations": normalizations,
    "movements": movements,
}
CASES = {case.name: case for family in FAMILIES.values() for case in family()}
