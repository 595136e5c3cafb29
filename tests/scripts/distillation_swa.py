"""A teacher distilled with KLDivLoss into a student; weight averages: AveragedModel, SWALR, update_bn and an own EMA."""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(21)
y = torch.randint(4, (400,))
x = torch.randn(4, 20)[y] + 1.6 * torch.randn(400, 20)
loader = DataLoader(TensorDataset(x[:320], y[:320]), batch_size=64, shuffle=True)


class EMA:
    def __init__(self, model, decay):
        self.module, self.decay = copy.deepcopy(model).eval(), decay
        for p in self.module.parameters():
            p.requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        for e, m in zip(self.module.state_dict().values(), model.state_dict().values()):
            if e.dtype.is_floating_point:
                e.lerp_(m, 1 - self.decay)
            else:
                e.copy_(m)


def mlp(width):
    return nn.Sequential(nn.Linear(20, width), nn.BatchNorm1d(width), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(width, 4))


@torch.no_grad()
def accuracy(model):
    return (model.eval()(x[320:]).argmax(1) == y[320:]).float().mean().item()


def distillation_loss(student_logits, teacher_logits, labels, T=3.0, alpha=0.7):
    soft = nn.KLDivLoss(reduction="batchmean")(F.log_softmax(student_logits / T, dim=1), F.softmax(teacher_logits / T, dim=1))
    return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)


teacher = mlp(64)
optimizer = torch.optim.NAdam(teacher.parameters(), lr=5e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=4)
for epoch in range(8):
    teacher.train()
    for data, target in loader:
        optimizer.zero_grad()
        loss = F.multi_margin_loss(teacher(data), target) + F.cross_entropy(teacher(data), target)
        loss.backward()
        optimizer.step()
    scheduler.step()
print(f"teacher loss {loss.item():.6f} accuracy {accuracy(teacher):.4f} lr {scheduler.get_last_lr()}")

student = mlp(8)
ema = EMA(student, 0.95)
swa_model = AveragedModel(student)
optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
swa_scheduler = SWALR(optimizer, swa_lr=0.02, anneal_epochs=3)
for epoch in range(8):
    student.train()
    teacher.eval()
    for data, target in loader:
        with torch.no_grad():
            teacher_logits = teacher(data)
        loss = distillation_loss(student(data), teacher_logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update(student)
    if epoch >= 3:
        swa_model.update_parameters(student)
        swa_scheduler.step()
    print(f"epoch {epoch} loss {loss.item():.6f} student {accuracy(student):.4f} ema {accuracy(ema.module):.4f}", end=" ")
    print(f"lr {optimizer.param_groups[0]['lr']:.5f}")
update_bn(loader, swa_model)
print(f"swa {accuracy(swa_model):.4f} of {swa_model.n_averaged.item()} models")
print("averaged BatchNorm:", swa_model.module[1].running_mean[:4], swa_model.module[1].running_var[:4])
print("disagreement", (F.softmax(student(x), 1) - F.softmax(swa_model(x), 1)).abs().mean())
