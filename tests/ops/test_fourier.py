"""Fourier transforms against NumPy's, and round trips of spectrograms."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau import fft
from flambeau.autograd.gradcheck import gradcheck, gradgradcheck
from flambeau.tensors import Tensor

RNG = np.random.default_rng(2)
pytestmark = pytest.mark.filterwarnings("ignore:A window was not provided")


def random(*shape: int, complex_: bool = False) -> Tensor:
    values = RNG.uniform(-1, 1, shape)
    return torch.from_numpy(values + 1j * RNG.uniform(-1, 1, shape) if complex_ else values)


ONE = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
MANY = ["fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn"]


@pytest.mark.parametrize("norm", [None, "backward", "forward", "ortho"])
@pytest.mark.parametrize("n", [None, 3, 6, 7])
@pytest.mark.parametrize("name", ONE)
def test_one_dimension_is_numpys(name: str, n: int | None, norm: str | None) -> None:
    x = random(3, 5, complex_=name in ("fft", "ifft", "irfft", "hfft"))
    mine, theirs = getattr(fft, name)(x, n=n, norm=norm), getattr(np.fft, name)(x.numpy(), n=n, norm=norm)
    np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dim", [(0, 1), (1, 2), (2, 0)])
@pytest.mark.parametrize("name", MANY)
def test_several_dimensions_are_numpys(name: str, dim: tuple) -> None:
    x = random(3, 4, 5, complex_=not name.startswith("rfft"))
    mine, theirs = getattr(fft, name)(x, s=(4, 4), dim=dim), getattr(np.fft, name)(x.numpy(), s=(4, 4), axes=dim)
    np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [*ONE, *MANY])
def test_derivatives(name: str) -> None:
    x = random(2, 4, complex_=name not in ("rfft", "ihfft", "rfft2", "rfftn")).requires_grad_()
    assert gradcheck(getattr(fft, name), (x,))
    assert gradgradcheck(getattr(fft, name), (x,))


def test_dtypes() -> None:
    assert fft.fft(torch.ones(4)).dtype is torch.complex64
    assert fft.rfft(torch.arange(4)).dtype is torch.complex64
    assert fft.irfft(torch.ones(3, dtype=torch.complex128)).dtype is torch.float64
    with pytest.raises(RuntimeError, match="rfft expects a real input tensor, but got ComplexFloat"):
        fft.rfft(torch.ones(3, dtype=torch.complex64))
    with pytest.raises(RuntimeError, match="Unsupported dtype Half"):
        fft.fft(torch.ones(3).half())
    with pytest.raises(RuntimeError, match=r"Invalid number of data points \(0\) specified"):
        fft.fft(torch.ones(3), n=0)


@pytest.mark.parametrize("n", [1, 4, 5])
def test_frequencies(n: int) -> None:
    np.testing.assert_allclose(fft.fftfreq(n, 0.5).numpy(), np.fft.fftfreq(n, 0.5), rtol=1e-6)
    np.testing.assert_allclose(fft.rfftfreq(n, 0.5).numpy(), np.fft.rfftfreq(n, 0.5), rtol=1e-6)
    x = random(n, 3)
    np.testing.assert_array_equal(fft.fftshift(x).numpy(), np.fft.fftshift(x.numpy()))
    np.testing.assert_array_equal(fft.ifftshift(x, dim=0).numpy(), np.fft.ifftshift(x.numpy(), axes=0))


@pytest.mark.parametrize("hop", [2, 4])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("onesided", [None, False])
def test_a_spectrogram_gives_its_signal_back(hop: int, normalized: bool, onesided: bool | None) -> None:
    x = random(2, 32)
    window = torch.hann_window(8, dtype=torch.float64)
    common = {"hop_length": hop, "window": window, "normalized": normalized, "onesided": onesided}
    spectrum = torch.stft(x, 8, return_complex=True, **common)
    assert spectrum.shape == (2, 5 if onesided is None else 8, 32 // hop + 1)
    np.testing.assert_allclose(torch.istft(spectrum, 8, length=32, **common).numpy(), x.numpy(), atol=1e-10)


def test_gradients_of_spectrograms() -> None:
    window = torch.hann_window(8, dtype=torch.float64)
    x = random(20).requires_grad_()


    def forth(x: Tensor) -> Tensor:
        return torch.stft(x, 8, 4, window=window, return_complex=True)

    assert gradcheck(forth, (x,))
    assert gradcheck(lambda x: torch.istft(forth(x), 8, 4, window=window), (x,))


def test_windows() -> None:
    np.testing.assert_allclose(torch.hann_window(5, periodic=False).numpy(), np.hanning(5), atol=1e-6)
    np.testing.assert_allclose(torch.hamming_window(5, False).numpy(), np.hamming(5), atol=1e-6)
    np.testing.assert_allclose(torch.blackman_window(6, False).numpy(), np.blackman(6), atol=1e-6)
    np.testing.assert_allclose(torch.bartlett_window(6, False).numpy(), np.bartlett(6), atol=1e-6)
    np.testing.assert_allclose(torch.kaiser_window(6, False, 8.0).numpy(), np.kaiser(6, 8.0), atol=1e-6)
    assert torch.hann_window(4).tolist() == pytest.approx(np.hanning(5)[:4].tolist(), abs=1e-6)
