"""Convolutions as kernels: forward, the input's gradient, the weights' gradient, transposed.

`lower.py` goes from records to launches; `geometry.py` says what a pass sums, and `choose.py` which kernel it gets.
`prepare.py` lays out what the kernels read; `channels.py`, `pixels.py` and `depthwise*.py` compute the sums,
`weights.py` the weights' gradient, and `lanes.py` turns tiles in registers.
"""
