"""A variational autoencoder: reparametrization, BCE summed plus KL divergence, samples from the prior."""

import torch
import torch.utils.data
from torch import nn, optim
from torch.nn import functional as F

torch.manual_seed(0)


class VAE(nn.Module):
    def __init__(self, pixels=64, hidden=48, latent=4):
        super().__init__()
        self.pixels, self.latent = pixels, latent
        self.fc1 = nn.Linear(pixels, hidden)
        self.fc21 = nn.Linear(hidden, latent)
        self.fc22 = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, pixels)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return eps.mul(std).add_(mu)

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, self.pixels))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    bce = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld, kld


def blobs(count):
    centre = torch.rand(count, 2, 1, 1) * 6 + 1
    rows = torch.arange(8.0).view(1, 8, 1)
    cols = torch.arange(8.0).view(1, 1, 8)
    return torch.exp(-((rows - centre[:, 0]) ** 2 + (cols - centre[:, 1]) ** 2) / 3).unsqueeze(1)


data = blobs(600)
train_loader = torch.utils.data.DataLoader(data[:500], batch_size=50, shuffle=True)
model = VAE()
optimizer = optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(1, 9):
    model.train()
    total, total_kld = 0, 0
    for batch in train_loader:
        optimizer.zero_grad()
        recon, mu, logvar = model(batch)
        loss, kld = loss_function(recon, batch, mu, logvar)
        loss.backward()
        total += loss.item()
        total_kld += kld.item()
        optimizer.step()
    print(f"====> Epoch: {epoch} Average loss: {total / 500:.5f} KLD: {total_kld / 500:.5f}")

model.eval()
with torch.no_grad():
    recon, mu, logvar = model(data[500:])
    print(f"test loss {loss_function(recon, data[500:], mu, logvar)[0] / 100:.5f}")
    sample = model.decode(torch.randn(4, model.latent)).view(4, 8, 8)
    print("brightest pixel of each sample:", [tuple(divmod(int(s.argmax()), 8)) for s in sample])
    print(sample[0, :3])
