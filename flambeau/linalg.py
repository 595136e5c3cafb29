"""`torch.linalg`: the functions that the op registry lists under "linalg"."""

from flambeau.ops.op import names

globals().update(names["linalg"])
__all__ = sorted(names["linalg"])
