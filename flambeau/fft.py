"""`torch.fft`: the functions that the op registry lists under "fft"."""

from flambeau.ops.op import names

globals().update(names["fft"])
__all__ = sorted(names["fft"])
