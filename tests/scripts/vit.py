"""A small vision transformer: patches by conv, class token, nn.MultiheadAttention blocks, nn.TransformerEncoder, OneCycleLR."""

import torch
from torch import nn
from torch.nn.init import trunc_normal_

torch.manual_seed(0)


class Block(nn.Module):
    def __init__(self, dim, heads, mlp_ratio=2.0, drop=0.1):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = nn.MultiheadAttention(dim, heads, dropout=drop, batch_first=True)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(dim, int(dim * mlp_ratio)), nn.GELU(), nn.Dropout(drop), nn.Linear(int(dim * mlp_ratio), dim), nn.Dropout(drop)
        )

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, size=16, patch=4, dim=32, depth=2, heads=4, classes=5):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, dim))
        self.pos_drop = nn.Dropout(p=0.1)
        self.blocks = nn.ModuleList([Block(dim, heads) for _ in range(depth)])
        layer = nn.TransformerEncoderLayer(dim, heads, dim * 2, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=1, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, classes)
        trunc_normal_(self.pos_embed, std=0.02)
        trunc_normal_(self.cls_token, std=0.02)
        self.apply(self._init_weights)

    def _init_weights(self, m):
        if isinstance(m, nn.Linear):
            trunc_normal_(m.weight, std=0.02)
            if m.bias is not None:
                nn.init.constant_(m.bias, 0)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.pos_drop(x + self.pos_embed)
        for blk in self.blocks:
            x = blk(x)
        return self.head(self.norm(self.encoder(x))[:, 0])


labels = torch.randint(0, 5, (160,))
images = torch.randn(5, 3, 16, 16)[labels] * 0.5 + torch.randn(160, 3, 16, 16)
model = ViT()
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=20, pct_start=0.3)
for epoch in range(5):
    model.train()
    running = 0.0
    for index in torch.randperm(128).chunk(4):
        lam = float(torch.distributions.Beta(0.4, 0.4).sample())
        other = index[torch.randperm(len(index))]
        out = model(lam * images[index] + (1 - lam) * images[other])  # mixup
        loss = lam * criterion(out, labels[index]) + (1 - lam) * criterion(out, labels[other])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        running += loss.item()
    model.eval()
    with torch.no_grad():
        logits = model(images[128:])
        top = logits.topk(2, dim=1).indices.eq(labels[128:].unsqueeze(1))
    print(f"epoch {epoch} train {running / 4:.6f} eval {criterion(logits, labels[128:]).item():.6f}", end=" ")
    print(f"top1 {top[:, :1].sum().item()} top2 {top.sum().item()} lr {scheduler.get_last_lr()[0]:.6e}")
x = torch.randn(2, 3, 8)
attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
print(attention(x, x, x, key_padding_mask=torch.tensor([[False, False, True], [False, True, True]]))[1].detach())
