"""Convolutions as kernels: forward, the input's gradient, the weights' gradient, transposed."""
