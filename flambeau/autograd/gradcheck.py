"""`gradcheck` and `gradgradcheck`: derivatives against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.autograd import walk
from flambeau.autograd.mode import no_grad
from flambeau.engine import execute
from flambeau.errors import warn_once
from flambeau.tensors import Tensor, detached, from_array, write_array


class GradcheckError(RuntimeError):
    """A derivative that does not agree with finite differences."""


def gradcheck(
    func: Callable, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False, masked: bool | None = None,
) -> bool:  # fmt: skip
    """Compare the Jacobian that backward gives with central differences, for every input that requires grad.

    Inputs should be float64. Returns True, or raises GradcheckError (False without `raise_exception`).
    """
    given = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    try:
        with execute.immediately():  # the same bits each time a function is called, compiled or not
            _check(func, tuple(given), eps, atol, rtol, nondet_tol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(func: Callable, inputs: tuple, eps: float, atol: float, rtol: float, nondet_tol: float) -> None:
    wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have "
            "requires_grad=True."
        )
    if any(x.dtype not in (dtypes.float64, dtypes.complex128) for x in wanted):
        warn_once(
            "Input #0 requires gradient and is not a double precision floating point or complex. This check will "
            "likely fail."
        )
    outputs = _outputs(func, inputs)
    if not outputs:
        raise GradcheckError("Numerical gradient for function expected to be zero: no output requires grad")
    for o, out in enumerate(outputs):
        analytic = _analytic(out, wanted)
        again = _analytic(_outputs(func, inputs)[o], wanted)
        for i, x in enumerate(wanted):
            if not (x.numel() and out.numel()):
                continue
            numeric = _numeric(func, inputs, x, o, eps)
            if not np.allclose(analytic[i], again[i], atol=nondet_tol, rtol=0):
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and grad_output multiple "
                    "times gives different values"
                )
            if not np.allclose(analytic[i], numeric, atol=atol, rtol=rtol):
                raise GradcheckError(
                    f"Jacobian mismatch for output {o} with respect to input {i},\n"
                    f"numerical:{numeric}\nanalytical:{analytic[i]}\n"
                )


def _outputs(func: Callable, inputs: tuple) -> list[Tensor]:
    result = func(*inputs)
    listed = result if isinstance(result, (tuple, list)) else (result,)
    return [out for out in listed if isinstance(out, Tensor) and out.requires_grad]


def _directions(out: Tensor) -> list[complex]:
    return [1.0, 1j] if out.dtype.is_complex else [1.0]


def _analytic(out: Tensor, wanted: Sequence[Tensor]) -> list[np.ndarray]:
    """Rows of real numbers: for each output element (real, then imaginary part) the gradient of each input."""
    rows: list[list[np.ndarray]] = [[] for _ in wanted]
    for k in range(out.numel()):
        for direction in _directions(out):
            seed = np.zeros(out.numel(), out.dtype.np)
            seed[k] = direction
            grads = walk.grad(out, wanted, from_array(seed.reshape(out._shape)), retain_graph=True, allow_unused=True)
            for i, (g, x) in enumerate(zip(grads, wanted)):
                if g is not None and (g._shape != x._shape or g.dtype is not x.dtype):
                    raise GradcheckError("grad is incorrect size or dtype")
                rows[i].append(np.zeros(x.numel(), x.dtype.np) if g is None else g._array().reshape(-1).copy())
    return [_parts(np.array(r).reshape(len(r), x.numel())) for r, x in zip(rows, wanted)]


def _parts(a: np.ndarray) -> np.ndarray:
    return np.concatenate([a.real, a.imag], -1) if a.dtype.kind == "c" else a


def _numeric(func: Callable, inputs: tuple, x: Tensor, o: int, eps: float) -> np.ndarray:
    """The same rows by central differences of each real (and imaginary) part of `x`."""
    columns = []
    original = x._array().copy()
    for direction in [1.0, 1j] if x.dtype.is_complex else [1.0]:
        for k in range(x.numel()):
            found = []
            for sign in (1, -1):
                moved = original.copy().reshape(-1)
                moved[k] += sign * eps * direction
                with no_grad():
                    write_array(detached(x).data, moved.reshape(original.shape))
                found.append(_outputs(func, inputs)[o]._array().copy().reshape(-1))
            write_array(detached(x).data, original)
            slope = (found[0] - found[1]) / (2 * eps)
            if slope.dtype.kind == "c":
                slope = np.stack([slope.real, slope.imag], -1).reshape(-1)
            columns.append(slope)
    return np.array(columns).T if columns else np.zeros((0, 0))


def gradgradcheck(
    func: Callable, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True, nondet_tol: float = 0.0,
    check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False, masked: bool = False,
) -> bool:  # fmt: skip
    """`gradcheck` of the gradient itself."""
    given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    outputs = _outputs(func, given)
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        seeds = []
        for out in outputs:
            noise: Any = rng.standard_normal(out._shape)
            if out.dtype.is_complex:
                noise = noise + 1j * rng.standard_normal(out._shape)
            seed = from_array(np.asarray(noise).astype(out.dtype.np))
            seed.requires_grad = True
            seeds.append(seed)
    else:
        seeds = list(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else [grad_outputs]
    count = len(seeds)

    def gradient(*args: Any) -> tuple:
        xs = args[: len(args) - count]
        wanted = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
        return walk.grad(_outputs(func, xs), wanted, args[len(args) - count :], create_graph=True, allow_unused=True)

    return gradcheck(gradient, (*given, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
                     nondet_tol=nondet_tol)  # fmt: skip
