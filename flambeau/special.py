"""`torch.special`: the functions that the op registry lists under "special"."""

from flambeau.ops.op import names

globals().update(names["special"])
__all__ = sorted(names["special"])
