"""Recommending: user and item embeddings with biases, SGD then Adagrad, EmbeddingBag over genres, ranking by topk."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

np.random.seed(0)
torch.manual_seed(0)
n_users, n_items, rank = 60, 40, 3
true_u, true_v = np.random.randn(n_users, rank), np.random.randn(n_items, rank)
ratings = np.clip(np.round(3 + true_u @ true_v.T * 0.8), 1, 5).astype(np.float32)
seen = np.random.rand(n_users, n_items) < 0.5
users, items = (torch.from_numpy(a) for a in np.nonzero(seen))
values = torch.from_numpy(ratings[seen])
genres = [torch.randint(0, 6, (int(n),)) for n in torch.randint(1, 4, (n_items,))]
offsets = torch.tensor([0] + [len(g) for g in genres[:-1]]).cumsum(0)


class MatrixFactorization(nn.Module):
    def __init__(self, n_factors=6):
        super().__init__()
        self.user_factors = nn.Embedding(n_users, n_factors)
        self.item_factors = nn.Embedding(n_items, n_factors, max_norm=3.0)
        self.user_biases, self.item_biases = nn.Embedding(n_users, 1), nn.Embedding(n_items, 1)
        self.genres = nn.EmbeddingBag(6, n_factors, mode="mean")
        self.user_factors.weight.data.uniform_(-0.3, 0.3)
        self.item_factors.weight.data.uniform_(-0.3, 0.3)
        for bias in (self.user_biases, self.item_biases):
            nn.init.zeros_(bias.weight)
        self.register_buffer("mean", values.mean())

    def forward(self, user, item):
        taste = self.item_factors(item) + 0.3 * self.genres(torch.cat(genres), offsets)[item]
        pred = self.user_biases(user) + self.item_biases(item)
        pred += (self.user_factors(user) * taste).sum(1, keepdim=True)
        return pred.squeeze() + self.mean


model = MatrixFactorization()
loss_fn = nn.MSELoss()
loader = DataLoader(TensorDataset(users, items, values), batch_size=100, shuffle=True)
for name, optimizer in (
    ("SGD", torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=1e-4)),
    ("Adagrad", torch.optim.Adagrad(model.parameters(), lr=0.1, lr_decay=1e-3)),
):
    for epoch in range(4):
        se = 0.0
        for row, col, rating in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(row, col), rating)
            loss.backward()
            optimizer.step()
            se += loss.item() * len(rating)
        print(f"{name} epoch {epoch} RMSE {(se / len(values)) ** 0.5:.6f}")

with torch.no_grad():
    unseen_u, unseen_i = (torch.from_numpy(a) for a in np.nonzero(~seen))
    error = (model(unseen_u, unseen_i).clamp(1, 5) - torch.from_numpy(ratings[~seen])).abs().mean()
    everything = model(torch.arange(n_users).repeat_interleave(n_items), torch.arange(n_items).repeat(n_users))
    scores = everything.view(n_users, n_items).numpy()
scores[seen] = -np.inf
print(f"unseen MAE {error:.5f}")
print("best unseen score of ten users:", np.round(scores.max(1)[:10], 3).tolist())
print("norms", model.user_factors.weight.norm(dim=1)[:5].data, model.mean)
