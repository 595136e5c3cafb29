"""Parts of one's own: autograd.Functions, an Optimizer subclass, LambdaLR, einsum attention, parametrization, hooks, gradcheck."""

import math

import torch
import torch.nn as nn
from torch.autograd import Function, gradcheck
from torch.nn.utils import parametrize
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer, required

torch.manual_seed(31)


class Swish(Function):
    @staticmethod
    def forward(ctx, x, beta):
        ctx.save_for_backward(x, beta)
        return x * torch.sigmoid(beta * x)

    @staticmethod
    def backward(ctx, grad_output):
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        return grad_output * (s + beta * x * s * (1 - s)), (grad_output * x * x * s * (1 - s)).sum()


class Binarize(Function):
    """Signs forward, straight through backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_non_differentiable(mask := x.abs() <= 1)
        ctx.save_for_backward(mask)
        return x.sign(), mask

    @staticmethod
    def backward(ctx, grad_output, _):
        return grad_output * ctx.saved_tensors[0]


class Lion(Optimizer):
    def __init__(self, params, lr=required, betas=(0.9, 0.99), weight_decay=0.0):
        if lr is not required and lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if len(state) == 0:
                    state["exp_avg"] = torch.zeros_like(p)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                update = state["exp_avg"] * beta1 + p.grad * (1 - beta1)
                p.add_(torch.tanh(update * 50), alpha=-group["lr"])
                state["exp_avg"].mul_(beta2).add_(p.grad, alpha=1 - beta2)


class EinsumAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.wq, self.wk, self.wv, self.wo = (
            nn.Parameter(torch.randn(heads, dim, dim // heads) / math.sqrt(dim)) for _ in range(4)
        )

    def forward(self, x, mask=None):
        q, k, v = (torch.einsum("bnd,hde->bhne", x, w) for w in (self.wq, self.wk, self.wv))
        scores = torch.einsum("bhie,bhje->bhij", q, k) * self.scale
        if mask is not None:
            scores = scores.masked_fill(mask, -torch.finfo(scores.dtype).max)
        return torch.einsum("bhij,bhje,hde->bid", scores.softmax(-1), v, self.wo)


class Symmetric(nn.Module):
    def forward(self, w):
        return w.triu() + w.triu(1).transpose(-1, -2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.beta = EinsumAttention(12, 3), nn.Parameter(torch.tensor(1.0))
        self.mix, self.out = nn.Linear(12, 12), nn.Linear(12, 1)
        parametrize.register_parametrization(self.mix, "weight", Symmetric())

    def forward(self, x):
        x = x + self.attention(x, torch.ones(x.size(1), x.size(1), dtype=torch.bool).triu(1))
        return self.out(Binarize.apply(Swish.apply(self.mix(x), self.beta))[0].mean(1)).squeeze(-1)


inputs = (torch.randn(5, dtype=torch.double, requires_grad=True), torch.tensor(1.5, dtype=torch.double, requires_grad=True))
print("gradcheck", gradcheck(Swish.apply, inputs))
net, sizes = Net(), {}
net.mix.register_full_backward_hook(lambda m, gin, gout: sizes.update(mix=gout[0].norm().item()))
net.attention.wq.register_hook(lambda g: g.clamp(-0.05, 0.05))
optimizer = Lion(net.parameters(), lr=0.02, weight_decay=0.01)
scheduler = LambdaLR(optimizer, lr_lambda=lambda step: min((step + 1) / 5, 0.95**step))
x = torch.randn(64, 6, 12)
target = x[:, :, 0].max(1).values
for step in range(25):
    optimizer.zero_grad()
    loss = (net(x) - target).pow(2).mean()
    loss.backward()
    optimizer.step()
    scheduler.step()
    if step % 4 == 0:
        print(f"step {step} loss {loss.item():.5f} beta {net.beta.item():.5f} hook {sizes['mix']:.5f} lr {scheduler.get_last_lr()[0]:.5f}")
print("symmetric:", torch.equal(net.mix.weight, net.mix.weight.t()), [name for name, _ in net.named_parameters()])
