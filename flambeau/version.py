"""`torch.version`: which PyTorch's behaviour is built, and with what."""

from flambeau._version import __version__ as flambeau

__version__ = f"2.13.0+flambeau{flambeau}"
cuda = hip = xpu = None
debug = False
git_version = "flambeau-" + flambeau
