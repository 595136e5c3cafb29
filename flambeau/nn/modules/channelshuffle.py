"""Channels of groups, interleaved."""

from __future__ import annotations

from flambeau.nn import functional as F
from flambeau.nn.modules.layer import REQUIRED, layer

ChannelShuffle = layer("ChannelShuffle", F.channel_shuffle, "Channels of groups interleaved.", groups=REQUIRED)
