"""Small programs around autograd, written once for Flambeau and PyTorch: `program(torch) -> what it saw`."""

from __future__ import annotations

from typing import Any


def seen(t: Any) -> Any:
    return None if t is None else t.tolist()


def chain(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = (x * x + 2 * x).sqrt()
    y.sum().backward()
    return seen(y), seen(x.grad), y.grad_fn.name()


def accumulates(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        (x * x).sum().backward()
    return seen(x.grad)


def retained(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward(retain_graph=False)
    return seen(x.grad), seen(y.grad), y.is_leaf, x.is_leaf


def double_backward(torch: Any) -> Any:
    x = torch.tensor([1.5, -2.0], requires_grad=True)
    (g,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x, create_graph=True)
    (k,) = torch.autograd.grad(h.sum(), x)
    return seen(g), seen(h), seen(k)


def write_into_row(torch: Any) -> Any:
    w = torch.ones(2, 3, requires_grad=True)
    z = w * 2
    z[0].mul_(3)
    z[:, 1] += w[:, 0]
    (z * z).sum().backward()
    return seen(z), seen(w.grad)


def write_through_two_views(torch: Any) -> Any:
    w = torch.arange(6.0).requires_grad_()
    base = w.clone()
    a, b = base.view(2, 3), base[2:5]
    a.mul_(2)
    b.add_(w[:3])
    out = (a * a).sum() + b.exp().sum() * 0.01
    out.backward()
    return seen(base), seen(w.grad), a.grad_fn is not None, b.requires_grad


def write_into_constant_base(torch: Any) -> Any:
    w = torch.tensor([2.0, 3.0], requires_grad=True)
    base = torch.zeros(4)
    base[1:3] = w * w
    base.sum().backward()
    return seen(base), seen(w.grad), base.requires_grad


def transposed_write(torch: Any) -> Any:
    w = torch.arange(6.0).reshape(2, 3).requires_grad_()
    z = w * 1
    z.t()[1].copy_(torch.tensor([7.0, 8.0]))
    z.T.mul_(2)
    z.sum().backward()
    return seen(z), seen(w.grad)


def inplace_keeps_what_it_needs(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 2
    y.mul_(x)
    y.sum().backward()
    return seen(y), seen(x.grad)


def inplace_activation(torch: Any) -> Any:
    x = torch.tensor([-1.0, 2.0, 3.0], requires_grad=True)
    y = (x * 2).relu_()
    y.exp().sum().backward()
    return seen(x.grad)


def hooks(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    log = []
    x.register_hook(lambda g: log.append(seen(g)))
    y = x * 2
    handle = y.register_hook(lambda g: g * 10)
    y.sum().backward()
    handle.remove()
    (x * 2).sum().backward()
    return log, seen(x.grad)


def detach_shares(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    d = x.detach()
    d[0] = 5
    return seen(x), d.requires_grad, x.data.requires_grad


def no_grad_update(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    with torch.no_grad():
        x -= 0.1 * x.grad
        x.grad.zero_()
    (x * 3).sum().backward()
    return seen(x), seen(x.grad), x.is_leaf


def grad_modes(torch: Any) -> Any:
    x = torch.ones(1, requires_grad=True)
    found = []
    with torch.no_grad():
        found.append((x * 2).requires_grad)
        with torch.enable_grad():
            found.append((x * 2).requires_grad)
    with torch.set_grad_enabled(False):
        found.append((x * 2).requires_grad)
    torch.set_grad_enabled(True)

    @torch.no_grad()
    def f(y: Any) -> Any:
        return y * 2

    found += [f(x).requires_grad, torch.is_grad_enabled()]
    with torch.inference_mode():
        found.append((x * 2).is_inference())
    return found


def custom_function(torch: Any) -> Any:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 3 * x**2

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = Cube.apply(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    return seen(y), seen(g), seen(h), y.grad_fn.name()


def function_with_two_outputs(torch: Any) -> Any:
    class Both(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any, k: Any) -> Any:
            ctx.k = k
            ctx.save_for_backward(a, b)
            return a * b, a + k * b

        @staticmethod
        def backward(ctx: Any, g, h) -> Any:
            a, b = ctx.saved_tensors
            return g * b + h, g * a + ctx.k * h, None

    a = torch.tensor([2.0], requires_grad=True)
    b = torch.tensor([3.0], requires_grad=True)
    p, q = Both.apply(a, b, 4)
    (p + 2 * q).backward()
    return seen(a.grad), seen(b.grad)


def broadcasting(torch: Any) -> Any:
    a = torch.ones(3, 1, requires_grad=True)
    b = torch.ones(1, 4, requires_grad=True)
    c = torch.tensor(2.0, requires_grad=True)
    ((a + b) * c / (a * 3)).sum().backward()
    return seen(a.grad), seen(b.grad), seen(c.grad)


def partial_inputs(torch: Any) -> Any:
    x = torch.tensor([1.0], requires_grad=True)
    y = torch.tensor([2.0], requires_grad=True)
    (x * y).sum().backward(inputs=[x])
    return seen(x.grad), seen(y.grad)


def jacobian_and_hessian(torch: Any) -> Any:
    x = torch.tensor([1.0, 2.0])
    f = torch.autograd.functional
    return (
        seen(f.jacobian(lambda v: v * v.sum(), x)),
        seen(f.hessian(lambda v: (v**3).sum(), x)),
        [seen(t) for t in f.vjp(lambda v: v * 2, x, torch.ones(2))],
        [seen(t) for t in f.jvp(lambda v: v * v, x, torch.ones(2))],
        [seen(t) for t in f.hvp(lambda v: (v**3).sum(), x, torch.ones(2))],
    )


def variable_of_2017(torch: Any) -> Any:
    x = torch.autograd.Variable(torch.ones(2), requires_grad=True)
    (x * 2).sum().backward()
    return seen(x.grad), isinstance(torch.ones(1), torch.autograd.Variable)


def split_pieces(torch: Any) -> Any:
    x = torch.arange(6.0).requires_grad_()
    a, b = x.split(3)
    (a * b).sum().backward()
    return seen(x.grad), a.grad_fn.name(), x.unbind()[0].grad_fn.name()


def next_functions(torch: Any) -> Any:
    x = torch.ones(1, requires_grad=True)
    y = (x * 2 + 1).exp()
    names = []
    node = y.grad_fn
    while node is not None:
        names.append(node.name())
        node = node.next_functions[0][0] if node.next_functions else None
    return names


def expand_twice(torch: Any) -> Any:
    x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    y = x.expand(2, 3)
    (y * torch.arange(6.0).view(2, 3)).sum().backward()
    return seen(x.grad)


def same_gradient_to_two_leaves(torch: Any) -> Any:
    a = torch.zeros(2, requires_grad=True)
    b = torch.zeros(2, requires_grad=True)
    (a + b).sum().backward()
    (a * 2).sum().backward()
    return seen(a.grad), seen(b.grad)


def saved_hooks(torch: Any) -> Any:
    log = []

    def pack(t: Any) -> Any:
        log.append(tuple(t.shape))
        return t * 1

    x = torch.tensor([2.0, 3.0], requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = x * x
    y.sum().backward()
    return len(log) > 0, seen(x.grad)


def as_strided_windows(torch: Any) -> Any:
    x = torch.arange(5.0).requires_grad_()
    y = x.as_strided((3, 3), (1, 1))
    (y * y).sum().backward()
    z = torch.arange(5.0).requires_grad_()
    (z.unfold(0, 3, 1) ** 2).sum().backward()
    return seen(x.grad), seen(z.grad)


PROGRAMS = {
    name: f for name, f in list(globals().items()) if callable(f) and name not in ("seen", "Any") and f.__module__ == __name__
}


# Programs that end in an error, with a part of its text.


def second_backward(torch: Any) -> None:
    x = torch.ones(1, requires_grad=True)
    y = x * x
    y.backward()
    y.backward()


def saved_overwritten(torch: Any) -> None:
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y.mul_(2)
    y.sum().backward()


def saved_input_overwritten(torch: Any) -> None:
    x = torch.ones(3, requires_grad=True) * 1
    y = x * x
    x.add_(1)
    y.sum().backward()


def inplace_result_overwritten(torch: Any) -> None:
    y = (torch.ones(3, requires_grad=True) * 2).relu_()
    y.exp_().sum().backward()


def non_scalar(torch: Any) -> None:
    (torch.ones(2, requires_grad=True) * 2).backward()


def no_history(torch: Any) -> None:
    torch.ones(1).backward()


def leaf_written(torch: Any) -> None:
    torch.ones(2, requires_grad=True).add_(1)


def view_of_leaf_written(torch: Any) -> None:
    torch.ones(2, requires_grad=True)[0].add_(1)


def leaf_assigned(torch: Any) -> None:
    x = torch.ones(2, requires_grad=True)
    x[0] = 3


def split_written(torch: Any) -> None:
    x = torch.ones(4, requires_grad=True) * 1
    x.split(2)[0].add_(1)


def numpy_of_grad(torch: Any) -> None:
    torch.ones(1, requires_grad=True).numpy()


def integer_grad(torch: Any) -> None:
    torch.ones(1, dtype=torch.int64).requires_grad_()


def unused_input(torch: Any) -> None:
    x, z = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    torch.autograd.grad(x * 2, z)


def wrong_gradient_shape(torch: Any) -> None:
    (torch.ones(3, requires_grad=True) * 2).backward(torch.ones(2))


def change_nonleaf_flag(torch: Any) -> None:
    (torch.ones(3, requires_grad=True) * 2).requires_grad = False


def wrong_number_of_gradients(torch: Any) -> None:
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            return a + b

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g

    a = torch.ones(1, requires_grad=True)
    Bad.apply(a, a).backward()


def out_with_grad(torch: Any) -> None:
    x = torch.ones(2, requires_grad=True)
    torch.add(x, x, out=torch.empty(2))


def expanded_written(torch: Any) -> None:
    torch.zeros(1).expand(3).add_(1)


def inplace_shape(torch: Any) -> None:
    torch.zeros(3).add_(torch.ones(2, 3))


def inplace_dtype(torch: Any) -> None:
    torch.zeros(3, dtype=torch.int64).add_(1.5)


def anomaly(torch: Any) -> None:
    with torch.autograd.detect_anomaly():
        x = torch.tensor([-1.0], requires_grad=True)
        x.sqrt().backward()


def view_incompatible(torch: Any) -> None:
    torch.zeros(2, 3).t().view(6)


ERRORS = {
    "second_backward": (second_backward, "Trying to backward through the graph a second time"),
    "saved_overwritten": (saved_overwritten, "modified by an inplace operation"),
    "saved_input_overwritten": (saved_input_overwritten, "modified by an inplace operation"),
    "inplace_result_overwritten": (inplace_result_overwritten, "modified by an inplace operation"),
    "non_scalar": (non_scalar, "grad can be implicitly created only for scalar outputs"),
    "no_history": (no_history, "element 0 of tensors does not require grad and does not have a grad_fn"),
    "leaf_written": (leaf_written, "a leaf Variable that requires grad is being used in an in-place operation."),
    "view_of_leaf_written": (view_of_leaf_written, "a view of a leaf Variable that requires grad is being used"),
    "leaf_assigned": (leaf_assigned, "leaf Variable that requires grad is being used in an in-place operation."),
    "split_written": (split_written, "is a view and is being modified inplace"),
    "numpy_of_grad": (numpy_of_grad, "Can't call numpy() on Tensor that requires grad."),
    "integer_grad": (integer_grad, "nly Tensors of floating point"),
    "unused_input": (unused_input, "The differentiated Tensor at index 0 appears to not have been used in the graph. Set allow_unused"),
    "wrong_gradient_shape": (wrong_gradient_shape, "Mismatch in shape: grad_output[0] has a shape of"),
    "change_nonleaf_flag": (change_nonleaf_flag, "you can only change requires_grad flags of leaf variables."),
    "wrong_number_of_gradients": (wrong_number_of_gradients, "returned an incorrect number of gradients"),
    "out_with_grad": (out_with_grad, "don't support automatic differentiation"),
    "expanded_written": (expanded_written, "more than one element of the written-to tensor refers to a single memory"),
    "inplace_shape": (inplace_shape, "doesn't match the broadcast shape"),
    "inplace_dtype": (inplace_dtype, "can't be cast to the desired output type"),
    "anomaly": (anomaly, "returned nan values in its 0th output"),
    "view_incompatible": (view_incompatible, "view size is not compatible with input tensor's size and stride"),
}
