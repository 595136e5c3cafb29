"""A table of layers, run the same way on Flambeau and PyTorch: weights, outputs, gradients, state, repr."""

from __future__ import annotations

from typing import Any

# Layer | inputs: shapes of random normal numbers. Before a colon stands another kind, "d" float64, "f" without gradient,
# "p" between 0 and 1, "sp" softmax, "ls" log softmax, "b" zeros and ones, "s" signs, "iN" indices below N (+1 above 0),
# "m" a mask whose first column is free, "c" a causal mask. "!" is Python. "name=" makes it a keyword argument.
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
Conv1d(2, 4, 3) | 2,9
Conv1d(2, 4, 3, padding="valid", dilation=2) | 2,2,9
Conv1d(2, 2, 4, padding="same", dilation=3, padding_mode="circular") | 1,2,9
Conv1d(2, 4, 3, padding=1, padding_mode="replicate", stride=2) | 2,2,9
Conv2d(4, 4, 3, groups=4, padding="same") | 4,6,5
Conv2d(2, 3, 1) | 1,2,4,4
Conv2d(2, 3, (1, 3), padding=(0, 2), padding_mode="reflect") | 1,2,4,5
Conv2d(2, 3, 3, stride=3, dilation=2, padding=4, groups=1, bias=False) | 1,2,7,8
Conv2d(2, 4, 2, dtype=torch.float64) | d:1,2,4,4
Conv3d(2, 4, (1, 2, 2), stride=(1, 2, 1), groups=2, padding=(0, 1, 1)) | 1,2,3,4,4
Conv3d(1, 2, 3, padding=1, padding_mode="circular") | 1,1,3,3,3
ConvTranspose1d(3, 2, 4, stride=3, output_padding=2, dilation=1) | 3,5
ConvTranspose2d(4, 3, (2, 3), stride=(1, 2), padding=(0, 1), bias=False) | 4,5,5
ConvTranspose2d(2, 3, 3, stride=2) | 1,2,4,4 output_size=![10,9]
ConvTranspose3d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2) | 1,2,2,2,2
Linear(4, 3) | 2,5,4
Linear(4, 1, dtype=torch.float64) | d:3,4
Bilinear(3, 4, 2, bias=False) | 2,5,3 2,5,4
Flatten(0, -1) | 2,3,4
Flatten(2) | 2,3,4,5
Unflatten(-1, (2, -1)) | 2,6
MaxPool1d(3, stride=1, padding=1, dilation=2) | 3,9
MaxPool1d(2, return_indices=True) | 2,3,8
MaxPool2d((3, 2), stride=(2, 1), dilation=(1, 2)) | 3,8,8
MaxPool2d(2, return_indices=True) | 2,3,6,6
MaxPool3d(2, stride=1, padding=1) | 2,4,4,4
MaxPool2d(3, 2, 1, ceil_mode=True) | 1,2,6,6
AvgPool1d(3, ceil_mode=True, count_include_pad=False) | 3,8
AvgPool2d((2, 3), stride=(1, 2), padding=(1, 1)) | 3,6,6
AvgPool2d(2, divisor_override=3) | 1,2,6,6
AvgPool3d((1, 2, 2), stride=2, ceil_mode=True) | 2,4,5,4
AdaptiveAvgPool1d(5) | 3,3
AdaptiveAvgPool3d((1, 2, None)) | 1,2,3,4,3
AdaptiveAvgPool2d((None, 3)) | 3,7,8
AdaptiveMaxPool1d(2, return_indices=True) | 2,3,5
AdaptiveMaxPool2d(3) | 2,7,8
AdaptiveMaxPool3d((2, 2, 1)) | 1,2,3,4,3
LPPool1d(3, 2) | 1,2,6
LPPool2d(1.5, (2, 3), stride=1) | p:1,2,5,5
LPPool3d(2, 2) | 1,2,4,4,4
MaxUnpool1d(2) | 1,2,3 i6:1,2,3
FractionalMaxPool2d(2, output_size=(3, 2)) | 2,3,7,6
FractionalMaxPool2d((2, 3), output_ratio=0.5, return_indices=True) | 3,7,7
FractionalMaxPool3d(2, output_size=2) | 1,2,5,5,4
BatchNorm1d(5, eps=1e-3, momentum=0.3) | 4,5
BatchNorm1d(3, affine=False) | 4,3,2
BatchNorm2d(3, track_running_stats=False) | 2,3,3,3
BatchNorm2d(3, bias=False) | 2,3,3,3
BatchNorm3d(2, affine=False, momentum=None) | 2,2,2,3,3
SyncBatchNorm(3) | 2,3,4
InstanceNorm1d(3) | 3,6
InstanceNorm2d(3, affine=True, eps=1e-2) | 3,5,5
InstanceNorm3d(2, affine=True, track_running_stats=True, momentum=0.5) | 2,2,3,3,3
LayerNorm((3, 2), eps=1e-2) | 4,3,2
RMSNorm((2, 3), eps=1e-3) | 4,2,3
RMSNorm(3, elementwise_affine=False) | 3
GroupNorm(3, 6, affine=False) | 2,6,2,2
GroupNorm(6, 6, eps=1e-2) | 2,6
GroupNorm(1, 4, bias=False) | 2,4,3
LocalResponseNorm(2, alpha=0.1, beta=0.5, k=2.0) | 2,5,4
Dropout(0.0) | 4,5
Dropout(1.0) | 4,5
Dropout(0.4, inplace=True) | 4,5
Dropout2d(0.3) | 4,3,3
Dropout3d(0.5) | 2,3,2,2,2
FeatureAlphaDropout(0.3) | 2,3,4
Embedding(7, 3, scale_grad_by_freq=True) | i7:2,4
Embedding(7, 3, padding_idx=-1, norm_type=1.0) | i7:3
EmbeddingBag(7, 3) | i7:2,4
EmbeddingBag(7, 3, mode="max") | i7:2,4
EmbeddingBag(7, 3, padding_idx=1) | i7:6 offsets=!torch.tensor([0,2,2])
EmbeddingBag(7, 3, mode="sum", include_last_offset=True) | i7:6 offsets=!torch.tensor([0,2,6])
RNN(3, 4, bias=False) | 5,3
RNN(3, 4, nonlinearity="relu", dropout=0.0) | 5,2,3 1,2,4
LSTM(3, 4, batch_first=True) | 5,3
LSTM(3, 6, proj_size=2, num_layers=2, bidirectional=True) | 5,2,3
LSTM(3, 4, dtype=torch.float64) | d:5,2,3
GRU(3, 4, batch_first=True, bias=False) | 2,5,3 1,2,4
GRU(3, 4, num_layers=2, dropout=0.5) | 5,2,3
GRU(3, 4, num_layers=2, bidirectional=True) | 5,3
RNNCell(3, 4, nonlinearity="relu", bias=False) | 3 4
RNNCell(3, 4) | 2,3 2,4
LSTMCell(3, 4, bias=False) | 3
GRUCell(3, 4, bias=False) | 2,3 2,4
MultiheadAttention(8, 2) | 5,8 3,8 3,8
MultiheadAttention(8, 4, bias=False) | 5,2,8 3,2,8 3,2,8
MultiheadAttention(8, 2) | 5,2,8 4,2,8 4,2,8 key_padding_mask=m:2,4
MultiheadAttention(8, 2) | 5,2,8 4,2,8 4,2,8 attn_mask=m:5,4
MultiheadAttention(8, 2) | 5,2,8 4,2,8 4,2,8 attn_mask=f:5,4
MultiheadAttention(8, 2) | 5,2,8 4,2,8 4,2,8 attn_mask=m:4,5,4 average_attn_weights=!False
MultiheadAttention(8, 2, batch_first=True) | 2,5,8 2,5,8 2,5,8 attn_mask=c:5 is_causal=!True need_weights=!False
MultiheadAttention(8, 2, batch_first=True) | 2,5,8 2,5,8 2,5,8 attn_mask=c:5 is_causal=!True
MultiheadAttention(8, 2) | 5,2,8 4,2,8 4,2,8 need_weights=!False key_padding_mask=f:2,4 attn_mask=f:5,4
MultiheadAttention(8, 2, add_bias_kv=True) | 5,2,8 4,2,8 4,2,8 key_padding_mask=m:2,4 attn_mask=m:5,4
TransformerEncoderLayer(8, 2, 16, dropout=0.0) | 5,2,8 src_mask=m:5,5 src_key_padding_mask=m:2,5
TransformerEncoderLayer(8, 2, 16, dropout=0.0, bias=False, layer_norm_eps=1e-3, batch_first=True) | 2,5,8 src_mask=c:5 is_causal=!True
TransformerEncoderLayer(8, 2, 16, dropout=0.3) | 5,2,8
TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), 2, nn.LayerNorm(8)) | 5,2,8 mask=m:5,5
TransformerDecoderLayer(8, 2, 16, dropout=0.0, norm_first=True) | 5,2,8 4,2,8 tgt_mask=c:5 memory_mask=m:5,4 memory_key_padding_mask=m:2,4
TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, activation="gelu"), 2) | 5,2,8 4,2,8
Transformer(8, 2, 1, 2, 16, dropout=0.0, batch_first=True, norm_first=True) | 2,5,8 2,4,8 tgt_mask=c:4
Transformer(8, 2, 1, 1, 16, dropout=0.2) | 5,8 4,8
Upsample(scale_factor=2, mode="bilinear") | 1,2,3,3
Upsample(scale_factor=1.5, mode="linear", align_corners=False) | 1,2,5
Upsample(size=7, mode="bicubic", align_corners=True) | 1,2,4,4
Upsample(scale_factor=(2.0, 0.5), mode="bicubic") | 1,2,4,4
Upsample(scale_factor=2, mode="trilinear") | 1,1,2,3,2
Upsample(size=(2, 5), mode="nearest-exact") | 1,2,3,3
Upsample(scale_factor=1.7, mode="bilinear", recompute_scale_factor=True) | 1,2,4,4
PixelShuffle(3) | 9,2,2
Fold((4, 4), 2, stride=2, padding=1, dilation=1) | 1,8,9
Unfold(2, stride=2, dilation=2, padding=1) | 2,3,6,6
ConstantPad2d((1, 0, -1, 2), -1.5) | 1,2,4,4
ConstantPad3d(1, 2.0) | 1,1,2,2,2
ZeroPad1d(2) | 1,2,3
ZeroPad3d((1, 0, 0, 1, 2, 0)) | 1,1,2,2,2
ReflectionPad3d(1) | 1,1,3,3,3
ReplicationPad1d((2, 1)) | 2,3
ReplicationPad3d(1) | 1,1,2,2,2
CircularPad1d(2) | 1,2,4
CircularPad3d(1) | 1,1,2,2,2
ELU(inplace=True) | 3,4
LeakyReLU(0.1, inplace=True) | 3,4
SiLU(inplace=True) | 3,4
Hardtanh(inplace=True) | 3,4
Threshold(0.5, -1.0, inplace=True) | 3,4
RReLU(0.1, 0.5, inplace=True) | 3,4
GLU(0) | 4,3
PReLU() | 3,4
PReLU(3) | 2,3,4
Softmax(0) | 3,4
LogSoftmax(0) | 3
Softmin(0) | 3,4
Softmax2d() | 3,2,2
CosineSimilarity(dim=0, eps=1e-3) | 3,4 3,4
PairwiseDistance(p=1, keepdim=True) | 3,4 3,4
CrossEntropyLoss() | 5 i5:
CrossEntropyLoss() | 4,5 sp:4,5
CrossEntropyLoss(label_smoothing=0.2) | 4,5 sp:4,5
CrossEntropyLoss(weight=torch.arange(5.0) + 1, label_smoothing=0.1) | 4,5 i5:4
CrossEntropyLoss(weight=torch.arange(5.0) + 1) | 2,5,3 sp:2,5,3
CrossEntropyLoss(ignore_index=1, weight=torch.arange(5.0)) | 2,5,3,2 i5:2,3,2
NLLLoss(weight=torch.arange(5.0) + 1, ignore_index=2) | 2,5,3 i5:2,3
NLLLoss() | 5 i5:
BCELoss(weight=torch.arange(4.0)) | p:3,4 b:3,4
BCEWithLogitsLoss(weight=torch.arange(4.0), pos_weight=torch.arange(4.0) + 1) | 3,4 b:3,4
KLDivLoss(log_target=True, reduction="sum") | 3,4 3,4
PoissonNLLLoss(log_input=False, full=True) | p:3,4 p:3,4
GaussianNLLLoss(full=True) | 3,4 3,4 p:3,1
MarginRankingLoss(margin=0.5) | 5 5 s:5
CosineEmbeddingLoss(margin=0.2) | 3,4 3,4 s:3
MultiLabelMarginLoss() | 3,4 i4:3,4
MultiMarginLoss(p=2, margin=0.5, weight=torch.arange(4.0) + 1) | 3,4 i4:3
TripletMarginLoss(margin=0.5, p=1, swap=True) | 3,4 3,4 3,4
TripletMarginWithDistanceLoss(swap=True, margin=2.0) | 3,4 3,4 3,4
CTCLoss() | ls:6,2,5 i4+1:2,3 !torch.tensor([6,5]) !torch.tensor([3,2])
CTCLoss(blank=2, zero_infinity=True, reduction="sum") | ls:6,2,5 i2:2,3 !(6,6) !(3,1)
Sequential(nn.Embedding(5, 4), nn.LSTM(4, 3, batch_first=True)) | i5:2,3
"""
# Each with every reduction.
LOSSES = """
CrossEntropyLoss | 4,5 i5:4
CrossEntropyLoss | 4,5 sp:4,5
NLLLoss | 4,5 i5:4
MSELoss | 3,4 3,4
L1Loss | 3,4 3,4
SmoothL1Loss | 3,4 3,4
HuberLoss | 3,4 3,4
BCELoss | p:3,4 b:3,4
BCEWithLogitsLoss | 3,4 b:3,4
KLDivLoss | 3,4 p:3,4
SoftMarginLoss | 3,4 s:3,4
MultiLabelSoftMarginLoss | 3,4 b:3,4
MultiLabelMarginLoss | 3,4 i4:3,4
MultiMarginLoss | 3,4 i4:3
PoissonNLLLoss | 3,4 p:3,4
GaussianNLLLoss | 3,4 3,4 p:3,4
HingeEmbeddingLoss | 3,4 s:3,4
MarginRankingLoss | 5 5 s:5
CosineEmbeddingLoss | 3,4 3,4 s:3
TripletMarginLoss | 3,4 3,4 3,4
TripletMarginWithDistanceLoss | 3,4 3,4 3,4
CTCLoss | ls:6,2,5 i4+1:2,3 !(6,5) !(3,2)
"""


def _parsed() -> list[tuple[str, str]]:
    rows = [line.split(" | ") for line in CASES.strip().splitlines()]
    for line in LOSSES.strip().splitlines():
        name, inputs = line.split(" | ")
        rows += [[f'{name}(reduction="{reduction}")', inputs] for reduction in ("none", "mean", "sum")]
    return [(layer, inputs) for layer, inputs in rows]


PARSED = _parsed()


def make_input(torch: Any, spec: str) -> Any:
    if spec.startswith("!"):
        return eval(spec[1:], {"torch": torch})
    kind, colon, shape = spec.rpartition(":")
    size = [int(n) for n in shape.split(",") if n]
    if kind.startswith("i"):
        count, _, offset = kind[1:].partition("+")
        return torch.randint(0, int(count), size) + int(offset or 0)
    if kind == "c":
        return torch.ones(size[0], size[0]).triu(1) > 0
    if kind in ("b", "s", "m"):
        drawn = torch.rand(*size) > 0.5
        if kind == "m":
            drawn[..., 0] = False
            return drawn
        return drawn.float() if kind == "b" else drawn.float() * 2 - 1
    if kind == "p":
        return (torch.rand(*size) * 0.9 + 0.05).requires_grad_()
    if kind in ("sp", "ls"):
        x = torch.randn(*size)
        return torch.softmax(x, 1) if kind == "sp" else torch.log_softmax(x, -1).requires_grad_()
    return torch.randn(*size, dtype=torch.float64 if kind == "d" else None, requires_grad=kind != "f")


def tensors_of(torch: Any, out: Any) -> list[Any]:
    if isinstance(out, (tuple, list)):
        return [t for part in out for t in tensors_of(torch, part)]
    return [out] if isinstance(out, torch.Tensor) else []


def run(torch: Any, layer: str, inputs: str) -> dict[str, Any]:
    """Everything that can be seen of a layer: a training step, then a call in eval mode."""
    torch.manual_seed(3)
    module = eval("nn." + layer, {"nn": torch.nn, "torch": torch})
    start = {k: v.clone().tolist() for k, v in module.state_dict().items()}
    given, named = [], {}
    for spec in inputs.split(" "):
        name, equals, rest = spec.partition("=")
        if equals and name.isidentifier():
            named[name] = make_input(torch, rest)
        else:
            given.append(make_input(torch, spec))
    wants = [isinstance(x, torch.Tensor) and x.requires_grad for x in given]
    used = [x * 1 if wanted and "inplace=True" in layer else x for x, wanted in zip(given, wants)]
    outs = tensors_of(torch, module(*used, **named))
    total = sum((o * o.detach().cos()).sum() for o in outs if o.requires_grad)
    if not isinstance(total, int):
        total.backward()
    module.eval()
    with torch.no_grad():
        again = [x.detach().clone() if isinstance(x, torch.Tensor) else x for x in given]
        still = tensors_of(torch, module(*again, **named))
    return {
        "repr": repr(module), "state": start, "out": [o.tolist() for o in outs], "eval": [o.tolist() for o in still],
        "shapes": [[list(o.shape), str(o.dtype).split(".")[-1]] for o in outs],
        "grads": [x.grad.tolist() if wanted and x.grad is not None else None for x, wanted in zip(given, wants)],
        "weights": {n: None if p.grad is None else p.grad.tolist() for n, p in module.named_parameters()},
        "after": {k: v.tolist() for k, v in module.state_dict().items()},
        "meta": dict(module.state_dict()._metadata), "training": module.training,
    }  # fmt: skip


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, (list, tuple)):
        return [n for v in value for n in numbers(v)]
    return [] if value is None else [float(value)]


def digest(found: dict[str, Any]) -> list[Any]:
    """A result, small: the repr, names and shapes whole; of numbers, how many, two sums, and the first few."""
    short = [found["repr"], list(found["state"]), found["shapes"]]
    for what in ("state", "out", "eval", "grads", "weights", "after"):
        flat = numbers(found[what])
        weighted = sum(n * (i % 7 + 1) for i, n in enumerate(flat))
        short.append([len(flat), *(float(f"{n:.6g}") for n in (sum(flat), weighted, *flat[:3]))])
    return short
