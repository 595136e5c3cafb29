"""`flambeau.nn.functional`: the functions of neural networks. They are described in `flambeau.ops.nn`."""

from flambeau.ops.op import names

globals().update(names["F"])
__all__ = sorted(names["F"])
