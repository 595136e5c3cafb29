"""Whole small programs as their authors write them: `program(torch) -> losses and what it made`."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable
from typing import Any


def gpt(torch: Any) -> Any:
    """A decoder in the style of nanoGPT: tied weights, parameter groups, sampling."""
    nn, F = torch.nn, torch.nn.functional
    vocab, block, width, heads = 17, 12, 16, 2

    class LayerNorm(nn.Module):
        def __init__(self, ndim: int, bias: bool) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(ndim))
            self.bias = nn.Parameter(torch.zeros(ndim)) if bias else None

        def forward(self, x: Any) -> Any:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c_attn = nn.Linear(width, 3 * width, bias=False)
            self.c_proj = nn.Linear(width, width, bias=False)
            self.resid_dropout = nn.Dropout(0.1)
            mask = torch.tril(torch.ones(block, block)).view(1, 1, block, block)
            self.register_buffer("mask", mask, persistent=False)
            self.flash = hasattr(F, "scaled_dot_product_attention")

        def forward(self, x: Any) -> Any:
            B, T, C = x.size()
            q, k, v = self.c_attn(x).split(width, dim=2)
            q, k, v = (t.view(B, T, heads, C // heads).transpose(1, 2) for t in (q, k, v))
            if self.training:
                y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=True)
            else:
                att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
                att = F.softmax(att.masked_fill(self.mask[:, :, :T, :T] == 0, float("-inf")), dim=-1)
                y = att @ v
            return self.resid_dropout(self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C)))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.attn, self.ln_2 = LayerNorm(width, False), Attention(), LayerNorm(width, True)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1)
            )

        def forward(self, x: Any) -> Any:
            x = x + self.attn(self.ln_1(x))
            return x + self.mlp(self.ln_2(x))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = nn.ModuleDict(
                dict(
                    wte=nn.Embedding(vocab, width),
                    wpe=nn.Embedding(block, width),
                    h=nn.ModuleList([Block() for _ in range(2)]),
                    ln_f=LayerNorm(width, True),
                )
            )
            self.lm_head = nn.Linear(width, vocab, bias=False)
            self.transformer.wte.weight = self.lm_head.weight
            self.apply(self._init_weights)
            for name, p in self.named_parameters():
                if name.endswith("c_proj.weight"):
                    torch.nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(4))

        def _init_weights(self, module: Any) -> None:
            if isinstance(module, nn.Linear):
                torch.nn.init.normal_(module.weight, mean=0.0, std=0.2)
                if module.bias is not None:
                    torch.nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                torch.nn.init.normal_(module.weight, mean=0.0, std=0.2)

        def forward(self, idx: Any, targets: Any = None) -> Any:
            b, t = idx.size()
            pos = torch.arange(0, t, dtype=torch.long, device=idx.device)
            x = self.transformer.wte(idx) + self.transformer.wpe(pos)
            for layer in self.transformer.h:
                x = layer(x)
            x = self.transformer.ln_f(x)
            if targets is None:
                return self.lm_head(x[:, [-1], :]), None
            logits = self.lm_head(x)
            return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)

        @torch.no_grad()
        def generate(self, idx: Any, count: int, temperature: float = 1.0, top_k: int | None = None) -> Any:
            for _ in range(count):
                logits, _ = self(idx if idx.size(1) <= block else idx[:, -block:])
                logits = logits[:, -1, :] / temperature
                if top_k is not None:
                    v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
                    logits[logits < v[:, [-1]]] = -float("Inf")
                idx = torch.cat((idx, torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)), dim=1)
            return idx

    torch.manual_seed(1337)
    model = GPT()
    params = {n: p for n, p in model.named_parameters() if p.requires_grad}
    groups = [
        {"params": [p for p in params.values() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in params.values() if p.dim() < 2], "weight_decay": 0.0},
    ]
    extra = {"fused": False} if "fused" in inspect.signature(torch.optim.AdamW).parameters else {}
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), **extra)
    text, losses = torch.arange(200) * torch.arange(200) % vocab, []
    for step in range(12):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(1.0, (step + 1) / 4)
        ix = torch.randint(len(text) - block, (4,))
        x = torch.stack([text[i : i + block] for i in ix])
        y = torch.stack([text[i + 1 : i + 1 + block] for i in ix])
        _, loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    made = model.generate(torch.zeros((1, 1), dtype=torch.long), 15, temperature=0.8, top_k=5)
    return [losses, made.tolist(), sum(p.numel() for p in model.parameters()), list(model.state_dict())[:3]]


def gan(torch: Any) -> Any:
    """DCGAN: two optimizers, transposed convolutions, batch norm, weights by class name."""
    nn = torch.nn

    def weights_init(m: Any) -> None:
        name = m.__class__.__name__
        if name.find("Conv") != -1:
            nn.init.normal_(m.weight.data, 0.0, 0.02)
        elif name.find("BatchNorm") != -1:
            nn.init.normal_(m.weight.data, 1.0, 0.02)
            nn.init.constant_(m.bias.data, 0)

    torch.manual_seed(999)
    make = nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4, 1, 0, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
        nn.ConvTranspose2d(8, 1, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    judge = nn.Sequential(
        nn.Conv2d(1, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8),
        nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 1, 4, 1, 0, bias=False), nn.Sigmoid(),
    )  # fmt: skip
    make.apply(weights_init)
    judge.apply(weights_init)
    criterion, fixed = nn.BCELoss(), torch.randn(2, 6, 1, 1)
    first = torch.optim.Adam(judge.parameters(), lr=0.002, betas=(0.5, 0.999))
    second = torch.optim.Adam(make.parameters(), lr=0.002, betas=(0.5, 0.999))
    seen = []
    for _ in range(4):
        real = torch.rand(4, 1, 8, 8)
        judge.zero_grad()
        label = torch.full((4,), 1.0, dtype=torch.float)
        loss_real = criterion(judge(real).view(-1), label)
        loss_real.backward()
        fake = make(torch.randn(4, 6, 1, 1))
        label.fill_(0.0)
        loss_fake = criterion(judge(fake.detach()).view(-1), label)
        loss_fake.backward()
        first.step()
        make.zero_grad()
        label.fill_(1.0)
        loss = criterion(judge(fake).view(-1), label)
        loss.backward()
        second.step()
        seen.append([loss_real.item(), loss_fake.item(), loss.item(), judge(real).mean().item()])
    with torch.no_grad():
        return [seen, make(fixed).detach().cpu().sum((2, 3)).tolist(), judge[3].running_var.tolist()]


def vae(torch: Any) -> Any:
    """A variational autoencoder with torch.distributions."""
    nn, dist = torch.nn, torch.distributions

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(12, 10), nn.Tanh())
            self.mean, self.log_var = nn.Linear(10, 3), nn.Linear(10, 3)
            self.decoder = nn.Sequential(nn.Linear(3, 10), nn.ELU(), nn.Linear(10, 12))

        def forward(self, x: Any) -> Any:
            h = self.encoder(x)
            q = dist.Independent(dist.Normal(self.mean(h), (0.5 * self.log_var(h)).exp()), 1)
            z = q.rsample()
            p = dist.Independent(dist.Bernoulli(logits=self.decoder(z)), 1)
            prior = dist.Independent(dist.Normal(torch.zeros_like(z), torch.ones_like(z)), 1)
            return -(p.log_prob(x) - dist.kl_divergence(q, prior)).mean(), p

    torch.manual_seed(0)
    model = VAE()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    data, losses = torch.bernoulli(torch.full((16, 12), 0.3)), []
    for _ in range(8):
        loss, _ = model(data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    model.eval()
    return [losses, scheduler.get_last_lr(), model(data[:2])[1].mean.tolist()]


def reinforce(torch: Any) -> Any:
    """A policy gradient on a chain of states, with Categorical."""
    nn = torch.nn
    torch.manual_seed(543)
    policy = nn.Sequential(nn.Linear(4, 16), nn.Dropout(p=0.6), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    eps, returns_seen = 1e-6, []
    for _ in range(5):
        state, log_probs, rewards = 0, [], []
        for _ in range(6):
            probs = nn.functional.softmax(policy(nn.functional.one_hot(torch.tensor([state]), 4).float()), dim=1)
            m = torch.distributions.Categorical(probs)
            action = m.sample()
            log_probs.append(m.log_prob(action))
            state = max(0, min(3, state + (1 if action.item() == 1 else -1)))
            rewards.append(float(state))
        total, returns = 0.0, []
        for r in rewards[::-1]:
            total = r + 0.99 * total
            returns.insert(0, total)
        returns_t = torch.tensor(returns)
        returns_t = (returns_t - returns_t.mean()) / (returns_t.std() + eps)
        loss = torch.cat([-log_prob * r for log_prob, r in zip(log_probs, returns_t)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        returns_seen.append([loss.item(), sum(rewards)])
    return returns_seen


def language_model(torch: Any) -> Any:
    """The word-level LSTM of PyTorch's examples: hidden state detached, clipping, plain gradient steps."""
    nn = torch.nn

    class RNNModel(nn.Module):
        def __init__(self, kind: str) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.2)
            self.encoder = nn.Embedding(11, 6)
            self.rnn = getattr(nn, kind)(6, 6, 2, dropout=0.2)
            self.decoder = nn.Linear(6, 11)
            self.decoder.weight = self.encoder.weight
            nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
            nn.init.zeros_(self.decoder.bias)

        def forward(self, given: Any, hidden: Any) -> Any:
            output, hidden = self.rnn(self.drop(self.encoder(given)), hidden)
            return torch.nn.functional.log_softmax(self.decoder(self.drop(output)).view(-1, 11), dim=1), hidden

        def init_hidden(self, batch: int) -> Any:
            weight = next(self.parameters())
            zeros = lambda: weight.new_zeros(2, batch, 6)  # noqa: E731
            return (zeros(), zeros()) if isinstance(self.rnn, nn.LSTM) else zeros()

    def repackage(h: Any) -> Any:
        return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage(v) for v in h)

    found = []
    for kind in ("LSTM", "GRU"):
        torch.manual_seed(1111)
        model, criterion, losses = RNNModel(kind), nn.NLLLoss(), []
        data = (torch.arange(60) ** 2 % 11).view(3, -1).t().contiguous()
        hidden = model.init_hidden(3)
        for i in range(0, data.size(0) - 1, 5):
            n = min(5, len(data) - 1 - i)
            given, target = data[i : i + n], data[i + 1 : i + 1 + n].view(-1)
            model.zero_grad()
            hidden = repackage(hidden)
            output, hidden = model(given, hidden)
            loss = criterion(output, target)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            for p in model.parameters():
                p.data.add_(p.grad, alpha=-20)
            losses.append(loss.item())
        found.append(losses)
    return found


def translation(torch: Any) -> Any:
    """nn.Transformer with masks, padding, label smoothing and a warm-up schedule; greedy decoding."""
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Transformer(8, 2, 1, 1, 16, dropout=0.1, batch_first=True)
    embed, out = nn.Embedding(9, 8, padding_idx=0), nn.Linear(8, 9)
    everything = nn.ModuleList([model, embed, out])
    optimizer = torch.optim.Adam(everything.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 8**-0.5 * min((step + 1) ** -0.5, (step + 1) * 4**-1.5)
    )
    criterion = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=0.1)
    src = torch.tensor([[1, 4, 5, 6, 2], [1, 7, 8, 2, 0]])
    tgt = torch.tensor([[1, 6, 5, 4, 2], [1, 8, 7, 2, 0]])

    def run(source: Any, target: Any) -> Any:
        mask = nn.Transformer.generate_square_subsequent_mask(target.size(1))
        hidden = model(
            embed(source), embed(target), tgt_mask=mask, src_key_padding_mask=source == 0, tgt_key_padding_mask=target == 0,
            memory_key_padding_mask=source == 0,
        )  # fmt: skip
        return out(hidden)

    losses = []
    for _ in range(8):
        logits = run(src, tgt[:, :-1])
        loss = criterion(logits.reshape(-1, 9), tgt[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    everything.eval()
    ys = torch.ones(1, 1, dtype=torch.long)
    with torch.no_grad():
        for _ in range(4):
            ys = torch.cat([ys, run(src[:1], ys)[:, -1].argmax(-1, keepdim=True)], dim=1)
    return [losses, ys.tolist(), schedule.get_last_lr()]


def siamese(torch: Any) -> Any:
    """Shared weights, a custom loss and Function, frozen layers, a feature hook, gradient accumulation, EMA."""
    nn, F = torch.nn, torch.nn.functional

    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, alpha: float) -> Any:
            ctx.alpha = alpha
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad.neg() * ctx.alpha, None

    class Contrastive(nn.Module):
        def forward(self, a: Any, b: Any, same: Any) -> Any:
            d = F.pairwise_distance(a, b, keepdim=True)
            return torch.mean(same * d.pow(2) + (1 - same) * torch.clamp(1.0 - d, min=0.0).pow(2))

    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    domain, kept = nn.Linear(3, 2), {}
    body[2].register_forward_hook(lambda m, given, out: kept.__setitem__("act", out.detach()))
    for p in body[0].parameters():
        p.requires_grad = False
    optimizer = torch.optim.SGD(
        [{"params": filter(lambda p: p.requires_grad, body.parameters())}, {"params": domain.parameters(), "lr": 0.05}],
        lr=0.1,
        momentum=0.9,
    )
    average = importlib.import_module(f"{torch.__name__}.optim.swa_utils").AveragedModel(
        body, avg_fn=lambda avg, new, n: 0.9 * avg + 0.1 * new
    )
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        for _ in range(2):
            a, b = torch.randn(4, 1, 5, 5), torch.randn(4, 1, 5, 5)
            same = torch.randint(0, 2, (4, 1)).float()
            fa, fb = body(a), body(b)
            loss = Contrastive()(fa, fb, same) + F.cross_entropy(domain(Reverse.apply(fa, 0.5)), same.squeeze(1).long())
            (loss / 2).backward()
            losses.append(loss.item())
        torch.nn.utils.clip_grad_value_(body.parameters(), 0.1)
        optimizer.step()
        average.update_parameters(body)
    body.eval()
    with torch.no_grad():
        return [
            losses,
            body(torch.ones(1, 1, 5, 5)).tolist(),
            average(torch.ones(1, 1, 5, 5)).tolist(),
            kept["act"].sum().item(),
        ]


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    f.__name__: f for f in (gpt, gan, vae, reinforce, language_model, translation, siamese)
}
