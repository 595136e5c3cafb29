"""The ops of neural networks: everything of `nn.functional`, one file a family."""

from flambeau.ops.nn import (  # noqa: F401
    activation,
    attention,
    conv,
    ctc,
    dropout,
    embedding,
    linear,
    loss,
    loss_margin,
    loss_pointwise,
    normalize,
    pad,
    pool,
    resize,
    softmax,
    vision,
)
