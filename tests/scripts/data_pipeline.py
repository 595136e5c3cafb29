"""Data handling: Datasets, a collate function, WeightedRandomSampler, a batch sampler, workers, an IterableDataset; a GRU classifier."""

import torch
import torch.nn as nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, Dataset, IterableDataset, Sampler, Subset
from torch.utils.data import WeightedRandomSampler, get_worker_info, random_split


class Sequences(Dataset):
    """Class 0 goes up, class 1 goes down; lengths differ; class 1 is rare."""

    def __init__(self, count, seed, transform=None):
        generator = torch.Generator().manual_seed(seed)
        self.labels = (torch.rand(count, generator=generator) < 0.25).long()
        self.lengths = torch.randint(3, 9, (count,), generator=generator)
        self.noise = [torch.randn(int(n), 2, generator=generator) for n in self.lengths]
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        slope = 1 - 2 * self.labels[i].item()
        sample = self.noise[i] + slope * 0.3 * torch.arange(len(self.noise[i])).unsqueeze(1)
        return {"x": self.transform(sample) if self.transform else sample, "y": self.labels[i], "index": i}


class Jitter:
    def __call__(self, sample):
        return sample + 0.05 * torch.randn_like(sample)  # drawn in the worker, from the worker's seed


class ByLength(Sampler):
    def __init__(self, lengths):
        self.lengths = lengths

    def __iter__(self):
        return iter(torch.argsort(self.lengths, stable=True).tolist())

    def __len__(self):
        return len(self.lengths)


class Stream(IterableDataset):
    def __iter__(self):
        info = get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        yield from range(start, 20, step)


def collate(batch):
    lengths = torch.tensor([len(item["x"]) for item in batch])
    return pad_sequence([item["x"] for item in batch], batch_first=True), lengths, torch.stack([item["y"] for item in batch])


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(2, 12, num_layers=2, batch_first=True), nn.Linear(12, 2)

    def forward(self, x, lengths):
        _, hidden = self.gru(pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False))
        return self.head(hidden[-1])


def main():
    torch.manual_seed(77)
    everything = ConcatDataset([Sequences(120, 1, Jitter()), Sequences(80, 2)])
    train, valid = random_split(everything, [0.8, 0.2])
    labels = torch.stack([everything[i]["y"] for i in train.indices])
    weights = 1.0 / torch.bincount(labels).float()
    sampler = WeightedRandomSampler(weights[labels], num_samples=128)
    loader = DataLoader(train, batch_size=16, sampler=sampler, collate_fn=collate, num_workers=2, persistent_workers=True)
    print(f"train {len(train)} valid {len(valid)} classes {torch.bincount(labels).tolist()}")

    model = Classifier()
    optimizer = torch.optim.Adamax(model.parameters(), lr=0.02)
    for epoch in range(3):
        for x, lengths, y in loader:
            loss = nn.functional.cross_entropy(model(x, lengths), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            x, lengths, y = next(iter(DataLoader(valid, batch_size=len(valid), collate_fn=collate)))
            right = (model(x, lengths).argmax(1) == y).sum().item()
        print(f"epoch {epoch} last loss {loss.item():.6f} balance {y.float().mean():.4f} right {right}/{len(valid)}")

    base = Sequences(30, 3)
    batches = BatchSampler(ByLength(base.lengths), batch_size=8, drop_last=False)
    print("by length", [tuple(x.shape) for x, _, _ in DataLoader(base, batch_sampler=batches, collate_fn=collate)])
    print("default collate", {k: v.tolist() for k, v in next(iter(DataLoader(Subset(base, [4]), batch_size=1))).items() if k != "x"})
    print("stream", [batch.tolist() for batch in DataLoader(Stream(), batch_size=4, num_workers=2)])


if __name__ == "__main__":
    main()
