"""The models: published parameter counts, torchvision's names and shapes, builders, weights, the registry."""

from __future__ import annotations

import hashlib
import io
import pickle

import numpy as np
import pytest

import flambeau as torch
from flambeau.vision import models
from flambeau.vision.models import _download, resnet
from flambeau.vision.models._api import Weights, WeightsEnum, register_model
from flambeau.vision.models.feature_extraction import create_feature_extractor, get_graph_node_names


def count(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def no_init(monkeypatch):
    """Leaves weights as they are allocated: counting parameters needs no random numbers."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "trunc_normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor)


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("resnext50_32x4d", 25_028_904),
        ("resnext101_32x8d", 88_791_336),
        ("resnext101_64x4d", 83_455_272),
        ("wide_resnet50_2", 68_883_240),
        ("wide_resnet101_2", 126_886_696),
        ("mobilenet_v2", 3_504_872),
        ("mobilenet_v3_large", 5_483_032),
        ("mobilenet_v3_small", 2_542_856),
        ("squeezenet1_0", 1_248_424),
        ("squeezenet1_1", 1_235_496),
        ("densenet121", 7_978_856),
        ("densenet161", 28_681_000),
        ("densenet169", 14_149_480),
        ("densenet201", 20_013_928),
        ("vit_b_16", 86_567_656),
        ("vit_b_32", 88_224_232),
        ("alexnet", 61_100_840),
        ("vgg11", 132_863_336),
        ("vgg13", 133_047_848),
        ("vgg16", 138_357_544),
        ("vgg19", 143_667_240),
        ("vgg11_bn", 132_868_840),
        ("vgg16_bn", 138_365_992),
        ("vgg19_bn", 143_678_248),
    ],
)
def test_published_parameter_counts(no_init, name, parameters):
    assert count(models.get_model(name)) == parameters
    for weights in models.get_model_weights(name):
        assert weights.meta["num_params"] == parameters


def test_resnet_names_and_shapes(no_init):
    state = models.resnet50().state_dict()
    assert list(state)[:8] == [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
        "bn1.num_batches_tracked",
        "layer1.0.conv1.weight",
        "layer1.0.bn1.weight",
    ]
    assert list(state)[-2:] == ["fc.weight", "fc.bias"]
    assert len(state) == 320
    assert state["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert state["layer4.2.conv2.weight"].shape == (512, 512, 3, 3)
    small = models.resnet18().state_dict()
    assert len(small) == 122 and "layer1.0.downsample.0.weight" not in small
    assert small["layer2.0.downsample.1.running_var"].shape == (128,)


def test_other_names(no_init):
    vgg = models.vgg11_bn().state_dict()
    assert list(vgg)[:3] == ["features.0.weight", "features.0.bias", "features.1.weight"]
    assert vgg["classifier.6.bias"].shape == (1000,) and vgg["features.25.weight"].shape == (512, 512, 3, 3)
    mobile = models.mobilenet_v2().state_dict()
    assert list(mobile)[:2] == ["features.0.0.weight", "features.0.1.weight"] and len(mobile) == 314
    assert mobile["features.2.conv.0.0.weight"].shape == (96, 16, 1, 1)
    assert mobile["features.18.0.weight"].shape == (1280, 320, 1, 1)
    alex = models.alexnet(num_classes=7).state_dict()
    assert [key for key in alex if key.endswith("weight")] == [
        "features.0.weight",
        "features.3.weight",
        "features.6.weight",
        "features.8.weight",
        "features.10.weight",
        "classifier.1.weight",
        "classifier.4.weight",
        "classifier.6.weight",
    ]
    assert alex["classifier.6.weight"].shape == (7, 4096)


def test_resnet_forward_and_backward():
    torch.manual_seed(0)
    model = models.resnet18(num_classes=5)
    output = model(torch.randn(2, 3, 32, 32))
    assert output.shape == (2, 5)
    output.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.conv1.weight.grad.abs().sum() > 0


def test_bottleneck_forward():
    model = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=3, groups=2, width_per_group=8)
    assert model.eval()(torch.randn(1, 3, 40, 40)).shape == (1, 3)


def test_mobilenet_forward():
    model = models.mobilenet_v2(num_classes=4, width_mult=0.25).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 32, 32)).shape == (1, 4)


def test_vision_transformer():
    vit = models.VisionTransformer(32, 8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=48, num_classes=5)
    image = torch.rand(2, 3, 32, 32)
    assert vit(image).shape == (2, 5) and vit.seq_length == 17
    assert vit(image).abs().sum() == 0  # the head starts at zero
    names = list(vit.state_dict())
    assert names[:4] == ["class_token", "conv_proj.weight", "conv_proj.bias", "encoder.pos_embedding"]
    assert "encoder.layers.encoder_layer_1.mlp.3.weight" in names and names[-1] == "heads.head.bias"
    published = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value + 1
        for name, value in vit.state_dict().items()
    }
    vit.load_state_dict(published)
    name = "encoder.layers.encoder_layer_0.mlp.linear_1.bias"
    assert torch.equal(vit.encoder.layers[0].mlp[0].bias, published[name])
    with pytest.raises(RuntimeError, match="Wrong image height! Expected 32 but got 16!"):
        vit(image[:, :, :16])


def test_small_networks_forward():
    with torch.no_grad():
        for model in (
            models.mobilenet_v3_small(num_classes=3, width_mult=0.5),
            models.mobilenet_v3_large(num_classes=3, width_mult=0.25, dilated=True, reduced_tail=True),
            models.squeezenet1_1(num_classes=3),
            models.DenseNet(4, (2, 2), 8, num_classes=3, drop_rate=0.2),
        ):
            assert model.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 3)


def test_old_densenet_names(no_init):
    model = models.DenseNet(4, (2, 2), 8, num_classes=3)
    state = model.state_dict()
    old = {name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value + 1 for name, value in state.items()}
    assert "features.denseblock1.denselayer2.norm.1.weight" in old
    model.load_state_dict(old)
    assert model.features.denseblock1.denselayer2.norm1.weight.min() == 2


# -- feature extraction ----------------------------------------------------------------------------------------


def test_feature_extractor():
    model = models.resnet18(num_classes=4).eval()
    image = torch.rand(1, 3, 32, 32)
    extractor = create_feature_extractor(model, ["layer2", "layer1.0.relu", "layer1.0.relu_1", "fc"])
    features = extractor(image)
    assert torch.equal(features["fc"], model(image)) and features["layer2"].shape == (1, 128, 4, 4)
    stem = model.maxpool(model.relu(model.bn1(model.conv1(image))))
    block = model.layer1[0]
    assert torch.equal(features["layer1.0.relu"], block.relu(block.bn1(block.conv1(stem))))
    assert torch.equal(features["layer1.0.relu_1"], block(stem))
    assert list(extractor.state_dict()) == list(model.state_dict())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.is_tensor(model(image))


def test_feature_extractor_stops_early_and_has_modes():
    model = models.LeNet()
    seen = []
    model.fc1.register_forward_hook(lambda *args: seen.append("fc1"))
    assert list(create_feature_extractor(model, {"conv1": "a"})(torch.zeros(1, 3, 32, 32))) == ["a"] and seen == []
    both = create_feature_extractor(model, train_return_nodes=["conv1"], eval_return_nodes=["fc3"])
    assert list(both(torch.zeros(1, 3, 32, 32))) == ["conv1"]
    assert list(both.eval()(torch.zeros(1, 3, 32, 32))) == ["fc3"]
    assert get_graph_node_names(model)[0] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    with pytest.raises(ValueError, match="node: 'layer9' is not present in model."):
        create_feature_extractor(model, ["layer9"])
    with pytest.raises(ValueError, match="Either `return_nodes` or"):
        create_feature_extractor(model)


def test_resnet_options():
    zero = models.resnet18(num_classes=2, zero_init_residual=True)
    assert zero.layer3[1].bn2.weight.abs().sum() == 0 and zero.layer3[1].bn1.weight.min() == 1
    dilated = resnet.ResNet(
        resnet.Bottleneck, [1, 1, 1, 1], num_classes=2, replace_stride_with_dilation=[False, True, True]
    )
    assert dilated.layer4[0].conv2.dilation == (2, 2) and dilated.layer4[0].conv2.stride == (1, 1)
    features = torch.nn.Sequential(*list(dilated.children())[:-2]).eval()
    assert features(torch.zeros(1, 3, 64, 64)).shape[-2:] == (8, 8)
    grouped = models.resnet18(norm_layer=lambda channels: torch.nn.GroupNorm(8, channels), num_classes=2)
    assert isinstance(grouped.bn1, torch.nn.GroupNorm)
    with pytest.raises(ValueError, match="replace_stride_with_dilation should be None or a 3-element tuple"):
        models.resnet50(replace_stride_with_dilation=[True])
    with pytest.raises(ValueError, match="BasicBlock only supports groups=1 and base_width=64"):
        models.resnet18(width_per_group=128)
    with pytest.raises(ValueError, match="The parameter 'width_per_group' expected value 128 but got 64 instead."):
        models.wide_resnet50_2(width_per_group=64)


def test_initialisation_is_he_normal():
    torch.manual_seed(0)
    model = models.resnet18(num_classes=2)
    weight = model.layer4[0].conv2.weight
    assert float(weight.std()) == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert model.bn1.weight.min() == 1 and model.bn1.bias.abs().sum() == 0


# -- LeNet and MLP ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "channels, size, parameters", [(3, 32, 62_006), (1, 28, 61_706), (1, 8, 21_386), (1, 4, 15_626)]
)
def test_lenet_sizes(channels, size, parameters):
    model = models.lenet(in_channels=channels, image_size=size)
    assert count(model) == parameters
    assert model(torch.zeros(2, channels, size, size)).shape == (2, 10)


def test_lenet_is_the_tutorial_network():
    assert {name: tuple(value.shape) for name, value in models.LeNet().state_dict().items()} == {
        "conv1.weight": (6, 3, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "fc1.weight": (120, 400),
        "fc1.bias": (120,),
        "fc2.weight": (84, 120),
        "fc2.bias": (84,),
        "fc3.weight": (10, 84),
        "fc3.bias": (10,),
    }
    with pytest.raises(ValueError, match="LeNet takes images from 4 x 4 pixels, not 3 x 3"):
        models.LeNet(image_size=3)


def test_mlp():
    assert models.mlp(num_classes=3, image_size=8, hidden=16)(torch.zeros(5, 1, 8, 8)).shape == (5, 3)


# -- weights ---------------------------------------------------------------------------------------------------


def test_weights_enums():
    weights = models.ResNet50_Weights
    assert weights.DEFAULT is weights.IMAGENET1K_V2 and repr(weights.DEFAULT) == "ResNet50_Weights.IMAGENET1K_V2"
    assert weights.verify("IMAGENET1K_V1") is weights.IMAGENET1K_V1
    assert weights.verify("ResNet50_Weights.DEFAULT") is weights.DEFAULT and weights.verify(None) is None
    with pytest.raises(TypeError, match="expected ResNet50_Weights but received ResNet18_Weights"):
        weights.verify(models.ResNet18_Weights.DEFAULT)
    with pytest.raises(KeyError):
        weights.verify("IMAGENET1K_V9")
    assert models.get_weight("ResNet50_Weights.IMAGENET1K_V2") is weights.IMAGENET1K_V2
    assert models.get_model_weights("resnet50") is weights and models.get_model_weights(models.resnet50) is weights
    assert weights.DEFAULT.url.endswith("resnet50-11ad3fa6.pth")


def test_preset_transforms(picture):
    preset = models.ResNet18_Weights.DEFAULT.transforms()
    image = preset(picture)
    assert image.shape == (3, 224, 224) and image.dtype == torch.float32
    assert repr(preset) == (
        "ImageClassification(\n    crop_size=[224]\n    resize_size=[256]\n    mean=[0.485, 0.456, 0.406]\n"
        "    std=[0.229, 0.224, 0.225]\n    interpolation=InterpolationMode.BILINEAR\n)"
    )


@pytest.fixture
def cached_weights(tmp_path, monkeypatch):
    """AlexNet-like tiny weights whose file lies in the cache under a name with the right hash."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    assert _download.checkpoint_dir() == str(folder)
    state = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return folder, buffer.getvalue(), state


def test_weights_come_from_the_cache(cached_weights):
    folder, content, state = cached_weights
    (folder / "tiny-12345678.pth").write_bytes(content)
    loaded = _download.load_state_dict_from_url("https://nowhere.invalid/tiny-12345678.pth", check_hash=True)
    assert torch.equal(loaded["weight"], state["weight"])


def test_weights_are_downloaded_checked_and_kept(cached_weights, tmp_path):
    folder, content, state = cached_weights
    digest = hashlib.sha256(content).hexdigest()[:8]
    source = tmp_path / f"tiny-{digest}.pth"
    source.write_bytes(content)
    loaded = _download.load_state_dict_from_url(source.as_uri(), check_hash=True, progress=False)
    assert torch.equal(loaded["weight"], state["weight"])
    assert (folder / source.name).read_bytes() == content
    wrong = tmp_path / "tiny-00000000.pth"
    wrong.write_bytes(content)
    with pytest.raises(RuntimeError, match=f'invalid hash value \\(expected "00000000", got "{digest}"\\)'):
        _download.load_state_dict_from_url(wrong.as_uri(), check_hash=True, progress=False)
    assert [path.name for path in folder.iterdir()] == [source.name]


def test_pretrained_models_without_a_network_are_one_clear_line(no_init, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    unreachable = Weights("http://127.0.0.1:9/resnet18-f37072fd.pth", lambda: None, {})
    monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1, "_value_", unreachable)
    with pytest.raises(RuntimeError, match="resnet18-f37072fd.pth failed: no connection") as error:
        models.resnet18(weights=models.ResNet18_Weights.DEFAULT)
    assert "\n" not in str(error.value) and error.value.__context__ is None


@pytest.mark.filterwarnings("ignore:The parameter .pretrained:UserWarning", "ignore:Arguments other than:UserWarning")
def test_old_arguments(no_init, monkeypatch):
    asked = []
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, **kwargs: asked.append(self) or state)
    state = models.resnet18().state_dict()
    with pytest.warns(UserWarning, match="The parameter 'pretrained' is deprecated since 0.13"):
        models.resnet18(pretrained=True)
    with pytest.warns(UserWarning, match="equivalent to passing `weights=ResNet18_Weights.IMAGENET1K_V1`"):
        models.resnet18(True, False)
    assert asked == [models.ResNet18_Weights.IMAGENET1K_V1] * 2
    with pytest.warns(UserWarning, match="equivalent to passing `weights=None`"):
        models.resnet18(pretrained=False)
    with pytest.raises(ValueError, match="The parameter 'num_classes' expected value 1000 but got 10 instead."):
        models.resnet18(weights="DEFAULT", num_classes=10)
    models.resnet18(weights="IMAGENET1K_V1")
    assert len(asked) == 3


# -- the registry ----------------------------------------------------------------------------------------------


def test_list_models():
    names = models.list_models()
    assert names == sorted(names) and {"resnet18", "vgg16_bn", "lenet", "mobilenet_v2"} <= set(names)
    assert models.list_models(include="resnet*", exclude="*1*") == ["resnet34", "resnet50"]
    assert models.list_models(module=models.alexnet) == ["alexnet"]
    assert models.list_models(module=resnet) == sorted(n for n in names if "resne" in n)


def test_registry_errors():
    with pytest.raises(ValueError, match="Unknown model resnet19"):
        models.get_model("resnet19")
    with pytest.raises(ValueError, match="Invalid weight name provided: 'ResNet18'"):
        models.get_weight("ResNet18")
    with pytest.raises(ValueError, match="The weight enum 'Foo' for the specific method couldn't be retrieved."):
        models.get_weight("Foo.BAR")
    with pytest.raises(ValueError, match="An entry is already registered under the name 'resnet18'."):
        register_model("resnet18")(lambda: None)
    assert models.get_model_builder("ResNet18") is models.resnet18


def test_models_and_builders_pickle():
    assert pickle.loads(pickle.dumps(models.resnet18)) is models.resnet18
    model = models.LeNet(in_channels=1, image_size=8).eval()
    image = torch.rand(1, 1, 8, 8)
    assert np.array_equal(pickle.loads(pickle.dumps(model))(image).detach().numpy(), model(image).detach().numpy())


def test_builders_look_like_functions():
    assert models.resnet18.__name__ == "resnet18" and models.resnet18.__module__ == "flambeau.vision.models.resnet"
    assert "BasicBlocks in stages of 2, 2, 2, 2" in models.resnet18.__doc__
