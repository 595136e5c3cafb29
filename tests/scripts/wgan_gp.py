"""WGAN-GP: the gradient penalty is a second derivative through convolutions, norm layers, leaky ReLU and a norm."""

import torch
import torch.autograd as autograd
import torch.nn as nn
from torch.autograd import Variable
from torch.nn.utils import spectral_norm

torch.manual_seed(2)
latent_dim, lambda_gp, n_critic = 8, 10, 3
Tensor = torch.cuda.FloatTensor if torch.cuda.is_available() else torch.FloatTensor


class Generator(nn.Module):
    def __init__(self):
        super().__init__()

        def block(in_feat, out_feat, normalize=True):
            layers = [nn.Linear(in_feat, out_feat)]
            if normalize:
                layers.append(nn.BatchNorm1d(out_feat, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.model = nn.Sequential(*block(latent_dim, 16, normalize=False), *block(16, 32), nn.Linear(32, 64), nn.Tanh())

    def forward(self, z):
        img = self.model(z)
        return img.view(img.shape[0], 1, 8, 8)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(8, 12, 3, stride=1, padding=1), nn.InstanceNorm2d(12, affine=True), nn.SiLU(),
            nn.AvgPool2d(2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.LayerNorm(48), spectral_norm(nn.Linear(48, 16)), nn.Softplus(), nn.Linear(16, 1))

    def forward(self, img):
        return self.head(self.features(img))


def compute_gradient_penalty(D, real_samples, fake_samples):
    alpha = torch.rand(real_samples.size(0), 1, 1, 1)
    interpolates = (alpha * real_samples + (1 - alpha) * fake_samples).requires_grad_(True)
    d_interpolates = D(interpolates)
    fake = Variable(Tensor(real_samples.shape[0], 1).fill_(1.0), requires_grad=False)
    gradients = autograd.grad(
        outputs=d_interpolates, inputs=interpolates, grad_outputs=fake, create_graph=True, retain_graph=True, only_inputs=True
    )[0]
    gradients = gradients.view(gradients.size(0), -1)
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


generator, discriminator = Generator(), Critic()
optimizer_G = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9))
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.0, 0.9))
rows = torch.linspace(-1, 1, 8)
for i in range(18):
    real_imgs = Variable((rows[:, None] * torch.randn(16, 1, 1, 1) + rows * torch.randn(16, 1, 1, 1)).tanh().type(Tensor))
    optimizer_D.zero_grad()
    fake_imgs = generator(Variable(torch.randn(16, latent_dim)))
    gradient_penalty = compute_gradient_penalty(discriminator, real_imgs.data, fake_imgs.data)
    d_loss = -torch.mean(discriminator(real_imgs)) + torch.mean(discriminator(fake_imgs.detach())) + lambda_gp * gradient_penalty
    d_loss.backward()
    optimizer_D.step()
    if i % n_critic == n_critic - 1:
        optimizer_G.zero_grad()
        g_loss = -torch.mean(discriminator(generator(torch.randn(16, latent_dim))))
        g_loss.backward()
        optimizer_G.step()
        size = torch.norm(torch.stack([p.grad.norm() for p in generator.parameters()]))
        print(f"[Batch {i}] [D loss: {d_loss.item():.5f}] [GP: {gradient_penalty.item():.6f}] [G loss: {g_loss.item():.5f}] [{size:.6f}]")
