from pathlib import Path

import numpy as np
import pytest
import torch

from l2l_omniglot.data.stack import ImageStack, load_stack
from l2l_omniglot.errors import DataError


@pytest.fixture
def pixels() -> np.ndarray:
    """Black ink on white paper: (6, 4, 1, 8, 8), uint8."""
    array = np.full((6, 4, 1, 8, 8), 255, np.uint8)
    for c in range(6):
        for m in range(4):
            array[c, m, 0, 1 + c % 6, 2 : 4 + m % 3] = 10 * m
    return array


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a,
        lambda a: a[:, :, 0],
        lambda a: np.moveaxis(a, 2, 4),
        lambda a: a.astype(np.int64),
        lambda a: a / 255.0,
        lambda a: (a / 255.0).astype(np.float32),
        lambda a: a.astype(np.float64),
        lambda a: 255 - a,
        lambda a: 1 - a / 255.0,
        np.asfortranarray,
    ],
    ids=[
        "uint8",
        "4d",
        "last",
        "int64",
        "unit",
        "unit32",
        "float255",
        "inverted",
        "inverted-unit",
        "fortran",
    ],
)
def test_all_layouts_and_ranges_give_the_same_images(pixels, change, tmp_path: Path):
    np.save(tmp_path / "s.npy", change(pixels))
    images = load_stack(tmp_path / "s.npy").images([0, 5], [3, 1])
    expected = 1 - torch.from_numpy(pixels[[0, 5], [3, 1]].astype(np.float32)) / 255
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, expected, atol=1e-6, rtol=0)


def test_booleans_and_zero_one_integers(pixels):
    ink = pixels < 128
    for array in (ink, ink.astype(np.uint8), ~ink):
        images = ImageStack(array).images([2], [1])
        assert torch.equal(images[0, 0], torch.from_numpy(ink[2, 1, 0]).float())


def test_rgb_both_layouts(pixels):
    first = np.repeat(pixels, 3, axis=2)
    last = np.moveaxis(first, 2, 4)
    for array in (first, last):
        stack = ImageStack(array)
        assert (stack.channels, stack.image_size) == (3, 8)
        assert stack.images([0], [0]).shape == (1, 3, 8, 8)


def test_oblong_images_have_a_pair_for_a_size():
    assert ImageStack(np.zeros((3, 2, 8, 6))).image_size == (8, 6)


def test_ink_and_background_are_settings(pixels):
    as_stored = ImageStack(pixels, ink="black").images([0], [0])
    torch.testing.assert_close(as_stored, 1 - ImageStack(pixels).images([0], [0]))
    assert torch.equal(as_stored, torch.from_numpy(pixels[:1, 0]).float() / 255)
    told = ImageStack(pixels, background="black").images([0], [0])
    assert torch.equal(told, as_stored)


def test_quarter_turns(pixels):
    stack = ImageStack(pixels)
    turned = stack.images([1] * 4, [2] * 4, [0, 1, 2, 3])
    for k in range(4):
        assert torch.equal(turned[k], torch.rot90(turned[0], k, (-2, -1)))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 4)), r"shape \(3, 4\); expected \(C, M, 1, H, W\)"),
        (np.zeros((3, 4, 2, 8, 8)), r"shape \(3, 4, 2, 8, 8\); expected"),
        (np.zeros((0, 4, 8, 8)), "holds no image"),
        (np.full((3, 4, 8, 8), np.nan), "class 0 holds NaN"),
        (np.full((3, 4, 8, 8), np.inf), "class 0 holds NaN or infinity"),
        (np.full((3, 4, 8, 8), -0.5), "values from -0.5 to -0.5; expected 0 to 1 or 0 to 255"),
        (np.full((3, 4, 8, 8), 2.0), "values from 2 to 2; expected"),
        (np.full((3, 4, 8, 8), 300), "values from 300 to 300; expected"),
        (np.zeros((3, 4, 8, 8), complex), "holds complex128; expected"),
        (np.zeros((3, 4, 8, 8), "S1"), "expected booleans, integers or floats"),
    ],
)
def test_bad_arrays_are_told_what_was_found_and_needed(array, said, tmp_path: Path):
    np.save(tmp_path / "s.npy", array)
    with pytest.raises(DataError, match=said):
        load_stack(tmp_path / "s.npy")


def test_floats_a_rounding_error_outside_are_clipped(pixels):
    array = (pixels / 255.0) * 1.0000004 - 1e-7
    images = ImageStack(array).images([0, 5], [3, 1])
    assert images.min() >= 0 and images.max() <= 1
    torch.testing.assert_close(images, ImageStack(pixels).images([0, 5], [3, 1]), atol=1e-6, rtol=0)


def test_nan_in_a_late_class_is_located():
    array = np.zeros((200, 2, 4, 4))
    array[130, 1, 2, 2] = np.nan
    with pytest.raises(DataError, match="class 130 holds NaN"):
        ImageStack(array)


def test_bad_files(pixels, tmp_path: Path):
    path = tmp_path / "s.npy"
    with pytest.raises(DataError, match="no such file"):
        load_stack(path)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"not a readable \.npy array"):
        load_stack(path)
    np.save(path, pixels)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"not a readable \.npy array"):
        load_stack(path)
    for content in (b"", b"hello", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not a readable \.npy array"):
            load_stack(path)
    np.save(path, pixels)
    (tmp_path / "s.json").write_text('{"format": "l2l-omniglot stack 1"}')
    with pytest.raises(DataError, match="broken sidecar"):
        load_stack(path)


def test_somebody_elses_json_is_ignored(pixels, tmp_path: Path):
    np.save(tmp_path / "s.npy", pixels)
    (tmp_path / "s.json").write_text('{"note": "mine"}')
    assert load_stack(tmp_path / "s.npy").names == ("0", "1", "2", "3", "4", "5")


def test_unknown_choices():
    for setting in ("background", "ink"):
        with pytest.raises(DataError, match=f"{setting}='green': expected one of"):
            ImageStack(np.zeros((3, 4, 8, 8)), **{setting: "green"})


def test_a_stack_on_a_device_gives_the_same_images(pixels: np.ndarray):
    for array in (pixels, pixels / 255.0, np.repeat(pixels, 3, axis=2)):
        for ink in ("white", "black"):
            here = ImageStack(array, "white", ink)
            there = here.on("cpu")
            where = ([0, 5, 2, 2], [1, 0, 3, 2], [0, 1, 2, 3])
            assert torch.equal(here.images(*where), there.images(*where))
            assert there.sha256 == here.sha256
