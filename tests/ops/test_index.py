"""Indexing and assignment through it, against NumPy and against PyTorch's recorded shapes, strides and messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.tensors import Tensor

pytestmark = pytest.mark.filterwarnings("ignore:(Using a non-tuple|indexing with dtype)")


def numbers(*shape: int) -> Tensor:
    return torch.arange(float(np.prod(shape))).view(*shape)


def same(mine: Tensor, theirs: Any) -> None:
    np.testing.assert_array_equal(mine.detach().numpy(), theirs)


# -- views -----------------------------------------------------------------------------------------------------

BASIC: list[Any] = [
    0, -1, slice(None), slice(1, None), slice(None, None, 2), slice(5, 1), Ellipsis, None, (0, 1), (0, 1, 2),
    (slice(None), 1), (Ellipsis, 0), (0, Ellipsis), (slice(None), None, slice(0, 2)), (None, 0, None),
    (1, slice(0, 2), -1), np.int64(1), (), (Ellipsis, None),
]  # fmt: skip


@pytest.mark.parametrize("index", BASIC, ids=str)
def test_basic_indexing_is_a_view(index: Any) -> None:
    x = numbers(2, 3, 4)
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    part = x[index]
    same(part, array[index])
    if part.numel():
        part.fill_(-1)
        array[index] = -1
        same(x, array)
    assert part.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_strides_and_offsets_of_views() -> None:
    x = numbers(2, 3, 4)
    assert x[:, ::2].stride() == (12, 8, 1)
    assert x[1, 1:].storage_offset() == 16
    assert x[..., 2].stride() == (12, 4)
    assert x[None].stride()[1:] == (12, 4, 1)


def test_graph_of_views() -> None:
    x = numbers(2, 3).requires_grad_()
    for part, name in ((x[0], "Select"), (x[0:1], "Slice"), (x[...], "Alias"), (x[None], "Unsqueeze"), (x[:], "Slice"),
                       (x[:, 0], "Select"), (x[torch.tensor([0])], "Index")):  # fmt: skip
        assert part.grad_fn is not None
        assert part.grad_fn.name() == f"{name}Backward0"


# -- index tensors ---------------------------------------------------------------------------------------------

I, J = np.array([1, 0, 1]), np.array([[1], [0]])
MASK = np.array([[True, False, True], [False, True, False]])
ADVANCED: list[Any] = [
    I, [1, 0], (slice(None), J[:, 0]), (I, I), (I, slice(None), I), (J, J), (slice(None), I, J), (0, I), (I, 0),
    (Ellipsis, I), (None, I), (I, None), MASK, (MASK, 0), (MASK, slice(1, None)), (0, np.array([True, False, True])),
    (slice(None), np.array([True, False, True]), 1), np.array([-1, -2]), np.zeros((0,), np.int64), [True, False],
    (I[:, None], I), (slice(0, 2), I, slice(0, 2)),
]  # fmt: skip


def torch_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(torch_index(part) for part in index)
    return torch.from_numpy(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", ADVANCED, ids=str)
def test_index_tensors_copy(index: Any) -> None:
    x = numbers(2, 3, 4)
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for spelled in (torch_index(index), index):
        part = x[spelled]
        same(part, array[index])
        assert part._base is None
        part.fill_(0)
    same(x, array)


def test_a_number_before_index_tensors_selects_first() -> None:
    """NumPy counts the number as one more index array, and puts the result's dimension in front."""
    x = numbers(2, 3, 4)
    assert x[0, :, torch.tensor([0, 1, 2])].shape == (3, 3)
    same(x[0, :, torch.tensor([0, 1])], x[0].numpy()[:, [0, 1]])


def test_bools_and_zero_dimensional_indices() -> None:
    x = numbers(2, 3)
    assert x[True].shape == (1, 2, 3)
    assert x[False].shape == (0, 2, 3)
    assert x[torch.tensor(True)].shape == (1, 2, 3)
    assert x[torch.tensor(1)]._is_view()
    assert x[torch.tensor(1) : torch.tensor(2)].shape == (1, 3)
    scalar = torch.tensor(3.0)
    assert scalar[None].shape == (1,)
    assert scalar[...].shape == ()
    assert scalar[torch.tensor(True)].shape == (1,)


def test_uint8_masks_warn() -> None:
    x = numbers(3)
    assert x[torch.tensor([1, 0, 1], dtype=torch.uint8)].tolist() == [0, 2]


def test_strides_of_indexed_permutations() -> None:
    x = numbers(2, 3, 4).permute(2, 1, 0)
    assert x[torch.tensor([[0, 1]])].stride() == (12, 6, 1, 3)
    assert numbers(2, 3, 4).permute(2, 0, 1)[:, :, torch.tensor([0, 1])].stride() == (2, 8, 1)


# -- errors ----------------------------------------------------------------------------------------------------

ERRORS = [
    (5, IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    ((0, -4), IndexError, "index -4 is out of bounds for dimension 1 with size 3"),
    ((0, 0, 0, 0), IndexError, "too many indices for tensor of dimension 3"),
    (torch.tensor([0, 5]), IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    (torch.tensor([0.0]), IndexError, "tensors used as indices must be long, int, byte or bool tensors"),
    (1.0, IndexError, "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid"),
    (slice(None, None, -1), ValueError, "step must be greater than zero"),
    (torch.tensor([True, False, True]), IndexError,
     "The shape of the mask [3] at index 0 does not match the shape of the indexed tensor [2, 3, 4] at index 0"),
    ((torch.tensor([0, 1]), torch.tensor([0, 1, 2])), IndexError,
     "shape mismatch: indexing tensors could not be broadcast together with shapes [2], [3]"),
]  # fmt: skip


@pytest.mark.parametrize(("index", "kind", "message"), ERRORS, ids=str)
def test_errors_of_reading_and_writing(index: Any, kind: type[Exception], message: str) -> None:
    x = numbers(2, 3, 4)
    for attempt in (lambda: x[index], lambda: x.__setitem__(index, 1)):
        with pytest.raises(kind) as caught:
            attempt()
        assert message in str(caught.value)


def test_errors_of_values() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(TypeError, match="can't assign a list to a torch.FloatTensor"):
        x[0] = [1, 2, 3]  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="shape mismatch: value tensor of shape .5. cannot be broadcast to indexing"):
        x[torch.tensor([0])] = torch.ones(5)
    with pytest.raises(RuntimeError, match="source and destination dtypes match, got Float for the destination"):
        x[torch.tensor([0])] = torch.ones(3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"The expanded size of the tensor \(3\) must match"):
        x[0] = torch.ones(2)
    with pytest.raises(RuntimeError, match="some elements of the input tensor and the written-to tensor"):
        x.view(-1)[1:] = x.view(-1)[:-1]
    x = torch.zeros(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[0] = 1
    with pytest.raises(RuntimeError, match="^a leaf Variable that requires grad"):
        x[torch.tensor([0])] = 1


# -- writing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [*BASIC, *ADVANCED], ids=str)
@pytest.mark.parametrize("value", ["number", "tensor", "broadcast"])
def test_assignment_writes_what_numpy_writes(index: Any, value: str) -> None:
    x = numbers(2, 3, 4)
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    shape = array[index].shape
    filler: Any = 7.0
    if value != "number":
        wide = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
        filler = wide if value == "tensor" else wide[..., :1] if shape else wide
    array[index] = filler
    x[torch_index(index)] = torch.from_numpy(np.array(filler)) if isinstance(filler, np.ndarray) else filler
    same(x, array)


def test_values_are_cast_for_views_only() -> None:
    x = torch.zeros(3, dtype=torch.int64)
    x[0] = 1.7
    x[1] = torch.tensor(2.9)
    x[torch.tensor([2])] = 3.2
    assert x.tolist() == [1, 2, 3]


def test_gradients_of_assignment() -> None:
    a = numbers(2, 3).requires_grad_()
    v = torch.tensor([10.0, 20.0, 30.0], requires_grad=True)
    y = a * 2
    y[0] = v
    y[1, 1:] = 5
    y[torch.tensor([1]), torch.tensor([0])] = v[:1] * 3
    y.sum().backward()
    assert a.grad is not None and v.grad is not None
    assert a.grad.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert v.grad.tolist() == [4, 1, 1]


def test_gradient_under_a_mask() -> None:
    a = torch.tensor([-1.0, 2.0, -3.0], requires_grad=True)
    y = a * a
    y[a < 0] = 0
    y.sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [0, 4, 0]


def test_writing_while_reading_the_same_memory() -> None:
    x = torch.arange(6.0).view(2, 3)
    x[:, 0] = x[:, 2]
    x += x[torch.tensor([1, 0])]
    assert x.tolist() == [[7, 5, 7], [7, 5, 7]]


def test_index_put_accumulates_repeats() -> None:
    x = torch.zeros(3)
    x.index_put_((torch.tensor([0, 0, 2]),), torch.tensor([1.0, 2.0, 3.0]), accumulate=True)
    assert x.tolist() == [3, 0, 3]
    wide = torch.zeros(2, 3, 2).index_put((None, torch.tensor([1, 1])), torch.ones(2, 2, 2), accumulate=True)
    assert wide[:, 1].tolist() == [[2, 2], [2, 2]]


def test_numbers_that_do_not_fit() -> None:
    x = torch.zeros(2, dtype=torch.uint8)
    x[0] = -1
    assert x[0].item() == 255
    with pytest.raises(RuntimeError, match="value cannot be converted to type uint8_t without overflow"):
        x[0] = 300


def test_nonzero() -> None:
    x = torch.tensor([[1, 0], [0, 2]])
    assert x.nonzero().tolist() == [[0, 0], [1, 1]]
    rows, columns = torch.nonzero(x, as_tuple=True)
    assert x[rows, columns].tolist() == [1, 2]
    assert torch.tensor(5).nonzero().shape == (1, 0)
    assert torch.argwhere(torch.zeros(3)).shape == (0, 1)
