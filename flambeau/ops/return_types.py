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
histogramdd = _type("histogramdd", "hist", "bin_edges")
frexp = _type("frexp", "mantissa", "exponent")

geqrf = _type("geqrf", "a", "tau")
linalg_cholesky_ex = _type("linalg_cholesky_ex", "L", "info")
linalg_eig = _type("linalg_eig", "eigenvalues", "eigenvectors")
linalg_eigh = _type("linalg_eigh", "eigenvalues", "eigenvectors")
linalg_inv_ex = _type("linalg_inv_ex", "inverse", "info")
linalg_lstsq = _type("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
linalg_lu = _type("linalg_lu", "P", "L", "U")
linalg_lu_factor = _type("linalg_lu_factor", "LU", "pivots")
linalg_lu_factor_ex = _type("linalg_lu_factor_ex", "LU", "pivots", "info")
linalg_qr = _type("linalg_qr", "Q", "R")
linalg_slogdet = _type("linalg_slogdet", "sign", "logabsdet")
linalg_solve_ex = _type("linalg_solve_ex", "result", "info")
linalg_svd = _type("linalg_svd", "U", "S", "Vh")
lu_unpack = _type("lu_unpack", "P", "L", "U")
qr = _type("qr", "Q", "R")
slogdet = _type("slogdet", "sign", "logabsdet")
svd = _type("svd", "U", "S", "V")
triangular_solve = _type("triangular_solve", "solution", "cloned_coefficient")
