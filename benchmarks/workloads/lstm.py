"""A language model of two LSTM layers: the loop of PyTorch's word_language_model example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.workloads.data import tokens

ntoken, emsize, nhid, nlayers, bptt, clip, lr = 1000, 128, 128, 2, 35, 0.25, 20.0


def lstm(torch: Any, batch: int) -> Iterator[float]:
    nn, F = torch.nn, torch.nn.functional

    class RNNModel(nn.Module):
        def __init__(self, dropout: float = 0.2) -> None:
            super().__init__()
            self.drop = nn.Dropout(dropout)
            self.encoder = nn.Embedding(ntoken, emsize)
            self.rnn = nn.LSTM(emsize, nhid, nlayers, dropout=dropout)
            self.decoder = nn.Linear(nhid, ntoken)
            nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
            nn.init.zeros_(self.decoder.bias)
            nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

        def forward(self, input: Any, hidden: Any) -> Any:
            emb = self.drop(self.encoder(input))
            output, hidden = self.rnn(emb, hidden)
            output = self.drop(output)
            decoded = self.decoder(output).view(-1, ntoken)
            return F.log_softmax(decoded, dim=1), hidden

        def init_hidden(self, bsz: int) -> Any:
            weight = next(self.parameters())
            return weight.new_zeros(nlayers, bsz, nhid), weight.new_zeros(nlayers, bsz, nhid)

    def repackage_hidden(h: Any) -> Any:
        return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage_hidden(v) for v in h)

    def get_batch(source: Any, i: int) -> Any:
        seq_len = min(bptt, len(source) - 1 - i)
        return source[i : i + seq_len], source[i + 1 : i + 1 + seq_len].view(-1)

    torch.manual_seed(1111)
    data = tokens(torch, ntoken, batch * (20 * bptt + 1))
    train_data = data.view(batch, -1).t().contiguous()
    model, criterion = RNNModel(), nn.NLLLoss()
    model.train()
    total_loss = 0.0
    while True:
        hidden = model.init_hidden(batch)
        for i in range(0, train_data.size(0) - 1, bptt):
            inputs, targets = get_batch(train_data, i)
            model.zero_grad()
            hidden = repackage_hidden(hidden)
            output, hidden = model(inputs, hidden)
            loss = criterion(output, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            for p in model.parameters():
                p.data.add_(p.grad, alpha=-lr)
            total_loss += loss.item()
            yield loss.item()
