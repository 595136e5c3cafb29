"""Graph nets without a graph library: GCN by index_add_, GAT by scatter softmax, mean pooling, masked node labels."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(5)
NODES, CLASSES = 90, 3


class GCNConv(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.lin = nn.Linear(cin, cout, bias=False)
        self.bias = nn.Parameter(torch.empty(cout))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.xavier_uniform_(self.lin.weight, gain=nn.init.calculate_gain("relu"))
        nn.init.zeros_(self.bias)

    def forward(self, x, edge_index):
        row, col = edge_index
        degree = torch.zeros(x.size(0)).scatter_add_(0, col, torch.ones(col.size(0)))
        norm = degree.pow(-0.5)
        norm[norm == float("inf")] = 0
        messages = self.lin(x)[row] * (norm[row] * norm[col]).unsqueeze(-1)
        return torch.zeros(x.size(0), messages.size(1)).index_add_(0, col, messages) + self.bias


class GATConv(nn.Module):
    def __init__(self, cin, cout, heads):
        super().__init__()
        self.heads, self.cout = heads, cout
        self.lin = nn.Linear(cin, heads * cout, bias=False)
        self.att_src, self.att_dst = nn.Parameter(torch.empty(1, heads, cout)), nn.Parameter(torch.empty(1, heads, cout))
        for p in (self.att_src, self.att_dst):
            nn.init.xavier_normal_(p)

    def forward(self, x, edge_index):
        row, col = edge_index
        h = self.lin(x).view(-1, self.heads, self.cout)
        alpha = (h * self.att_src).sum(-1)[row] + (h * self.att_dst).sum(-1)[col]
        alpha = F.leaky_relu(alpha, 0.2)
        index = col.unsqueeze(1).expand_as(alpha)
        top = torch.full((x.size(0), self.heads), -1e9).scatter_reduce(0, index, alpha.detach(), reduce="amax")
        alpha = (alpha - top[col]).exp()
        alpha = alpha / torch.zeros_like(top).scatter_add(0, index, alpha)[col]
        out = torch.zeros_like(h).index_add(0, col, alpha.unsqueeze(-1) * h[row])
        return out.flatten(1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.out = GCNConv(8, 16), GATConv(16, 8, heads=2), GCNConv(16, CLASSES)

    def forward(self, x, edge_index):
        x = F.dropout(F.relu(self.conv1(x, edge_index)), p=0.2, training=self.training)
        return F.log_softmax(self.out(F.elu(self.conv2(x, edge_index)), edge_index), dim=-1)


y = torch.arange(NODES) % CLASSES
x = torch.randn(CLASSES, 8)[y] * 0.6 + torch.randn(NODES, 8)
probability = torch.where(y[:, None] == y[None, :], 0.15, 0.02)
adjacency = torch.bernoulli(probability).triu(1)
adjacency = adjacency + adjacency.t() + torch.eye(NODES)
edge_index = adjacency.nonzero().t().contiguous()
train_mask = torch.zeros(NODES, dtype=torch.bool)
train_mask[torch.randperm(NODES)[:30]] = True
print("edges", edge_index.size(1), "degrees", torch.bincount(edge_index[1], minlength=NODES)[:10].tolist())

model = Net()
optimizer = torch.optim.Adam([{"params": model.conv1.parameters(), "weight_decay": 5e-4},
                              {"params": [*model.conv2.parameters(), *model.out.parameters()]}], lr=0.02)
for epoch in range(1, 41):
    model.train()
    optimizer.zero_grad()
    loss = F.nll_loss(model(x, edge_index)[train_mask], y[train_mask])
    loss.backward()
    optimizer.step()
    if epoch % 8 == 0:
        model.eval()
        pred = model(x, edge_index).argmax(dim=-1)
        accs = [int((pred[m] == y[m]).sum()) for m in (train_mask, ~train_mask)]
        print(f"Epoch: {epoch:03d}, Loss: {loss:.5f}, Train: {accs[0]}/30, Test: {accs[1]}/60")
confusion = torch.zeros(CLASSES, CLASSES, dtype=torch.long).index_put_((y, pred), torch.ones(NODES, dtype=torch.long), accumulate=True)
print(confusion)
