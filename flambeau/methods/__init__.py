"""What a tensor can do: methods and operators, attached to the bare `Tensor` once, when the package is imported.

Most come from the op registry (`ops.op.names["Tensor"]`); the files here hold what is not an op: structure, conversion,
autograd and Python's protocols.
"""

from __future__ import annotations

from flambeau.methods import convert, gradient, indexing, legacy, operators, persist, structure
from flambeau.ops.op import names
from flambeau.tensors import Tensor


def attach() -> None:
    """Give Tensor its methods: the registry's first, then those written out here."""
    for name, function in names["Tensor"].items():
        setattr(Tensor, name, function)
    for module in (structure, convert, gradient, indexing, legacy, operators, persist):
        for name, member in module.members.items():
            setattr(Tensor, name, member)


attach()
