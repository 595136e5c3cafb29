"""`torch.autocast`: the dtype in which each kind of op computes, as PyTorch's CPU autocast gives it."""

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F

NARROW, WIDE = torch.bfloat16, torch.float32
X, IMAGE, LABELS = torch.ones(2, 3, 4), torch.ones(2, 3, 8, 8), torch.tensor([0, 1, 2])

RESULTS = {
    "linear": (lambda: F.linear(X, torch.ones(5, 4), torch.ones(5)), NARROW),
    "linear without bias": (lambda: F.linear(X, torch.ones(5, 4)), NARROW),
    "matmul": (lambda: X @ torch.ones(4, 2), NARROW),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3)(IMAGE), NARROW),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(3, 4, 3)(IMAGE), NARROW),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3)(X), NARROW),
    "attention": (lambda: F.scaled_dot_product_attention(X, X, X), NARROW),
    "multi-head attention": (lambda: nn.MultiheadAttention(4, 2)(X, X, X)[0], NARROW),
    "layers of a CNN": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())(IMAGE), NARROW),
    "lstm": (lambda: nn.LSTM(4, 3)(X)[0], NARROW),
    "rnn": (lambda: nn.RNN(4, 3)(X)[0], NARROW),
    "gru": (lambda: nn.GRU(4, 3)(X)[0], WIDE),
    "gru of narrow": (lambda: nn.GRU(4, 3)(X.to(NARROW))[0], NARROW),
    "lstm of narrow": (lambda: nn.LSTM(4, 3)(X.to(NARROW))[0], NARROW),
    "lstm cell": (lambda: nn.LSTMCell(4, 3)(X[0])[0], WIDE),
    "lstm cell of narrow": (lambda: nn.LSTMCell(4, 3)(X[0].to(NARROW))[0], NARROW),
    "rnn cell": (lambda: nn.RNNCell(4, 3)(X[0]), NARROW),
    "cross entropy": (lambda: F.cross_entropy(X[0, :, :3].to(NARROW).expand(3, 3), LABELS), WIDE),
    "nll": (lambda: F.nll_loss(X[0, :, :3].to(NARROW).expand(3, 3), LABELS), WIDE),
    "mse": (lambda: F.mse_loss(X.to(NARROW), X.to(NARROW)), WIDE),
    "prod": (lambda: X.to(NARROW).prod(), WIDE),
    "layer norm": (lambda: nn.LayerNorm(4)(X), WIDE),
    "double": (lambda: X.double() @ torch.ones(4, 2).double(), torch.float64),
}


@pytest.mark.parametrize("name", RESULTS)
def test_result_dtype(name):
    compute, expected = RESULTS[name]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert compute().dtype is expected


def test_parameters_and_their_gradients_stay_float32_and_the_network_learns():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    x, y = torch.randn(12, 1, 4, 4), torch.arange(12) % 3
    losses = []
    for _ in range(30):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.dtype is WIDE and p.grad.dtype is WIDE for p in net.parameters())
    assert losses[-1] < 0.1 * losses[0]
