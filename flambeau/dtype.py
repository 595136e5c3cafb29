"""The former name of `flambeau.dtypes`."""

import sys

from flambeau import dtypes

sys.modules[__name__] = dtypes
