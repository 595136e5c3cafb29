"""`flambeau.nn.functional`: the functions of neural networks. They are described in `flambeau.ops.nn`."""

from flambeau.ops.op import names

globals().update(names["F"])
__all__ = sorted(names["F"])


def __getattr__(name):  # TEMPORARY until every function has landed
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*args, **kwargs):
        raise NotImplementedError(f"F.{name} has not landed yet")

    missing.__name__ = name
    return missing
