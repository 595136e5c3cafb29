"""Switches of other libraries that PyTorch programs set: cuDNN, CUDA, MPS, MKL. None of them is used here."""

from flambeau.backends import cuda, cudnn, mkl, mkldnn, mps, openmp, quantized

__all__ = ["cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp", "quantized"]
