"""MAML on sine waves: fast weights through autograd.grad(create_graph=True), functional forward, and func.functional_call."""

import math

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(11)


class SineNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))

    def argforward(self, x, weights):
        x = torch.tanh(F.linear(x, weights[0], weights[1]))
        x = torch.tanh(F.linear(x, weights[2], weights[3]))
        return F.linear(x, weights[4], weights[5])

    def forward(self, x):
        return self.net(x)


class Task:
    def __init__(self):
        self.amplitude = torch.empty(1).uniform_(0.5, 3.0).item()
        self.phase = torch.empty(1).uniform_(0, math.pi).item()

    def sample(self, n):
        x = torch.rand(n, 1) * 10 - 5
        return x, self.amplitude * torch.sin(x + self.phase)


def inner_loop(model, task, steps=2, inner_lr=0.02, first_order=False):
    weights = [w.clone() for w in model.parameters()]
    x, y = task.sample(10)
    for _ in range(steps):
        loss = F.mse_loss(model.argforward(x, weights), y)
        grads = torch.autograd.grad(loss, weights, create_graph=not first_order)
        weights = [w - inner_lr * g for w, g in zip(weights, grads)]
    x, y = task.sample(10)
    return F.mse_loss(model.argforward(x, weights), y)


model = SineNet()
meta_optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for iteration in range(1, 31):
    meta_loss = sum(inner_loop(model, Task()) for _ in range(4)) / 4
    meta_grads = torch.autograd.grad(meta_loss, list(model.parameters()))
    for p, g in zip(model.parameters(), meta_grads):
        p.grad = g
    meta_optimizer.step()
    if iteration % 5 == 0:
        size = torch.sqrt(sum((g**2).sum() for g in meta_grads))
        print(f"iteration {iteration:3d} meta loss {meta_loss.item():.6f} meta gradient {size.item():.6f}")

torch.manual_seed(12)
second = torch.autograd.grad(inner_loop(model, Task()), list(model.parameters()))
torch.manual_seed(12)
first = torch.autograd.grad(inner_loop(model, Task(), first_order=True), list(model.parameters()))
cosine = F.cosine_similarity(nn.utils.parameters_to_vector(second), nn.utils.parameters_to_vector(first), dim=0)
print(f"first- and second-order gradients: cosine {cosine.item():.6f}")

params = {k: v.detach() for k, v in model.named_parameters()}
x, y = Task().sample(5)
gradient = torch.func.grad(lambda p: F.mse_loss(torch.func.functional_call(model, p, (x,)), y))(params)
print("functional_call:", {k: round(v.norm().item(), 5) for k, v in gradient.items()})
per_sample = torch.func.vmap(lambda a, b: torch.func.functional_call(model, params, (a,)).sub(b).square().mean())(x, y)
print("per sample:", per_sample)
