"""Data, transforms, loader and model together: LeNet learns the digits that come with the package."""

from __future__ import annotations

import flambeau as torch
from flambeau.nn import functional as F
from flambeau.utils.data import DataLoader
from flambeau.vision import datasets, models, transforms


def accuracy(model, dataset) -> float:
    with torch.no_grad():
        images, labels = next(iter(DataLoader(dataset, batch_size=len(dataset))))
        return (model(images).argmax(1) == labels).float().mean().item()


def test_lenet_learns_digits():
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.305,), (0.376,))])
    train, test = (datasets.Digits(train=part, transform=transform) for part in (True, False))
    torch.manual_seed(0)
    model = models.lenet(in_channels=1, image_size=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    before = accuracy(model, test)
    for _ in range(8):
        for images, labels in DataLoader(train, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
    assert before < 0.3 and accuracy(model, test) > 0.93


def test_random_transforms_are_the_same_whatever_the_workers():
    transform = transforms.Compose([transforms.RandomCrop(8, padding=1), transforms.ToTensor()])
    dataset = torch.utils.data.Subset(datasets.Digits(train=False, transform=transform), range(24))

    def batches():
        torch.manual_seed(0)
        return [images for images, _ in DataLoader(dataset, batch_size=6, shuffle=True, num_workers=2)]

    for one, two in zip(batches(), batches()):
        assert one.shape == (6, 1, 8, 8) and torch.equal(one, two)
