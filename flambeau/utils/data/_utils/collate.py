"""From a list of samples to one batch, by the type of the samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flambeau import ops
from flambeau.dtypes import float64
from flambeau.tensors import Tensor
from flambeau.utils.data._utils.containers import is_namedtuple, mapping_like, sequence_like

np_str_obj_array_pattern = re.compile(r"[SaUO]")

default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)

CollateMap = dict[type | tuple[type, ...], Callable]


def default_convert(data: Any) -> Any:
    """Turn every NumPy array in `data` into a Tensor (sharing memory); leave other leaves as they are.

    This is the loader's ``collate_fn`` where batching is off (``batch_size=None``).

    >>> import numpy as np
    >>> from flambeau.utils.data import default_convert
    >>> default_convert({"x": np.array([0, 1]), "name": "a"})
    {'x': tensor([0, 1]), 'name': 'a'}
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, np.ndarray):
        return data if np_str_obj_array_pattern.search(data.dtype.str) else ops.as_tensor(data)
    if isinstance(data, np.generic) and not isinstance(data, str | bytes):
        return ops.as_tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return mapping_like(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return sequence_like(data, [default_convert(item) for item in data])
    return data


def collate(batch: Sequence, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Collate with a table from element type to collate function; containers are descended into.

    The exact type is looked up first, then each entry in order with ``isinstance``. A function in the
    table is called as ``fn(batch, collate_fn_map=collate_fn_map)``.

    Raises RuntimeError where samples are sequences of different lengths, TypeError for a type that neither
    the table nor the containers cover.
    """
    elem = batch[0]
    elem_type = type(elem)
    if collate_fn_map is not None:
        if elem_type in collate_fn_map:
            return collate_fn_map[elem_type](batch, collate_fn_map=collate_fn_map)
        for collate_type, collate_fn in collate_fn_map.items():
            if isinstance(elem, collate_type):
                return collate_fn(batch, collate_fn_map=collate_fn_map)

    def column(samples: Sequence) -> Any:
        return collate(samples, collate_fn_map=collate_fn_map)

    if isinstance(elem, Mapping):
        return mapping_like(elem, {key: column([sample[key] for sample in batch]) for key in elem})
    if is_namedtuple(elem):
        return elem_type(*(column(samples) for samples in zip(*batch, strict=False)))
    if isinstance(elem, Sequence):
        if any(len(sample) != len(elem) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return sequence_like(elem, [column(samples) for samples in zip(*batch, strict=True)])
    raise TypeError(default_collate_err_msg_format.format(elem_type))


def collate_tensor_fn(batch: Sequence[Tensor], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    return ops.stack(batch, 0)


def collate_numpy_array_fn(batch: Sequence[np.ndarray], *, collate_fn_map: CollateMap | None = None) -> Any:
    dtype = batch[0].dtype
    if np_str_obj_array_pattern.search(dtype.str):
        raise TypeError(default_collate_err_msg_format.format(dtype))
    return collate([ops.as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Sequence, *, collate_fn_map: CollateMap | None = None) -> Tensor:
    return ops.as_tensor(np.asarray(batch))


def collate_float_fn(batch: Sequence[float], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    return ops.tensor(batch, dtype=float64)


def collate_int_fn(batch: Sequence[int], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    return ops.tensor(batch)


def collate_str_fn(batch: Sequence, *, collate_fn_map: CollateMap | None = None) -> Sequence:
    return batch


default_collate_fn_map: CollateMap = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch: Sequence) -> Any:
    """Stack a list of samples into a batch with a new first dimension.

    Tensors and NumPy arrays are stacked; ints become int64, bools bool and floats float64 tensors; strings
    and bytes stay lists; dicts, named tuples, tuples (returned as lists) and lists are collated member by
    member. Other types can be added to ``default_collate_fn_map``.

    Raises TypeError for a type that cannot be collated, RuntimeError for samples of unequal size.

    >>> from flambeau.utils.data import default_collate
    >>> default_collate([{"x": 0.5, "name": "a"}, {"x": 1.5, "name": "b"}])
    {'x': tensor([0.5000, 1.5000], dtype=torch.float64), 'name': ['a', 'b']}
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
