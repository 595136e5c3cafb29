"""Pooling as kernels: windows of fixed and of adaptive sizes, and what their gradients need."""
