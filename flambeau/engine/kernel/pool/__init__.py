"""Pooling as kernels: windows of fixed sizes (`windows.py`) and of adaptive ones (`adaptive.py`), what their gradients
need (`spread.py`), and the planes that all of them go over (`planes.py`).
"""
