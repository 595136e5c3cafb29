"""Stopping and resuming: checkpoints of model, optimizer, scheduler and generator; state_dict surgery; feature hooks; a whole model."""

import os
import tempfile
from collections import OrderedDict

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict([("conv0", nn.Conv2d(1, 6, 3, padding=1, bias=False)), ("norm0", nn.BatchNorm2d(6)), ("relu0", nn.ReLU(inplace=True)),
                         ("pool0", nn.AdaptiveAvgPool2d(4)), ("conv1", nn.Conv2d(6, 12, 3, groups=3)), ("relu1", nn.ReLU())])
        )
        self.drop, self.classifier = nn.Dropout(0.3), nn.Linear(48, num_classes)

    def forward(self, x):
        return self.classifier(self.drop(torch.flatten(self.features(x), 1)))


def build():
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, amsgrad=True)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.2, total_iters=3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    return net, optimizer, torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], milestones=[3])


def train(net, optimizer, scheduler, steps):
    net.train()
    for step in steps:
        index = torch.randperm(len(images))[:32]
        loss = F.cross_entropy(net(images[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        print(f"step {step} loss {loss.item():.6f} lr {scheduler.get_last_lr()[0]:.6f}")


torch.manual_seed(0)
labels = torch.randint(4, (128,))
images = torch.randn(4, 1, 8, 8)[labels] + torch.randn(128, 1, 8, 8)
folder = tempfile.mkdtemp()
path = os.path.join(folder, "checkpoint.pth.tar")

net, optimizer, scheduler = build()
train(net, optimizer, scheduler, range(4))
torch.save({"step": 4, "state_dict": net.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
            "rng": torch.get_rng_state()}, path)
train(net, optimizer, scheduler, range(4, 7))

print("resumed")
torch.manual_seed(1234)
net2, optimizer2, scheduler2 = build()
checkpoint = torch.load(path, map_location="cpu")
print(net2.load_state_dict(checkpoint["state_dict"]))
optimizer2.load_state_dict(checkpoint["optimizer"])
scheduler2.load_state_dict(checkpoint["scheduler"])
torch.set_rng_state(checkpoint["rng"])
train(net2, optimizer2, scheduler2, range(checkpoint["step"], 7))
print("the same weights:", all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), net2.state_dict().values())))

wrapped = OrderedDict(("module." + k, v) for k, v in net.state_dict().items())  # as DataParallel saves it
stripped = {k[len("module."):]: v for k, v in wrapped.items() if not k.startswith("module.classifier")}
tuned = Net(num_classes=2)
print(tuned.load_state_dict(stripped, strict=False))
try:
    tuned.load_state_dict(wrapped)
except RuntimeError as error:
    print(str(error).splitlines()[0])
for p in tuned.features.parameters():
    p.requires_grad = False
activations = {}
handle = tuned.features.conv1.register_forward_hook(lambda module, args, output: activations.update(conv1=output.detach()))
optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, tuned.parameters()), lr=0.1)
tuned.eval()
for _ in range(10):
    loss = F.cross_entropy(tuned(images), labels % 2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
handle.remove()
print(f"tuned {loss.item():.6f}, features {tuple(activations['conv1'].shape)} mean {activations['conv1'].mean():.6f}")

torch.save(tuned, os.path.join(folder, "model.pt"))
whole = torch.load(os.path.join(folder, "model.pt"), weights_only=False)
print(type(whole).__name__, torch.equal(whole(images), tuned(images)), len(whole.features), *(f for f in sorted(os.listdir(folder))))
