"""Flambeau: a deep-learning framework with PyTorch's API. This file spells the public names, nothing else."""

from flambeau import methods
from flambeau.dtypes import *
from flambeau.ops.op import names

globals().update(names["torch"])
