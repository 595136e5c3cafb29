"""The former name of `flambeau.devices`."""

import sys

from flambeau import devices

sys.modules[__name__] = devices
