"""Every layer beside PyTorch's: the same seed gives the same weights, outputs, gradients, state and repr."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import flambeau

# Layer, constructor, shapes of float inputs (a leading "i5:" draws indices below 5; "b:" draws zeros and ones).
CASES = """
Linear(4, 3) | 2,4
Linear(4, 3, bias=False) | 4
Bilinear(3, 4, 5) | 2,3 2,4
Identity(7, k=3) | 2,3
Flatten() | 2,3,4
Unflatten(1, (2, 3)) | 2,6
Conv1d(2, 4, 3, padding=1, stride=2) | 2,2,9
Conv2d(3, 6, 5) | 2,3,12,12
Conv2d(4, 6, 3, padding=1, groups=2, bias=False) | 2,4,7,8
Conv2d(3, 4, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(2, 1)) | 2,3,9,8
Conv2d(3, 4, 3, padding="same", padding_mode="reflect") | 1,3,6,6
Conv2d(3, 4, 3, padding=2, padding_mode="circular") | 1,3,6,6
Conv2d(3, 4, 3, padding=2, padding_mode="replicate") | 1,3,6,6
Conv3d(2, 3, 2) | 1,2,4,4,4
ConvTranspose1d(3, 2, 4, stride=2, padding=1) | 2,3,5
ConvTranspose2d(4, 3, 4, stride=2, padding=1) | 2,4,5,5
ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2) | 1,4,4,4
ConvTranspose3d(2, 3, 2, stride=2) | 1,2,3,3,3
MaxPool1d(2) | 2,3,7
MaxPool2d(2, 2) | 2,3,8,8
MaxPool2d(3, stride=2, padding=1, ceil_mode=True) | 2,3,8,7
MaxPool3d(2) | 1,2,4,4,4
AvgPool1d(3, stride=2, padding=1) | 2,3,8
AvgPool2d(2) | 2,3,6,6
AvgPool2d(3, stride=2, padding=1, count_include_pad=False, ceil_mode=True) | 2,3,6,7
AvgPool3d(2) | 1,2,4,4,4
AdaptiveAvgPool1d(3) | 2,3,8
AdaptiveAvgPool2d((2, 3)) | 2,3,7,8
AdaptiveAvgPool2d(1) | 2,3,7,8
AdaptiveMaxPool1d(3) | 2,3,8
AdaptiveMaxPool2d((2, None)) | 2,3,7,8
LPPool2d(2, 2) | 1,2,4,4
BatchNorm1d(5) | 4,5
BatchNorm1d(5) | 4,5,3
BatchNorm2d(3) | 4,3,5,5
BatchNorm2d(3, affine=False, track_running_stats=False) | 4,3,5,5
BatchNorm2d(3, momentum=None) | 4,3,5,5
BatchNorm3d(2) | 2,2,3,3,3
InstanceNorm1d(3, affine=True) | 2,3,6
InstanceNorm2d(3) | 2,3,5,5
InstanceNorm2d(3, affine=True, track_running_stats=True) | 2,3,5,5
LayerNorm(6) | 2,4,6
LayerNorm((4, 6), bias=False) | 2,4,6
LayerNorm(6, elementwise_affine=False) | 2,6
RMSNorm(6) | 2,4,6
GroupNorm(2, 6) | 3,6,4
LocalResponseNorm(3) | 2,5,4,4
Dropout(0.3) | 4,5
Dropout2d(0.5) | 3,4,2,2
Dropout1d(0.5) | 3,4,2
AlphaDropout(0.2) | 4,5
Embedding(7, 3) | i7:2,4
Embedding(7, 3, padding_idx=2) | i7:2,4
Embedding(7, 3, max_norm=1.0) | i7:5
EmbeddingBag(7, 3, mode="sum") | i7:2,4
RNN(3, 4) | 5,2,3
RNN(3, 4, nonlinearity="relu", num_layers=2, bidirectional=True, batch_first=True) | 2,5,3
LSTM(3, 4) | 5,2,3
LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True) | 2,5,3
LSTM(3, 6, proj_size=2) | 5,2,3
LSTM(3, 4, num_layers=2, dropout=0.4) | 5,2,3
LSTM(3, 4, bias=False) | 5,3
GRU(3, 4, num_layers=2) | 5,2,3
GRU(3, 4, bidirectional=True) | 5,2,3
RNNCell(3, 4) | 2,3
LSTMCell(3, 4) | 2,3
GRUCell(3, 4) | 2,3
MultiheadAttention(8, 2) | 5,2,8 5,2,8 5,2,8
MultiheadAttention(8, 2, batch_first=True, kdim=6, vdim=4) | 2,5,8 2,3,6 2,3,4
MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True) | 5,2,8 3,2,8 3,2,8
TransformerEncoderLayer(8, 2, 16, dropout=0.0) | 5,2,8
TransformerEncoderLayer(8, 2, 16, dropout=0.0, norm_first=True, activation="gelu", batch_first=True) | 2,5,8
TransformerDecoderLayer(8, 2, 16, dropout=0.0) | 5,2,8 4,2,8
Transformer(8, 2, 1, 1, 16, dropout=0.0) | 5,2,8 4,2,8
Upsample(scale_factor=2) | 1,2,3,3
Upsample(size=(5, 4), mode="bilinear", align_corners=True) | 1,2,3,3
UpsamplingNearest2d(scale_factor=2) | 1,2,3,3
UpsamplingBilinear2d(scale_factor=2) | 1,2,3,3
PixelShuffle(2) | 1,8,3,3
PixelUnshuffle(2) | 1,2,4,4
ChannelShuffle(2) | 1,4,3,3
Fold((4, 5), (2, 2)) | 1,8,12
Unfold((2, 3), padding=1) | 1,2,4,5
ZeroPad2d((1, 2, 0, 1)) | 1,2,3,3
ReflectionPad1d(2) | 1,2,5
ReflectionPad2d(1) | 1,2,4,4
ReplicationPad2d(2) | 1,2,3,3
CircularPad2d(1) | 1,2,3,3
ConstantPad1d(2, 3.5) | 1,2,3
ReLU() | 3,4
ReLU(inplace=True) | 3,4
ReLU6() | 3,4
ELU(0.7) | 3,4
SELU() | 3,4
CELU(1.3) | 3,4
SiLU() | 3,4
Mish() | 3,4
GELU() | 3,4
GELU(approximate="tanh") | 3,4
GLU() | 3,4
Hardtanh(-0.5, 0.7) | 3,4
Hardswish() | 3,4
Hardsigmoid() | 3,4
Hardshrink(0.3) | 3,4
Softshrink(0.3) | 3,4
Tanhshrink() | 3,4
LeakyReLU(0.2) | 3,4
PReLU(4) | 3,4
RReLU() | 3,4
Sigmoid() | 3,4
Tanh() | 3,4
LogSigmoid() | 3,4
Softplus(2.0, 5.0) | 3,4
Softsign() | 3,4
Softmin(1) | 3,4
Softmax(1) | 3,4
LogSoftmax(dim=-1) | 3,4
Softmax2d() | 1,3,2,2
Threshold(0.1, 20.0) | 3,4
CosineSimilarity() | 3,4 3,4
PairwiseDistance() | 3,4 3,4
CrossEntropyLoss() | 4,5 i5:4
CrossEntropyLoss(label_smoothing=0.1, ignore_index=2, reduction="sum") | 4,5 i5:4
CrossEntropyLoss(reduction="none") | 2,5,3 i5:2,3
NLLLoss() | 4,5 i5:4
MSELoss() | 3,4 3,4
L1Loss(reduction="sum") | 3,4 3,4
SmoothL1Loss(beta=0.5) | 3,4 3,4
HuberLoss(delta=0.7) | 3,4 3,4
BCEWithLogitsLoss() | 3,4 b:3,4
KLDivLoss(reduction="batchmean") | 3,4 3,4
SoftMarginLoss() | 3,4 b:3,4
MultiLabelSoftMarginLoss() | 3,4 b:3,4
MultiMarginLoss() | 3,4 i4:3
PoissonNLLLoss() | 3,4 3,4
HingeEmbeddingLoss() | 3,4 b:3,4
TripletMarginLoss() | 3,4 3,4 3,4
Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)) | 2,4
Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)) | 2,1,6,6
"""
PARSED = [tuple(part.strip() for part in line.split("|")) for line in CASES.strip().splitlines()]


def make_input(torch: Any, spec: str) -> Any:
    kind, _, shape = spec.rpartition(":")
    size = [int(n) for n in shape.split(",")]
    if kind.startswith("i"):
        return torch.randint(0, int(kind[1:]), size)
    if kind == "b":
        return (torch.rand(*size) > 0.5).float()
    return torch.randn(*size, requires_grad=True)


def tensors_of(torch: Any, out: Any) -> list[Any]:
    if isinstance(out, (tuple, list)):
        return [t for part in out for t in tensors_of(torch, part)]
    return [out] if isinstance(out, torch.Tensor) else []


def run(torch: Any, layer: str, inputs: str) -> dict[str, Any]:
    torch.manual_seed(3)
    module = eval("nn." + layer, {"nn": torch.nn})
    start = {k: v.clone().tolist() for k, v in module.state_dict().items()}
    given = [make_input(torch, spec) for spec in inputs.split()]
    used = [x * 1 if "inplace=True" in layer and x.requires_grad else x for x in given]
    outs = tensors_of(torch, module(*used))
    total = sum((o * o.detach().cos()).sum() for o in outs if o.requires_grad)
    if not isinstance(total, int):
        total.backward()
    module.eval()
    with torch.no_grad():
        still = tensors_of(torch, module(*[x.detach().clone() for x in given]))
    return {
        "repr": repr(module), "state": start, "out": [o.tolist() for o in outs], "eval": [o.tolist() for o in still],
        "shapes": [(tuple(o.shape), o.stride()) for o in outs],
        "grads": [None if x.grad is None else x.grad.tolist() for x in given],
        "weights": {n: None if p.grad is None else p.grad.tolist() for n, p in module.named_parameters()},
        "after": {k: v.tolist() for k, v in module.state_dict().items()},
        "keys": list(module.state_dict()), "meta": dict(module.state_dict()._metadata), "training": module.training,
    }  # fmt: skip


def close(a: Any, b: Any, tol: float) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k], tol) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(close(x, y, tol) for x, y in zip(a, b))
    if isinstance(a, float):
        return a == b or abs(a - b) <= tol * (1 + abs(b)) or (a != a and b != b)
    return a == b


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("layer", "inputs"), PARSED, ids=[c[0][:60] for c in PARSED])
def test_layer(layer: str, inputs: str) -> None:
    ours, theirs = run(flambeau, layer, inputs), run(torch, layer, inputs)
    assert ours["repr"] == theirs["repr"]
    assert ours["keys"] == theirs["keys"] and ours["meta"] == theirs["meta"]
    assert close(ours["state"], theirs["state"], 0), "the same seed gives other weights"
    assert [s for s, _ in ours["shapes"]] == [s for s, _ in theirs["shapes"]]
    for what in ("out", "eval", "grads", "weights", "after"):
        assert close(ours[what], theirs[what], 2e-5), f"{what}: {ours[what]}\nPyTorch: {theirs[what]}"
