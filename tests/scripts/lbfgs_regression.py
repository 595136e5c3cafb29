"""Regression without minibatches: lstsq, LBFGS with a closure and strong Wolfe search in double, a Gaussian process, sines."""

import math

import torch
import torch.nn as nn

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)

# A polynomial, in closed form and by gradient descent on its features.
x = torch.linspace(-math.pi, math.pi, 200)
y = torch.sin(x) + 0.1 * torch.randn(200)
features = x.unsqueeze(-1).pow(torch.arange(4))
solution = torch.linalg.lstsq(features, y.unsqueeze(-1)).solution.squeeze()
print("lstsq", solution)
poly = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Flatten(0, 1))
optimizer = torch.optim.Rprop(poly.parameters(), lr=0.01)
for t in range(100):
    loss = nn.functional.mse_loss(poly(features), y, reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"Rprop loss {loss.item():.6f}, away from lstsq {(poly[0].weight - solution).abs().max().item():.4f}")

# A small net by LBFGS.
net = nn.Sequential(nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Softplus(), nn.Linear(10, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.LBFGS(net.parameters(), lr=0.8, max_iter=8, history_size=10, line_search_fn="strong_wolfe")
for i in range(5):

    def closure():
        optimizer.zero_grad()
        loss = criterion(net(x.unsqueeze(1)), y.unsqueeze(1))
        loss.backward()
        return loss

    print(f"STEP {i} loss {optimizer.step(closure).item():.8f}")


# Hyperparameters of a Gaussian process by its marginal likelihood, through Cholesky.
class GP(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_length, self.log_noise, self.log_scale = (nn.Parameter(torch.tensor(v)) for v in (0.0, -2.0, 0.0))

    def kernel(self, a, b):
        return self.log_scale.exp() * torch.exp(-0.5 * (a[:, None] - b[None, :]).pow(2) / self.log_length.exp() ** 2)

    def negative_log_likelihood(self, x, y):
        K = self.kernel(x, x) + self.log_noise.exp() * torch.eye(len(x))
        L = torch.linalg.cholesky(K)
        alpha = torch.cholesky_solve(y.unsqueeze(1), L)
        return 0.5 * y @ alpha.squeeze() + L.diagonal().log().sum() + 0.5 * len(x) * math.log(2 * math.pi)


gp, some = GP(), torch.randperm(200)[:30]
optimizer = torch.optim.Adam(gp.parameters(), lr=0.1)
for step in range(30):
    optimizer.zero_grad()
    nll = gp.negative_log_likelihood(x[some], y[some])
    nll.backward()
    optimizer.step()
    if step % 10 == 9:
        print(f"GP step {step} nll {nll.item():.8f}", *(f"{name}={p.item():.6f}" for name, p in gp.named_parameters()))
hessian = torch.autograd.functional.hessian(lambda w: nn.functional.mse_loss(features[:, :3] @ w, y), solution[:3])
print("eigenvalues", torch.linalg.eigvalsh(hessian))
