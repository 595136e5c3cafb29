"""Segmenting discs with a small U-Net: skip connections by cat, ConvTranspose2d, BCEWithLogits with pos_weight plus Dice."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(42)


class DoubleConv(nn.Sequential):
    def __init__(self, cin, cout):
        super().__init__(
            nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout, momentum=0.3), nn.ReLU(inplace=True),
            nn.Conv2d(cout, cout, 3, padding=1, bias=False), nn.GroupNorm(2, cout), nn.ReLU(inplace=True),
        )


class Up(nn.Module):
    def __init__(self, cin, cout, bilinear):
        super().__init__()
        if bilinear:
            self.up = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.Conv2d(cin, cin // 2, 1))
        else:
            self.up = nn.ConvTranspose2d(cin, cin // 2, kernel_size=2, stride=2)
        self.conv = DoubleConv(cin, cout)

    def forward(self, x1, x2):
        x1 = self.up(x1)
        dy, dx = x2.size(2) - x1.size(2), x2.size(3) - x1.size(3)
        x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(torch.cat([x2, x1], dim=1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc = DoubleConv(1, 8)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 16))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(16, 32))
        self.up1, self.up2 = Up(32, 16, bilinear=False), Up(16, 8, bilinear=True)
        self.outc = nn.Conv2d(8, 1, kernel_size=1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(x1)
        return self.outc(self.up2(self.up1(self.down2(x2), x2), x1))


def discs(count, size=22):
    grid = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).float()
    centre = torch.rand(count, 2, 1, 1) * (size - 8) + 4
    radius = torch.rand(count, 1, 1) * 3 + 2
    mask = (((grid - centre) ** 2).sum(1) < radius**2).float().unsqueeze(1)
    return mask + 0.7 * torch.randn_like(mask), mask


def dice_loss(logits, target, smooth=1.0):
    prob = torch.sigmoid(logits).flatten(1)
    target = target.flatten(1)
    return 1 - ((2 * (prob * target).sum(1) + smooth) / (prob.sum(1) + target.sum(1) + smooth)).mean()


images, masks = discs(64)
model = UNet()
print("parameters", sum(p.numel() for p in model.parameters() if p.requires_grad))
criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", patience=0)
for epoch in range(3):
    model.train()
    for x, y in zip(images[:48].split(8), masks[:48].split(8)):
        logits = model(x)
        loss = criterion(logits, y) + dice_loss(logits, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        predicted = torch.sigmoid(model(images[48:])) > 0.5
        truth = masks[48:].bool()
        iou = (predicted & truth).sum() / (predicted | truth).sum()
    scheduler.step(iou)
    print(f"epoch {epoch} loss {loss.item():.5f} IoU {iou.item():.4f} lr {optimizer.param_groups[0]['lr']}")
