"""Actor-critic on a small corridor world of our own: Categorical, log_prob, discounted returns, smooth_l1 for the critic."""

import random
from collections import namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

torch.manual_seed(543)
random.seed(543)
SavedAction = namedtuple("SavedAction", ["log_prob", "value"])


class Corridor:
    """Cells 0..6; start in the middle, +1 at the right end, -1 at the left, each step costs 0.05; moves slip sometimes."""

    def reset(self):
        self.cell, self.time = 3, 0
        return self.state()

    def state(self):
        return F.one_hot(torch.tensor(self.cell), 7).float().tolist()

    def step(self, action):
        move = 1 if action == 1 else -1
        self.cell += -move if random.random() < 0.1 else move
        self.time += 1
        done = self.cell in (0, 6) or self.time == 30
        return self.state(), {0: -1.0, 6: 1.0}.get(self.cell, -0.05), done


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(7, 32)
        self.action_head = nn.Linear(32, 2)
        self.value_head = nn.Linear(32, 1)
        self.saved_actions, self.rewards = [], []

    def forward(self, x):
        x = F.relu(self.affine1(x))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


model = Policy()
optimizer = optim.Adam(model.parameters(), lr=1e-2)
eps = torch.finfo(torch.float32).eps


def select_action(state):
    probs, state_value = model(torch.tensor(state))
    m = Categorical(probs)
    action = m.sample()
    model.saved_actions.append(SavedAction(m.log_prob(action), state_value))
    return action.item(), m.entropy()


def finish_episode(entropies, gamma=0.99):
    R, returns = 0, []
    for r in model.rewards[::-1]:
        R = r + gamma * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    if len(returns) > 1:
        returns = (returns - returns.mean()) / (returns.std() + eps)
    policy_losses, value_losses = [], []
    for (log_prob, value), R in zip(model.saved_actions, returns):
        policy_losses.append(-log_prob * (R - value.item()))
        value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum() - 0.01 * torch.stack(entropies).sum()
    loss.backward()
    optimizer.step()
    del model.rewards[:], model.saved_actions[:]
    return loss.item()


env, running_reward = Corridor(), 0.0
for i_episode in range(1, 61):
    state, done, entropies = env.reset(), False, []
    while not done:
        action, entropy = select_action(state)
        entropies.append(entropy)
        state, reward, done = env.step(action)
        model.rewards.append(reward)
    ep_reward, length = sum(model.rewards), len(model.rewards)
    running_reward = 0.05 * ep_reward + 0.95 * running_reward
    loss = finish_episode(entropies)
    if i_episode % 5 == 0:
        print(f"Episode {i_episode}\tLength: {length}\tReward: {ep_reward:.2f}\tAverage: {running_reward:.4f}\tLoss: {loss:.5f}")
