"""The named tuples that functions with several results return: `torch.return_types.max(values=..., indices=...)`."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any


class ReturnType(tuple):
    """A tuple whose parts have names; made from one iterable, as PyTorch's are."""

    __slots__ = ()
    fields: tuple[str, ...] = ()
    n_fields = n_sequence_fields = n_unnamed_fields = 0

    def __new__(cls, iterable: Iterable[Any]) -> ReturnType:
        self = super().__new__(cls, iterable)
        if len(self) != cls.n_fields:
            raise TypeError(
                f"torch.return_types.{cls.__name__}() takes a {cls.n_fields}-sequence ({len(self)}-sequence given)"
            )
        return self

    def __repr__(self) -> str:
        parts = ",\n".join(f"{name}={part!r}" for name, part in zip(self.fields, self))
        return f"torch.return_types.{type(self).__name__}(\n{parts})"

    def __reduce__(self) -> tuple:
        return type(self), (tuple(self),)


def _type(name: str, *fields: str) -> type[ReturnType]:
    parts: dict[str, Any] = {part: property(operator.itemgetter(i)) for i, part in enumerate(fields)}
    parts.update(
        __slots__=(), __module__=__name__, __match_args__=fields, fields=fields, n_fields=len(fields),
        n_sequence_fields=len(fields), __doc__=f"The results of `{name}`: {', '.join(fields)}.",
    )  # fmt: skip
    return type(name, (ReturnType,), parts)


max = _type("max", "values", "indices")
min = _type("min", "values", "indices")
median = _type("median", "values", "indices")
nanmedian = _type("nanmedian", "values", "indices")
mode = _type("mode", "values", "indices")
kthvalue = _type("kthvalue", "values", "indices")
sort = _type("sort", "values", "indices")
topk = _type("topk", "values", "indices")
cummax = _type("cummax", "values", "indices")
cummin = _type("cummin", "values", "indices")
aminmax = _type("aminmax", "min", "max")
histogram = _type("histogram", "hist", "bin_edges")
frexp = _type("frexp", "mantissa", "exponent")
