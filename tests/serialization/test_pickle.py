"""Python's own protocols on tensors: pickle, copy and deepcopy."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import flambeau
from flambeau.dtypes import ALL
from flambeau.nn.parameter import Parameter, UninitializedBuffer, UninitializedParameter
from flambeau.storage import STORAGE_TYPES, TypedStorage, UntypedStorage
from flambeau.tensors import Tensor, from_array, make

FloatStorage = STORAGE_TYPES[flambeau.float32]


class Tagged(Tensor):
    """A subclass of a user's."""


def tagged(plain: Tensor) -> Tagged:
    return make(plain._storage, plain._shape, plain._strides, plain._offset, plain.dtype, cls=Tagged)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ALL, ids=repr)
def test_every_dtype_and_protocol(dtype, protocol) -> None:
    tensor = flambeau.tensor([[0, 1, 2], [3, 0, 1]]).to(dtype).t()
    found = pickle.loads(pickle.dumps(tensor, protocol))
    assert found.dtype is dtype and found._strides == tensor._strides and found.tolist() == tensor.tolist()


def test_dtypes_sizes_and_devices_pickle_as_themselves() -> None:
    for dtype in ALL:
        assert pickle.loads(pickle.dumps(dtype)) is dtype and copy.deepcopy(dtype) is dtype
    size = pickle.loads(pickle.dumps(flambeau.ones(2, 3).shape))
    assert repr(size) == "torch.Size([2, 3])"


def test_storages_are_shared_within_one_pickle() -> None:
    base = flambeau.arange(6.0)
    first, second = pickle.loads(pickle.dumps((base, base.as_strided((3,), (2,), 1))))
    first.fill_(9)
    assert second.tolist() == [9.0] * 3 and base.tolist() == [0, 1, 2, 3, 4, 5]


def test_empty_tensors_pickle() -> None:
    assert pickle.loads(pickle.dumps(flambeau.zeros(0, 3))).shape == (0, 3)


def test_gradient_flags_parameters_and_attributes_are_kept() -> None:
    leaf = flambeau.ones(2).requires_grad_()
    leaf.tag = "x"
    found = pickle.loads(pickle.dumps(leaf))
    assert found.requires_grad and found.is_leaf and found.tag == "x" and found.grad is None
    for requires_grad in (True, False):
        parameter = pickle.loads(pickle.dumps(Parameter(flambeau.ones(2), requires_grad)))
        assert type(parameter) is Parameter and parameter.requires_grad is requires_grad
    parameter.tag = [1]
    assert pickle.loads(pickle.dumps(parameter)).tag == [1]
    computed = pickle.loads(pickle.dumps(leaf * 2))
    assert computed.is_leaf and computed.requires_grad


def test_parameters_without_a_shape_yet() -> None:
    for kind in (UninitializedParameter, UninitializedBuffer):
        lazy = kind(False)
        for found in (pickle.loads(pickle.dumps(lazy)), copy.deepcopy(lazy)):
            assert type(found) is kind and found is not lazy and not found.requires_grad


def test_subclasses_keep_their_class() -> None:
    tensor = tagged(flambeau.ones(2))
    tensor.note = [1]
    for found in (pickle.loads(pickle.dumps(tensor)), copy.deepcopy(tensor), copy.copy(tensor)):
        assert type(found) is Tagged and found.note == [1] and found.tolist() == [1.0, 1.0]


def test_a_copy_shares_memory_and_a_deepcopy_does_not() -> None:
    for tensor in (flambeau.zeros(3), Parameter(flambeau.zeros(3))):
        shallow, deep = copy.copy(tensor), copy.deepcopy(tensor)
        assert type(shallow) is type(deep) is type(tensor)
        tensor.detach().fill_(1)
        assert shallow.tolist() == [1.0] * 3 and deep.tolist() == [0.0] * 3
        assert shallow.requires_grad == deep.requires_grad == tensor.requires_grad


def test_a_deepcopy_keeps_sharing_layout_and_gradients() -> None:
    base = flambeau.arange(6.0).requires_grad_()
    base.grad = flambeau.ones(6)
    whole, view = copy.deepcopy([base, base.detach().as_strided((2, 3), (1, 2))])
    assert whole.grad is not base.grad and whole.grad.tolist() == [1.0] * 6
    assert view._strides == (1, 2)
    whole.detach().fill_(5)
    assert view.tolist() == [[5.0] * 3] * 2 and base.tolist() == [0, 1, 2, 3, 4, 5]
    twice = copy.deepcopy([base, base])
    assert twice[0] is twice[1]


def test_a_computed_tensor_cannot_be_deepcopied() -> None:
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user .* support the deepcopy"):
        copy.deepcopy(flambeau.ones(2).requires_grad_() * 2)


def test_memory_of_numpy_is_copied() -> None:
    array = np.zeros(3, np.float32)
    found = copy.deepcopy(from_array(array, external=True))
    array[:] = 1
    assert found.tolist() == [0.0] * 3


def test_storages_of_files_and_buffers(tmp_path) -> None:
    bytes_ = FloatStorage.from_buffer(np.array([1, 2, 3], "<f4").tobytes(), "little", 2, 4)
    assert bytes_.tolist() == [2.0, 3.0] and bytes_.dtype is flambeau.float32
    assert FloatStorage.from_buffer(np.array([1], ">f4").tobytes(), byte_order="big").tolist() == [1.0]
    path = tmp_path / "data"
    path.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    private, shared = FloatStorage.from_file(path, size=4), UntypedStorage.from_file(path, shared=True, nbytes=16)
    private[0], shared[4] = 9.0, 1
    assert private.tolist() == [9, 1, 2, 3] and path.read_bytes()[:5] == bytes(4) + b"\x01"
    with pytest.raises(RuntimeError, match="has 16 bytes, fewer than the 400"):
        FloatStorage.from_file(path, size=100)
    with pytest.raises(RuntimeError, match="only valid on subclasses"):
        TypedStorage.from_file(path, size=4)
    assert TypedStorage([1.5, 2.5]).tolist() == [1.5, 2.5] and len(UntypedStorage(5)) == 5
    assert FloatStorage(3).fill_(2).clone().tolist() == [2.0] * 3


def test_storages() -> None:
    tensor = flambeau.arange(4.0)
    typed, raw = tensor.storage(), tensor.untyped_storage()
    assert typed.tolist() == [0, 1, 2, 3] and len(typed) == 4 and typed.dtype is flambeau.float32
    assert raw.nbytes() == len(raw) == 16 and raw.data_ptr() == typed.data_ptr() == tensor.data_ptr()
    typed[1] = 7
    assert tensor.tolist() == [0, 7, 2, 3] and typed[1:3].tolist() == [7, 2]
    assert pickle.loads(pickle.dumps(typed)).tolist() == [0, 7, 2, 3]
    assert typed.pickle_storage_type() == "FloatStorage" and typed.type() == "torch.FloatStorage"
    deep = copy.deepcopy(raw)
    tensor.fill_(0)
    assert bytes(deep.tolist()) != bytes(raw.tolist())
    assert tensor.view(2, 2).untyped_storage() == raw
