"""Who shares memory with whom: views, NumPy, DLPack, copies, versions."""

from __future__ import annotations

import copy
import pickle
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import flambeau
from flambeau.engine import execute


def test_from_numpy_shares_both_ways() -> None:
    array = np.arange(6.0).reshape(2, 3)
    t = flambeau.from_numpy(array)
    array[0, 0] = 10
    t[1, 2] = 20
    assert t[0, 0].item() == 10 and array[1, 2] == 20
    assert t.dtype is flambeau.float64 and t.stride() == (3, 1)


def test_from_numpy_keeps_strides() -> None:
    array = np.arange(12.0).reshape(3, 4)
    t = flambeau.from_numpy(array.T[1:])
    assert t.shape == (3, 3) and t.stride() == (1, 4)
    t.zero_()
    assert array[:, 1:].sum() == 0 and array[:, 0].sum() == 12


def test_numpy_shares_and_follows_in_place_ops() -> None:
    t = flambeau.zeros(3)
    array = t.numpy()
    t.add_(1)
    array[0] = 5
    assert t.tolist() == [5, 1, 1] and array.tolist() == [5, 1, 1]


def test_as_tensor_shares_and_tensor_copies() -> None:
    array = np.zeros(2, np.float32)
    shared, copied = flambeau.as_tensor(array), flambeau.tensor(array)
    array[:] = 1
    assert shared.tolist() == [1, 1] and copied.tolist() == [0, 0]
    assert flambeau.as_tensor(shared) is shared


def test_arrays_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        flambeau.from_numpy(np.arange(3.0)[::-1])
    with pytest.raises(TypeError, match="can't convert np.ndarray of type numpy.str"):
        flambeau.from_numpy(np.array(["a"]))
    with pytest.raises(TypeError, match="expected np.ndarray"):
        flambeau.from_numpy([1.0])


def test_read_only_arrays_are_read_and_not_written() -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    with pytest.warns(UserWarning, match="not writable"):
        t = flambeau.from_numpy(array)
    assert t.sum().item() == 3
    with pytest.raises(RuntimeError, match="read-only"):
        t.add_(1)
    assert array.tolist() == [0, 1, 2]


def test_views_share_and_copies_do_not() -> None:
    x = flambeau.arange(12.0).reshape(3, 4)
    views = [x.t(), x[1], x[:, 1:3], x.view(4, 3), x.unsqueeze(0), x.expand(2, 3, 4), x.diagonal(), x.detach(), x.data]
    for view in views:
        assert view.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    for copied in (x.clone(), x + 0, x[[0, 1]], x[x > 3], x.t().contiguous(), x.t().reshape(12), x.double()):
        assert copied.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
    x.mul_(2)
    assert views[1].tolist() == [8, 10, 12, 14]


def test_version_counts_writes_through_views_but_not_through_data() -> None:
    x = flambeau.zeros(4)
    x[1:].add_(1)
    x.detach().mul_(2)
    assert x._version == 2
    x.data.add_(1)
    assert x._version == 2


def test_dlpack_shares_with_numpy() -> None:
    x = flambeau.arange(4.0)
    array = np.from_dlpack(x)
    assert array.tolist() == [0, 1, 2, 3]
    back = flambeau.from_dlpack(np.arange(3.0, dtype=np.float32))
    assert back.tolist() == [0, 1, 2] and back.dtype is flambeau.float32
    y = flambeau.from_dlpack(x)
    y[0] = 9
    assert x[0].item() == 9
    with pytest.raises(BufferError):
        np.from_dlpack(flambeau.ones(1, requires_grad=True))


def test_numpy_functions_take_tensors() -> None:
    x = flambeau.arange(4.0)
    assert np.asarray(x).dtype == np.float32
    assert np.mean(x.numpy()) == 1.5
    assert (np.float64(2) * x).tolist() == [0, 2, 4, 6]
    assert isinstance(np.ones(4, np.float32) * x, flambeau.Tensor)


def test_deepcopy_and_pickle_keep_shared_memory() -> None:
    x = flambeau.arange(6.0)
    pair = [x, x.view(2, 3)]
    for again in (copy.deepcopy(pair), pickle.loads(pickle.dumps(pair))):
        again[0][0] = 7
        assert again[1][0, 0].item() == 7 and x[0].item() == 0
    leaf = flambeau.ones(2, requires_grad=True)
    assert copy.deepcopy(leaf).requires_grad
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy.deepcopy(leaf * 2)


def test_bfloat16_has_no_numpy_form() -> None:
    with pytest.raises(TypeError, match="BFloat16"):
        flambeau.ones(2, dtype=flambeau.bfloat16).numpy()


def test_view_of_bytes() -> None:
    x = flambeau.tensor([1.0, -2.0])
    assert x.view(flambeau.int32).tolist() == [0x3F800000, -0x40000000]
    assert x.view(flambeau.uint8).shape == (8,)
    with pytest.raises(RuntimeError, match="must be divisible by 2"):
        flambeau.zeros(3).view(flambeau.float64)


def test_iteration_length_membership_and_index() -> None:
    x = flambeau.tensor([[1, 2], [3, 4]])
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]] and len(x) == 2
    assert 3 in x and 9 not in x
    assert [10, 20, 30][flambeau.tensor(1)] == 20
    for bad in (lambda: len(flambeau.tensor(1)), lambda: iter(flambeau.tensor(1))):
        with pytest.raises(TypeError, match="0-d tensor"):
            bad()
    with pytest.raises(RuntimeError, match="Boolean value of Tensor with more than one value is ambiguous"):
        bool(x)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"])
def test_gradients_of_recurrent_layers_have_memory_of_their_own(kind: str) -> None:
    """b_ih and b_hh have equal gradients: scaled in place, as clipping does it, each is scaled once."""
    layer = getattr(flambeau.nn, kind)(3, 2)
    out = layer(flambeau.ones(4, 3) if "Cell" in kind else flambeau.ones(4, 1, 3))
    (out if kind in ("GRUCell", "RNNCell") else out[0]).pow(2).sum().backward()
    before = [p.grad.clone() for p in layer.parameters()]
    for p in layer.parameters():
        p.grad.mul_(0.5)
    assert all(flambeau.equal(p.grad, g * 0.5) for p, g in zip(layer.parameters(), before))


def test_one_array_given_as_two_results_becomes_two_memories() -> None:
    meta = execute.Meta((3,), flambeau.float64)
    twice = SimpleNamespace(multiple=True, ref=lambda: (a := np.zeros(3), a, a[:]))
    storages = execute.record(twice, (), {}, (meta, meta, meta))
    storages[0].value.data[:] = 1
    assert not storages[1].value.data.any() and not storages[2].value.data.any()


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_two_leaves_have_memory_of_their_own(create_graph: bool) -> None:
    a, b = (flambeau.ones(3, requires_grad=True) for _ in range(2))
    (a + b).sum().backward(create_graph=create_graph)
    b.grad.data.mul_(5)
    assert a.grad.tolist() == [1, 1, 1] and b.grad.tolist() == [5, 5, 5]


def test_a_gradient_is_laid_out_like_its_leaf() -> None:
    transposed = flambeau.ones(2, 3).t().requires_grad_()
    spread = flambeau.ones(2, 6)[:, ::2].requires_grad_()
    (transposed.exp().sum() + spread.t().exp().sum()).backward()
    assert transposed.grad.stride() == (1, 3) and spread.grad.stride() == (3, 1)


def test_a_counter_outlives_its_memory() -> None:
    """`data =` keeps the count, also the one that is shared with aliases of the old memory, and lets that memory go."""
    w = flambeau.ones(3)
    w.add_(1)
    assert w.tolist() == [2, 2, 2]  # nothing is pending that would hold the memory
    old = weakref.ref(w._storage.value)
    w.data = flambeau.zeros(3)
    assert w._version == 1 and old() is None
    alias = w.detach()
    w.data = flambeau.full((3,), 2.0)
    alias.add_(1)
    assert (w._version, alias._version) == (2, 2) and w.tolist() == [2, 2, 2]
    apart = w.data
    apart.add_(1)
    assert (w._version, apart._version) == (2, 1) and w.tolist() == [3, 3, 3]


def test_views_that_were_made_before() -> None:
    """The functions that make them are passed over; they tell offsets, kinds of arguments, modes and bases apart."""
    data = flambeau.arange(24.0)
    for at in (0, 8, 16):
        rows = data[at : at + 8].view(2, 4)
        assert rows.storage_offset() == at and rows.t().flatten()[1].item() == at + 4
        assert rows.transpose(0, 1).unsqueeze(0).shape == (1, 4, 2) and rows.transpose(0, 1)._base is data
    for _ in range(2):
        with pytest.raises(TypeError):
            data.view(2.0, 12)  # type: ignore[arg-type]
        with pytest.raises((TypeError, RuntimeError)):
            data.view(24, 2)
        assert data.view(24, 1).shape == data.view((24, 1)).shape == (24, 1)
        assert data.flatten() is data
        w = flambeau.ones(2, 3, requires_grad=True)
        double = w * 2
        with flambeau.no_grad():
            plain = double.view(3, 2)
        assert not plain.requires_grad and double.view(3, 2).grad_fn.name() == "ViewBackward0"
        with pytest.raises(RuntimeError, match="no_grad mode"):
            plain.mul_(double.view(3, 2))
        double.view(3, 2).mul_(3)
        double.view(3, 2)[0].sum().backward()
        assert w.grad.tolist() == [[6.0, 6.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [flambeau.float32, flambeau.bfloat16, flambeau.int64, flambeau.complex64])
def test_large_constants_take_memory_that_nobody_holds(dtype: flambeau.dtype) -> None:
    """Their memory comes from the allocator and goes back to it: not while an array looks at it."""
    shape = (600, 1024)
    for value in (1, 3):
        filled = flambeau.full(shape, value, dtype=dtype)
        array = filled.numpy() if dtype is not flambeau.bfloat16 else filled.float().numpy()
        del filled
        other = flambeau.full(shape, value + 1, dtype=dtype)
        other.mul_(2)
        assert (array == value).all()
        assert bool((other == 2 * (value + 1)).all())
    view = flambeau.ones(shape, dtype=dtype)[3:5]
    flambeau.full(shape, 7, dtype=dtype)
    assert bool((view == 1).all())
