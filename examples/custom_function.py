"""An autograd Function with its own derivative: the straight-through estimator for rounding.

Rounding has derivative zero almost everywhere, so nothing would be learned through it. The straight-through
estimator (Bengio et al. 2013) pretends that it is the identity; here it trains weights that are whole numbers.

    flambeau run examples/custom_function.py
"""

import torch
from torch import nn


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output  # as if y = x


class Cube(torch.autograd.Function):
    """x ** 3, to show saving a tensor for backward; its derivative is checked below."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return 3 * x * x * grad_output


class WholeNumberLinear(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, Round.apply(self.weight), self.bias)


def main():
    torch.manual_seed(0)
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    print("the derivative of Cube is right:", torch.autograd.gradcheck(Cube.apply, (x,)))

    truth = torch.tensor([[2.0, -3.0, 1.0]])
    inputs = torch.randn(256, 3)
    targets = inputs @ truth.T
    layer = WholeNumberLinear(3, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(layer(inputs), targets)
        loss.backward()
        optimizer.step()
    print("loss %.6f, weights" % loss.item(), layer.weight.round().tolist()[0])


if __name__ == "__main__":
    main()
