"""Digits as a tutorial of 2017 did it: Variable, old names of nn.init, softmax without dim, .data everywhere."""

from __future__ import print_function

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
import torch.utils.data
from torch.autograd import Variable

use_cuda = torch.cuda.is_available()
torch.manual_seed(1)
if use_cuda:
    torch.cuda.manual_seed(1)


def fake_digits(n):
    prototypes = torch.Tensor(10, 1, 14, 14).uniform_(0, 1)
    labels = torch.LongTensor(n).random_(0, 10)
    images = prototypes.index_select(0, labels) + torch.randn(n, 1, 14, 14) * 0.4
    return images.sub_(0.5).div_(0.5), labels


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=3)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(64, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = x.view(-1, self.num_flat_features(x))
        x = F.dropout(F.relu(self.fc1(x)), training=self.training)
        return F.log_softmax(self.fc2(x))

    def num_flat_features(self, x):
        num = 1
        for s in x.size()[1:]:
            num *= s
        return num


def weights_init(m):
    if isinstance(m, nn.Linear):
        nn.init.xavier_uniform(m.weight)
        nn.init.constant(m.bias, 0.1)
    elif m.__class__.__name__.find('Conv') != -1:
        nn.init.kaiming_normal(m.weight.data)
        m.bias.data.fill_(0)


images, labels = fake_digits(640)
train = torch.utils.data.TensorDataset(images[:512], labels[:512])
loader = torch.utils.data.DataLoader(train, batch_size=64, shuffle=True)
model = Net()
model.apply(weights_init)
if use_cuda:
    model.cuda()
print(model)
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.5)

for epoch in range(1, 4):
    model.train()
    for batch_idx, (data, target) in enumerate(loader):
        if use_cuda:
            data, target = data.cuda(), target.cuda()
        data, target = Variable(data), Variable(target)
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm(model.parameters(), 5)
        optimizer.step()
        if batch_idx % 4 == 0:
            print('Train Epoch: {} [{}/{}]\tLoss: {:.6f}'.format(epoch, batch_idx * len(data), len(train), loss.data.item()))
    model.eval()
    with torch.no_grad():
        output = model(Variable(images[512:]))
    test_loss = F.nll_loss(output, Variable(labels[512:]), size_average=False).data.item() / 128
    pred = output.data.max(1, keepdim=True)[1]
    correct = pred.eq(labels[512:].view_as(pred)).cpu().sum()
    print('Test: average loss {:.5f}, accuracy {}/{} ({:.0f}%)'.format(test_loss, correct, 128, 100. * correct / 128))
