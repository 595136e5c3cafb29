"""Metric learning: a shared embedding net, TripletMarginLoss, a contrastive siamese loss, hard mining with cdist, retrieval."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(7)


class TripletDataset(Dataset):
    """Anchor, another sample of its class, and one of another class."""

    def __init__(self, points, labels):
        self.points, self.labels = points, labels
        self.by_class = {int(c): (labels == c).nonzero(as_tuple=True)[0] for c in labels.unique()}

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        label = int(self.labels[index])
        other = (label + 1 + torch.randint(len(self.by_class) - 1, (1,)).item()) % len(self.by_class)
        positive = self.by_class[label][torch.randint(len(self.by_class[label]), ())]
        negative = self.by_class[other][torch.randint(len(self.by_class[other]), ())]
        return self.points[index], self.points[positive], self.points[negative]


class EmbeddingNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 48), nn.PReLU(), nn.Linear(48, 48), nn.PReLU(), nn.Linear(48, 8))

    def forward(self, x):
        return F.normalize(self.net(x), p=2, dim=1)


class ContrastiveLoss(nn.Module):
    def __init__(self, margin):
        super().__init__()
        self.margin = margin

    def forward(self, out1, out2, target):
        distances = (out2 - out1).pow(2).sum(1)
        losses = 0.5 * (target * distances + (1 - target) * F.relu(self.margin - (distances + 1e-9).sqrt()).pow(2))
        return losses.mean()


def recall_at_1(model):
    model.eval()
    with torch.no_grad():
        emb = model(points)
        distances = torch.cdist(emb, emb).fill_diagonal_(float("inf"))
    return (labels[distances.argmin(1)] == labels).float().mean().item()


labels = torch.arange(6).repeat_interleave(40)
points = torch.randn(6, 16)[labels] + torch.randn(240, 16) * 1.2
model = EmbeddingNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9, nesterov=True)
scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 4], gamma=0.3)
criterion, contrastive = nn.TripletMarginLoss(margin=0.5), ContrastiveLoss(1.0)
print(f"recall@1 before: {recall_at_1(model):.4f}")
for epoch in range(5):
    model.train()
    total = 0.0
    for anchor, positive, negative in DataLoader(TripletDataset(points, labels), batch_size=40, shuffle=True):
        a, p, n = model(anchor), model(positive), model(negative)
        pairs = torch.cat([torch.ones(len(a)), torch.zeros(len(a))])
        loss = criterion(a, p, n) + 0.5 * contrastive(torch.cat([a, a]), torch.cat([p, n]), pairs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(anchor)
    scheduler.step()
    print(f"epoch {epoch} loss {total / len(points):.6f} recall@1 {recall_at_1(model):.4f}")

emb = model(points)
distances = torch.cdist(emb, emb)
same = labels[:, None] == labels[None, :]
hardest_positive = distances.masked_fill(~same, 0).max(1).values
hardest_negative = distances.masked_fill(same, 9).min(1).values
loss = F.relu(hardest_positive - hardest_negative + 0.2).mean() + F.cosine_embedding_loss(emb[:120], emb[120:], -torch.ones(120))
loss.backward()
print(f"hard mining {loss.item():.5f}, gradient {torch.cat([p.grad.flatten() for p in model.parameters()]).norm():.5f}")
