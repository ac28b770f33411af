import itertools

import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d

from l2l_omniglot.meta.engines.convolution import Geometry, convolution, convolve
from l2l_omniglot.meta.engines.pooling import corners, pool, pool_products

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


@pytest.mark.parametrize("size", [(4, 4), (5, 7)])
def test_pooling_is_torchs_with_exact_derivatives(size):
    maps = torch.randn(2, 3, *size, 4, dtype=torch.float64, requires_grad=True)
    expected = max_pool2d(maps.flatten(0, 1).permute(0, 3, 1, 2), 2)
    found = pool(maps)
    assert torch.equal(found.flatten(0, 1).permute(0, 3, 1, 2), expected)
    with torch.no_grad():
        assert torch.equal(pool(maps), found)
    assert torch.autograd.gradcheck(pool, (maps,))
    assert torch.autograd.gradgradcheck(pool, (maps,))


def test_among_equals_the_first_is_chosen_as_in_torch():
    for values in itertools.product((0.0, 1.0), repeat=4):
        maps = torch.tensor(values).view(1, 1, 2, 2, 1).requires_grad_()
        (found,) = torch.autograd.grad(pool(maps).sum(), maps)
        (expected,) = torch.autograd.grad(max_pool2d(maps.view(1, 1, 2, 2), 2).sum(), maps)
        assert torch.equal(found, expected)


def test_pooled_products_are_products_pooled():
    rows = [torch.randn(2, 6, 3, dtype=torch.float64) for _ in range(4)]
    weight = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    expected = torch.stack([part @ weight for part in rows]).amax(dim=0)
    torch.testing.assert_close(pool_products(rows, weight), expected)
    with torch.no_grad():
        torch.testing.assert_close(pool_products(rows, weight), expected)
    assert torch.autograd.gradcheck(lambda w: pool_products(rows, w), (weight,))
    # Linear between the points where another corner becomes largest, so a square makes it curve.
    assert torch.autograd.gradgradcheck(lambda w: pool_products(rows, w * w), (weight,))


def test_a_last_odd_row_and_column_are_left_out():
    assert [part.shape[2:4] for part in corners(torch.zeros(1, 1, 5, 7, 1))] == [(2, 3)] * 4
