"""utils.summary: shapes, parameters, multiply-adds and memory of networks of every build."""

from __future__ import annotations

import pytest

import flambeau
from flambeau import nn
from flambeau.utils import summary
from flambeau.utils.multiplies import RULES, counting
from flambeau.vision import models


def table(model, *shape, **options):
    return summary(model, tuple(shape) or None, verbose=0, **options)


def row(info, name):
    (found,) = [r for r in info.rows if r.name == name]
    return found


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, stride=2, groups=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(flambeau.ones(5))

    def forward(self, x):
        return self.norm(self.conv(x)).relu()


def test_rows_follow_the_calls():
    info = table(nn.Sequential(Block(), nn.Flatten(), nn.Linear(8 * 16, 10)), 3, 8, 8)
    assert [(r.name, r.type, r.depth, r.output_shape) for r in info.rows] == [
        ("", "Sequential", 0, (1, 10)),
        ("0", "Block", 1, (1, 8, 4, 4)),
        ("conv", "Conv2d", 2, (1, 8, 4, 4)),
        ("norm", "BatchNorm2d", 2, (1, 8, 4, 4)),
        ("1", "Flatten", 1, (1, 128)),
        ("2", "Linear", 1, (1, 10)),
    ]
    assert [r.parameters for r in info.rows] == [0, 5, 216, 16, 0, 1290]
    assert info.total_params == info.trainable_params == 5 + 216 + 16 + 1290
    assert [r.mult_adds for r in info.rows] == [0, 0, 8 * 16 * 27, 0, 0, 1280]
    assert info.total_mult_adds == 3456 + 1280
    assert info.output_bytes == 4 * (128 + 128 + 128 + 10)
    assert info.input_bytes == 4 * 192 and info.param_bytes == 4 * info.total_params


def test_the_table_in_full():
    text = str(table(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), 4, batch_size=2))
    assert text.splitlines() == [
        "=" * 64,
        "Layer (type)                    Output Shape  Param #  Mult-Adds",
        "=" * 64,
        "Sequential                      (2, 8)             --         --",
        "  0 (Linear)                    (2, 8)             40         64",
        "  1 (ReLU)                      (2, 8)              0          0",
        "=" * 64,
        "Total params: 40",
        "Trainable params: 40",
        "Non-trainable params: 0",
        "Total mult-adds: 64",
        "-" * 64,
        "Input size (MB): 0.00",
        "Forward/backward pass size (MB): 0.00",
        "Params size (MB): 0.00",
        "Estimated total size (MB): 0.00",
        "=" * 64,
    ]


# Parameters and multiply-adds as torchinfo 1.8 has them for torchvision's models.
@pytest.mark.parametrize(
    "name, parameters, mult_adds", [("resnet18", 11_689_512, 1_814_073_344), ("alexnet", 61_100_840, 714_188_480)]
)
def test_well_known_models(name, parameters, mult_adds):
    info = table(getattr(models, name)(), 3, 224, 224)
    assert (info.total_params, info.total_mult_adds) == (parameters, mult_adds)


def test_the_model_stays_as_it_was():
    model = nn.Sequential(Block(), nn.Dropout(0.5))
    model[1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = flambeau.get_rng_state()
    table(model, 3, 8, 8)
    assert model.training and model[0].training and not model[1].training
    assert all(flambeau.equal(value, before[key]) for key, value in model.state_dict().items())
    assert flambeau.equal(state, flambeau.get_rng_state())
    assert not model[0]._forward_hooks and not model[0]._forward_pre_hooks


def test_a_model_that_fails_is_left_without_hooks():
    model = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(RuntimeError):
        table(model, 5)
    assert not model[0]._forward_hooks and model.training


def test_shared_modules_and_tied_weights_count_once():
    shared = nn.Linear(4, 4)
    info = table(nn.Sequential(shared, nn.ReLU(), shared), 4)
    assert info.total_params == 20 and info.total_mult_adds == 32
    assert [r.reused for r in info.rows if r.type == "Linear"] == [False, True]
    assert "(reused)" in str(info)

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = nn.Embedding(7, 3), nn.Linear(3, 7, bias=False)
            self.decode.weight = self.encode.weight

        def forward(self, x):
            return self.decode(self.encode(x))

    info = table(Tied(), 5, dtypes=[flambeau.int64])
    assert info.total_params == 21 == sum(r.parameters for r in info.rows)


def test_frozen_parameters():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    info = table(model, 4)
    assert (info.total_params, info.trainable_params) == (30, 10)
    assert "Non-trainable params: 20" in str(info)


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, a, b, scale=1.0):
            return {"sum": self.layer(a) + b, "parts": (a, [b]), "note": None, "scale": scale}

    info = table(Two(), (3,), (2,))
    assert info.rows[0].output_shape == {
        "sum": (1, 2), "parts": [(1, 3), [(1, 2)]], "note": "NoneType", "scale": "float"
    }  # fmt: skip
    assert "{sum: (1, 2), parts: [(1, 3), [(1, 2)]], note: NoneType, scale: float}" in str(info)
    assert table(Two(), input_size=[(5, 3), (5, 2)]).rows[0].output_shape["sum"] == (5, 2)
    data = {"a": flambeau.ones(4, 3), "b": flambeau.ones(4, 2)}
    assert table(Two(), input_data=data).rows[0].output_shape["sum"] == (4, 2)
    assert table(Two(), input_data=tuple(data.values()), scale=2).rows[0].output_shape["scale"] == "int"


@pytest.mark.parametrize("kind, gates", [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(kind, gates):
    info = table(kind(3, 5, num_layers=2, bidirectional=True, batch_first=True), 7, 3)
    state = [(4, 1, 5), (4, 1, 5)] if kind is nn.LSTM else (4, 1, 5)
    assert info.rows[0].output_shape == [(1, 7, 10), state]
    assert info.total_mult_adds == 7 * 2 * gates * 5 * ((3 + 5) + (10 + 5))


def test_attention_counts_its_products():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    info = table(layer, 6, 8)
    assert info.total_mult_adds == 6 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 6 * 6 * 8


def test_functions_count_too():
    class Functional(nn.Module):
        def forward(self, x):
            return flambeau.einsum("bi,bj->ij", x, x) @ flambeau.ones(4, 2) + flambeau.addmm(
                flambeau.zeros(4, 2), x.t(), flambeau.ones(x.shape[0], 2)
            )

    info = summary(Functional(), (4,), batch_size=3, verbose=0)
    assert info.total_mult_adds == 4 * 4 * 3 + 4 * 4 * 2 + 4 * 3 * 2


def test_transposed_convolutions_and_groups():
    assert table(nn.ConvTranspose2d(4, 6, 3), 4, 5, 5).total_mult_adds == 25 * 4 * 6 * 9
    assert table(nn.Conv1d(4, 8, 3, groups=2), 4, 10).total_mult_adds == 8 * 8 * 2 * 3


def test_every_rule_names_an_op():
    from flambeau.ops.op import ops

    assert set(RULES) <= set(ops)


def test_counting_stops_with_its_block():
    with counting() as counter:
        flambeau.ones(2, 3) @ flambeau.ones(3, 4)
    flambeau.ones(2, 3) @ flambeau.ones(3, 4)
    assert counter.total == 24


def test_depth_hides_rows_but_not_their_numbers():
    shallow = str(table(nn.Sequential(Block()), 3, 8, 8, depth=1))
    assert "Conv2d" not in shallow and "Block" in shallow and "Total params: 237" in shallow


def test_a_network_in_double_gets_a_double_input():
    assert table(nn.Linear(3, 2).double(), 3).input_bytes == 24


def test_bad_arguments():
    with pytest.raises(ValueError, match="exactly one of input_shape, input_data and input_size"):
        summary(nn.ReLU())
    with pytest.raises(ValueError, match="got 1 inputs but 2 dtypes"):
        summary(nn.ReLU(), (3,), dtypes=[flambeau.float32] * 2)


def test_printing(capsys):
    info = summary(nn.ReLU(), (3,))
    assert capsys.readouterr().out == f"{info}\n"
    summary(nn.ReLU(), (3,), verbose=0)
    assert capsys.readouterr().out == ""
