"""The former name of `flambeau.tensors`."""

import sys

from flambeau import tensors

sys.modules[__name__] = tensors
