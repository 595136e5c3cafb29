"""The ops of neural networks: everything of `nn.functional`, one file a family."""

from flambeau.ops.nn import (  # noqa: F401
    activation,
    conv,
    dropout,
    linear,
    loss,
    loss_pointwise,
    normalize,
    pool,
    softmax,
)
