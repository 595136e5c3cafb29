"""Reversing sequences: GRU encoder on packed input, attention decoder, teacher forcing by random.random(), greedy decoding."""

import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

random.seed(3)
torch.manual_seed(3)
PAD, SOS, VOCAB, HIDDEN = 0, 1, 12, 32


class EncoderRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, HIDDEN, padding_idx=PAD)
        self.gru = nn.GRU(HIDDEN, HIDDEN, batch_first=True, bidirectional=True)

    def forward(self, src, lengths):
        packed = pack_padded_sequence(self.embedding(src), lengths, batch_first=True, enforce_sorted=False)
        output, hidden = self.gru(packed)
        output, _ = pad_packed_sequence(output, batch_first=True)
        return output[..., :HIDDEN] + output[..., HIDDEN:], hidden.sum(0, keepdim=True)


class AttnDecoderRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, HIDDEN)
        self.attn = nn.Linear(HIDDEN * 2, HIDDEN)
        self.v = nn.Parameter(torch.rand(HIDDEN))
        self.gru = nn.GRU(HIDDEN * 2, HIDDEN, batch_first=True)
        self.out = nn.Linear(HIDDEN, VOCAB)

    def forward(self, token, hidden, memory, mask):
        query = hidden[-1].unsqueeze(1).expand_as(memory)
        energy = torch.tanh(self.attn(torch.cat((query, memory), 2))) @ self.v
        weights = F.softmax(energy.masked_fill(mask, float("-inf")), dim=1)
        context = torch.bmm(weights.unsqueeze(1), memory)
        output, hidden = self.gru(torch.cat((self.embedding(token), context), 2), hidden)
        return self.out(output.squeeze(1)), hidden, weights


def make_batch(size):
    lengths = [random.randint(2, 6) for _ in range(size)]
    src = [torch.randint(2, VOCAB, (n,)) for n in lengths]
    tgt = pad_sequence([s.flip(0) for s in src], batch_first=True, padding_value=PAD)
    return pad_sequence(src, batch_first=True), tgt, torch.tensor(lengths)


def run(src, tgt, lengths, teacher_forcing_ratio):
    memory, hidden = encoder(src, lengths)
    token = torch.full((len(src), 1), SOS, dtype=torch.long)
    forcing = random.random() < teacher_forcing_ratio
    logits, attention = [], []
    for t in range(tgt.size(1)):
        step, hidden, weights = decoder(token, hidden, memory, src == PAD)
        logits.append(step)
        attention.append(weights)
        token = tgt[:, t:t + 1] if forcing else step.topk(1)[1].detach()
    return torch.stack(logits, 1), torch.stack(attention, 1)


encoder, decoder = EncoderRNN(), AttnDecoderRNN()
parameters = list(encoder.parameters()) + list(decoder.parameters())
optimizer = optim.Adam(parameters, lr=5e-3)
criterion = nn.CrossEntropyLoss(ignore_index=PAD)
for step in range(1, 61):
    src, tgt, lengths = make_batch(16)
    optimizer.zero_grad(set_to_none=True)
    logits, _ = run(src, tgt, lengths, 0.7)
    loss = criterion(logits.reshape(-1, VOCAB), tgt.reshape(-1))
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step:3d} loss {loss.item():.5f} gradient norm {norm.item():.4f}")

with torch.no_grad():
    src, tgt, lengths = make_batch(64)
    logits, attention = run(src, tgt, lengths, 0.0)
right = (logits.argmax(-1) == tgt)[tgt != PAD].float().mean()
print(f"token accuracy {right:.4f}; attention rows sum to {attention.sum(-1).mean():.4f}")
