import pytest
import torch
from torch.nn.functional import conv2d, linear

from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.errors import BackboneError


def normalise(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
    x = (x - mean) / (variance + 1e-5).sqrt()
    return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def pool(x: torch.Tensor) -> torch.Tensor:
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    x = x[:, :, :height, :width]
    return x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-2, -1))


def independent(images: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
    """BaseNet as the tutorial writes it: functional, on a flat list of parameters."""
    x = images
    for block in range(4):
        weight, bias, scale, shift = parameters[4 * block : 4 * block + 4]
        x = conv2d(x, weight, bias, stride=2, padding=2)
        if block < 3:
            x = pool(normalise(x, scale, shift).clamp(min=0))
        else:
            x = pool(normalise(x.clamp(min=0), scale, shift))
    return linear(x.reshape(len(x), -1), *parameters[16:])


@pytest.mark.parametrize(("channels", "size", "ways"), [(1, 28, 5), (3, 84, 7), (1, (20, 33), 2)])
def test_equals_an_independent_functional_version(channels, size, ways):
    network = BaseNet(ways, channels, size).double()
    parameters = list(network.parameters())
    with torch.no_grad():  # the order is part of the contract: values by position
        for parameter in parameters:
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    height, width = (size, size) if isinstance(size, int) else size
    images = torch.rand(6, channels, height, width, dtype=torch.float64)
    torch.testing.assert_close(network(images), independent(images, parameters))


def test_parameters():
    network = BaseNet(ways=5)
    assert sum(p.numel() for p in network.parameters()) == 112_261
    names = [name for name, _ in network.named_parameters()]
    assert names[:5] == [
        "block1.conv.weight", "block1.conv.bias", "block1.norm.weight", "block1.norm.bias",
        "block2.conv.weight",
    ]  # fmt: skip
    assert names[-2:] == ["linear.weight", "linear.bias"]
    assert network.linear.in_features == 64
    assert list(network.buffers()) == []


@pytest.mark.parametrize("init", ["tutorial", "zero"])
@pytest.mark.parametrize("ways", [2, 5, 20])
def test_initial_accuracy_is_exactly_one_in_n(init, ways):
    network = BaseNet(ways, init=init)
    logits = network(torch.rand(ways * 15, 1, 28, 28))
    assert torch.equal(logits, logits[:, :1].expand(-1, ways))  # every class alike
    labels = torch.arange(ways).repeat_interleave(15)
    assert (logits.argmax(1) == labels).sum().item() == 15


def test_tutorial_initialisation():
    network = BaseNet(init="tutorial")
    assert torch.equal(network.linear.weight, torch.ones(5, 64))
    for block in (network.block1, network.block2, network.block3, network.block4):
        assert block.conv.bias.abs().max() == 0
        assert torch.equal(block.norm.weight, torch.ones(64))
        fan_in = block.conv.weight[0].numel()
        assert block.conv.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
    assert torch.equal(BaseNet(init="zero").linear.weight, torch.zeros(5, 64))


@pytest.mark.parametrize("size", [1, 2, 7, 14, 28, 29, 64, 105, 224, (9, 40)])
def test_any_image_size(size):
    height, width = (size, size) if isinstance(size, int) else size
    assert BaseNet(3, 1, size)(torch.rand(4, 1, height, width)).shape == (4, 3)


def test_mode_makes_no_difference():
    network, images = BaseNet(), torch.rand(5, 1, 28, 28)
    torch.nn.init.normal_(network.linear.weight)
    assert torch.equal(network.train()(images), network.eval()(images))


def test_bad_arguments():
    for arguments, said in (
        ({"ways": 1}, "ways=1: expected at least 2"),
        ({"channels": 0}, "channels=0: expected at least 1"),
        ({"image_size": 0}, "image_size=0: expected at least 1"),
        ({"init": "ones"}, "init='ones': expected one of zero, tutorial"),
    ):
        with pytest.raises(BackboneError, match=said):
            BaseNet(**arguments)
