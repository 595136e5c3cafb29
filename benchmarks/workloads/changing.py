"""Programs whose steps are never alike: translation word by word, and a policy that learns from whole episodes.

Sentences and episodes have another length every time, and a look at a word or an action comes in the middle of each
round: the worst that a framework can be given that hopes to see its steps again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

LONGEST, HIDDEN, WORDS = 10, 128, 500
START, STOP = 0, 1


def _sentence(torch: Any, draw: random.Random) -> Any:
    words = [draw.randint(2, WORDS - 1) for _ in range(draw.randint(3, LONGEST - 2))]
    return torch.tensor([*words, STOP]).view(-1, 1)


def translation(torch: Any, batch: int) -> Iterator[float]:
    """The tutorial's encoder and decoder with attention, one sentence a step; a step is the optimizers'."""
    nn, F = torch.nn, torch.nn.functional
    draw = random.Random(0)
    torch.manual_seed(0)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.gru = nn.Embedding(WORDS, HIDDEN), nn.GRU(HIDDEN, HIDDEN)

        def forward(self, word: Any, hidden: Any) -> Any:
            return self.gru(self.embedding(word).view(1, 1, -1), hidden)

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.gru = nn.Embedding(WORDS, HIDDEN), nn.GRU(HIDDEN, HIDDEN)
            self.attention, self.combine = nn.Linear(2 * HIDDEN, LONGEST), nn.Linear(2 * HIDDEN, HIDDEN)
            self.dropout, self.out = nn.Dropout(0.1), nn.Linear(HIDDEN, WORDS)

        def forward(self, word: Any, hidden: Any, encoded: Any) -> Any:
            embedded = self.dropout(self.embedding(word).view(1, 1, -1))
            weights = F.softmax(self.attention(torch.cat((embedded[0], hidden[0]), 1)), dim=1)
            applied = torch.bmm(weights.unsqueeze(0), encoded.unsqueeze(0))
            output = F.relu(self.combine(torch.cat((embedded[0], applied[0]), 1)).unsqueeze(0))
            output, hidden = self.gru(output, hidden)
            return F.log_softmax(self.out(output[0]), dim=1), hidden

    encoder, decoder, criterion = Encoder(), Decoder(), nn.NLLLoss()
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.01) for net in (encoder, decoder)]
    pairs = [(_sentence(torch, draw), _sentence(torch, draw)) for _ in range(200)]
    while True:
        source, target = draw.choice(pairs)
        for optimizer in optimizers:
            optimizer.zero_grad()
        hidden, encoded, loss = torch.zeros(1, 1, HIDDEN), torch.zeros(LONGEST, HIDDEN), 0
        for i in range(source.size(0)):
            output, hidden = encoder(source[i], hidden)
            encoded[i] = output[0, 0]
        word, forced = torch.tensor([[START]]), draw.random() < 0.5
        for i in range(target.size(0)):
            output, hidden = decoder(word, hidden, encoded)
            loss = loss + criterion(output, target[i])
            word = target[i] if forced else output.topk(1)[1].squeeze().detach()
            if not forced and word.item() == STOP:
                break
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        yield loss.item() / target.size(0)


def reinforce(torch: Any, batch: int) -> Iterator[float]:
    """REINFORCE with a learned value, in the form of PyTorch's example; the environment is a few lines of Python."""
    nn, F = torch.nn, torch.nn.functional
    draw = random.Random(0)
    torch.manual_seed(0)

    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.affine, self.dropout = nn.Linear(4, 128), nn.Dropout(0.6)
            self.action, self.value = nn.Linear(128, 2), nn.Linear(128, 1)

        def forward(self, x: Any) -> Any:
            x = F.relu(self.dropout(self.affine(x)))
            return F.softmax(self.action(x), dim=-1), self.value(x)

    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    while True:
        state, kept, rewards = [draw.gauss(0, 1) for _ in range(4)], [], []
        for _ in range(draw.randint(10, 40)):
            chances, value = policy(torch.tensor(state).unsqueeze(0))
            drawn = torch.distributions.Categorical(chances)
            action = drawn.sample()
            kept.append((drawn.log_prob(action), value))
            state = [0.9 * x + 0.1 * action.item() for x in (*state[1:], state[0])]
            rewards.append(sum(state))
        returns: list[float] = []
        for reward in reversed(rewards):
            returns.insert(0, reward + 0.99 * (returns[0] if returns else 0.0))
        losses = []
        for (chance, value), gain in zip(kept, returns):
            losses.append(-chance * (gain - value.item()) + F.smooth_l1_loss(value, torch.tensor([[gain]])))
        optimizer.zero_grad()
        loss = torch.stack(losses).mean()
        loss.backward()
        optimizer.step()
        yield loss.item()
