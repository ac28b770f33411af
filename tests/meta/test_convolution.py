import pytest
import torch
from torch.nn.functional import conv2d

from l2l_omniglot.meta.engines.blocks import product_moments
from l2l_omniglot.meta.engines.convolution import Geometry, convolution, convolve, products, windows
from l2l_omniglot.meta.engines.layers import moments

SIZES = [
    ((1, 1), (3, 3), (2, 2), (2, 2)),
    ((2, 2), (3, 3), (2, 2), (2, 2)),
    ((7, 5), (3, 3), (2, 2), (1, 1)),
    ((6, 6), (3, 3), (1, 1), (1, 1)),
    ((9, 8), (2, 4), (3, 1), (0, 2)),
    ((5, 5), (1, 1), (2, 2), (0, 0)),
    ((8, 8), (2, 2), (3, 3), (0, 0)),
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("function", [convolution, convolve], ids=["phases", "chosen"])
def test_convolution_is_torchs_for_every_task(sizes, function):
    geometry = Geometry(*sizes)
    images = torch.randn(3, 2, *geometry.size, 5, dtype=torch.float64)
    weight = torch.randn(3, 4, *geometry.kernel, 5, dtype=torch.float64)
    found = function(images, weight, geometry)
    for task in range(3):
        expected = conv2d(
            images[task].permute(0, 3, 1, 2),
            weight[task].permute(0, 3, 1, 2),
            stride=geometry.stride,
            padding=geometry.padding,
        )
        torch.testing.assert_close(found[task].permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize("sizes", SIZES[:5], ids=str)
def test_convolution_has_exact_first_and_second_derivatives(sizes):
    geometry = Geometry(*sizes)
    images = torch.randn(2, 1, *geometry.size, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2, *geometry.kernel, 2, dtype=torch.float64, requires_grad=True)
    inputs = (images, weight)
    assert torch.autograd.gradcheck(lambda x, w: convolution(x, w, geometry), inputs)
    assert torch.autograd.gradgradcheck(lambda x, w: convolution(x, w, geometry), inputs)


def test_moments_of_products_are_those_of_the_maps():
    geometry = Geometry(*SIZES[2])
    images = torch.randn(2, 3, *geometry.size, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, *geometry.kernel, 2, dtype=torch.float64, requires_grad=True)
    rows = windows(images, geometry)
    found = product_moments(rows, weight.flatten(2))
    for one, other in zip(found, moments(products(rows, weight)), strict=True):
        torch.testing.assert_close(one, other)

    def by_windows(x: torch.Tensor, w: torch.Tensor):
        return product_moments(windows(x, geometry), w.flatten(2))

    assert torch.autograd.gradcheck(by_windows, (images, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(by_windows, (images, weight), fast_mode=True)
