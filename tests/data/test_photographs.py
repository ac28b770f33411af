"""Paper and ink in photographs that a program took."""

import sys

import numpy as np
import pytest
from l2l_omniglot.data.photographs import cut_out_paper, even_pen, find_ink
from PIL import Image

from l2l_omniglot.data.pictures import CUT_OUT, is_evenly_lit, read_picture
from l2l_omniglot.errors import SettingsError
from tools.photographs import HALVES, KINDS, drawings, photograph, seed


@pytest.fixture(scope="module")
def drawing() -> list[np.ndarray]:
    return drawings("development", 1, 1)[0][0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_ink_is_found_in_every_kind_of_photograph(kind: str, drawing, tmp_path):
    """It covers a few per cent of the paper, in about as many strokes as were drawn."""
    from skimage.measure import label

    path = tmp_path / "taken.png"
    photograph(kind, drawing, seed("development", 0, 0)).save(path)
    read = read_picture(path)
    assert read.info[CUT_OUT] == (kind == "table")
    assert is_evenly_lit(read) == (kind == "tidy")
    ink = np.asarray(find_ink(read)) == 0
    assert 0.001 < ink.mean() < 0.15
    assert 1 <= label(ink, connectivity=2).max() <= len(drawing) + 1


def test_a_shadow_is_no_sheet_and_an_empty_sheet_has_no_ink():
    x, y = np.meshgrid(np.linspace(-1, 1, 640), np.linspace(-1, 1, 480))
    shadow = 220 - 120 / (1 + np.exp(-x / 0.05))
    assert cut_out_paper(Image.fromarray(shadow.astype(np.uint8))) is None
    table = np.where((abs(x) < 0.6) & (abs(y) < 0.7), 200, 40).astype(np.uint8)
    sheet = cut_out_paper(Image.fromarray(table))
    assert sheet is not None and np.asarray(sheet).min() > 150
    assert 0.5 * 640 < sheet.width < 0.6 * 640
    assert np.asarray(find_ink(sheet)).min() == 255


@pytest.mark.parametrize("width", [3, 20])
def test_thin_and_thick_strokes_are_redrawn_alike(width: int):
    stroke = np.full((200, 200), 255, np.uint8)
    stroke[100 - width // 2 : 100 + width - width // 2, 30:170] = 0
    drawn = np.asarray(even_pen(Image.fromarray(stroke), 9))
    assert (drawn[:, 100] < 128).sum() == 9


def test_without_scikit_image_one_sentence_says_what_to_install(monkeypatch, drawing):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(SettingsError, match=r"needs skimage: pip install '.*\[photographs\]'"):
        find_ink(photograph("small", drawing, 0).convert("L"))


def test_the_halves_share_no_character():
    first, second = (drawings(half, 2, 1) for half in HALVES)
    assert not np.allclose(first[0][0][0][:2], second[0][0][0][:2])
    assert np.allclose(first[0][0][0], drawings("development", 2, 1)[0][0][0])
