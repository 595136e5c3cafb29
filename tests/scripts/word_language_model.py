"""An LSTM language model: batchify, repackage_hidden, truncated backpropagation, clipping, hand-made SGD, annealing."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(1111)
ntoken, emsize, nhid, nlayers, bptt, clip = 30, 24, 24, 2, 12, 0.25


class RNNModel(nn.Module):
    def __init__(self, dropout=0.2):
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(ntoken, emsize)
        self.rnn = nn.LSTM(emsize, nhid, nlayers, dropout=dropout)
        self.decoder = nn.Linear(nhid, ntoken)
        self.decoder.weight = self.encoder.weight  # tied
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, input, hidden):
        emb = self.drop(self.encoder(input))
        output, hidden = self.rnn(emb, hidden)
        decoded = self.decoder(self.drop(output)).view(-1, ntoken)
        return F.log_softmax(decoded, dim=1), hidden

    def init_hidden(self, bsz):
        weight = next(self.parameters())
        return (weight.new_zeros(nlayers, bsz, nhid), weight.new_zeros(nlayers, bsz, nhid))


def corpus(length):
    """Words follow one another by a fixed random table, four choices each."""
    follow = torch.randint(ntoken, (ntoken, 4))
    words = [0]
    for choice in torch.randint(4, (length - 1,)).tolist():
        words.append(follow[words[-1], choice].item())
    return torch.tensor(words)


def batchify(data, bsz):
    nbatch = data.size(0) // bsz
    return data.narrow(0, 0, nbatch * bsz).view(bsz, -1).t().contiguous()


def repackage_hidden(h):
    return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage_hidden(v) for v in h)


def get_batch(source, i):
    seq_len = min(bptt, len(source) - 1 - i)
    return source[i:i + seq_len], source[i + 1:i + 1 + seq_len].view(-1)


def evaluate(source):
    model.eval()
    total_loss, hidden = 0.0, model.init_hidden(source.size(1))
    with torch.no_grad():
        for i in range(0, source.size(0) - 1, bptt):
            data, targets = get_batch(source, i)
            output, hidden = model(data, repackage_hidden(hidden))
            total_loss += len(data) * criterion(output, targets).item()
    return total_loss / (len(source) - 1)


text = corpus(2600)
train_data, val_data = batchify(text[:2000], 16), batchify(text[2000:], 10)
model, criterion, lr, best_val_loss = RNNModel(), nn.NLLLoss(), 20.0, None
for epoch in range(1, 5):
    model.train()
    hidden = model.init_hidden(16)
    for batch, i in enumerate(range(0, train_data.size(0) - 1, bptt)):
        data, targets = get_batch(train_data, i)
        model.zero_grad()
        hidden = repackage_hidden(hidden)
        output, hidden = model(data, hidden)
        loss = criterion(output, targets)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-lr)
        if batch % 4 == 0:
            print(f"| epoch {epoch} | {batch:3d} batches | lr {lr:02.2f} | norm {norm:.5f} | loss {loss.item():.5f}")
    val_loss = evaluate(val_data)
    print(f"| end of epoch {epoch} | valid loss {val_loss:.5f} | valid ppl {math.exp(val_loss):8.4f}")
    if best_val_loss is None or val_loss < best_val_loss:
        best_val_loss = val_loss
    else:
        lr /= 4.0
