"""Sheet, light, lines, ink and pen in photographs that a program took."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt

from l2l_omniglot.data.drawing import LIGHT_INK, PHOTOGRAPH, RULED, SHEET, find_drawing
from l2l_omniglot.data.frame import even_pen, measure, redraw
from l2l_omniglot.data.ink import find_ink
from l2l_omniglot.data.light import is_evenly_lit
from l2l_omniglot.data.ruled import ruled_lines, without_lines
from l2l_omniglot.data.sheet import straighten_sheet
from l2l_omniglot.errors import SettingsError
from tools.photographs import HALVES, KINDS, PEN_WIDTHS, drawings, photograph, seed, with_pen

STEPS = {"tidy": set(), "table": {SHEET, PHOTOGRAPH}, "things": {SHEET, PHOTOGRAPH},
         "chalk": {LIGHT_INK, PHOTOGRAPH}, "ruled": {RULED, PHOTOGRAPH},
         "squared": {RULED, PHOTOGRAPH}}  # fmt: skip


@pytest.fixture(scope="module")
def drawing() -> list[np.ndarray]:
    return drawings("development", 1, 1)[0][0]


def taken(kind: str, drawing: list[np.ndarray], number: int = 0) -> Image.Image:
    """A photograph, as it is read."""
    return photograph(kind, drawing, seed("development", number, 0)).copy()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "phone"])
def test_the_ink_is_found_in_every_kind_of_photograph(kind: str, drawing):
    """It covers a few per cent of the paper, in about as many strokes as were drawn."""
    from skimage.measure import label

    found = find_drawing(taken(kind, drawing), "taken")
    assert found.steps == STEPS.get(kind, {PHOTOGRAPH}) and not found.doubt
    ink = np.asarray(found.ink) < 128
    assert 0.001 < ink.mean() < 0.15
    assert 1 <= label(ink, connectivity=2).max() <= len(drawing) + 1


def sheet_on_a_table(corners: list[tuple[float, float]]) -> Image.Image:
    """Paper with a cross in its middle, in bright light, on a dark table."""
    picture = Image.new("L", (800, 600), 50)
    pen = ImageDraw.Draw(picture)
    pen.polygon(corners, fill=210)
    middle = np.mean(corners, axis=0)
    for x, y in ((60, 60), (60, -60)):
        pen.line([tuple(middle - (x, y)), tuple(middle - (-x, -y))], fill=20, width=9)
    return picture


@pytest.mark.parametrize(
    "corners",
    [
        [(150, 100), (650, 100), (650, 500), (150, 500)],
        [(220, 60), (700, 160), (610, 540), (120, 430)],
        [(250, 40), (760, 190), (560, 640), (90, 420)],  # one corner is outside the picture
    ],
    ids=["upright", "askew", "cut off"],
)
def test_a_sheet_is_cut_out_and_straightened(corners: list[tuple[float, float]]):
    sheet = straighten_sheet(sheet_on_a_table(corners))
    assert sheet is not None
    values = np.asarray(sheet)
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - np.array(corners), axis=1)
    size = sides[[0, 2]].mean(), sides[[1, 3]].mean()
    assert (sheet.width, sheet.height) == pytest.approx(size, rel=0.06)
    assert (values < 80).mean() < 0.02  # the cross; nothing of the table
    rows, columns = np.nonzero(values < 100)
    middle = rows.mean() / sheet.height, columns.mean() / sheet.width
    assert middle == pytest.approx((0.5, 0.5), abs=0.08)


def test_a_shadow_a_page_and_a_window_are_no_sheets():
    x, y = np.meshgrid(np.linspace(-1, 1, 640), np.linspace(-1, 1, 480))
    shadow = 220 - 120 / (1 + np.exp(-x / 0.05))
    dark_on_bright = np.where((abs(x) < 0.6) & (abs(y) < 0.7), 40, 200)
    for values in (shadow, np.full_like(x, 200) - 20 * y, dark_on_bright):
        assert straighten_sheet(Image.fromarray(values.astype(np.uint8))) is None


def test_an_empty_sheet_has_no_ink():
    x, y = np.meshgrid(np.linspace(-1, 1, 640), np.linspace(-1, 1, 480))
    table = np.where((abs(x) < 0.6) & (abs(y) < 0.7), 200, 40).astype(np.uint8)
    sheet = straighten_sheet(Image.fromarray(table))
    assert sheet is not None and np.asarray(sheet).min() > 150
    assert np.asarray(find_ink(sheet).picture).min() == 255


@pytest.mark.parametrize("slant", [0.0, 0.05, -0.03])
@pytest.mark.parametrize("upright", [False, True])
def test_lines_go_and_strokes_across_them_stay(slant: float, upright: bool):
    y, x = np.mgrid[0:300, 0:400]
    lines = ((y + slant * x) % 30 < 2) * 0.4
    stroke = (abs(x - 200) < 4) & (abs(y - 150) < 90)  # as pale as the lines are
    dark = np.maximum(lines, 0.4 * stroke)
    if upright:
        dark, stroke = dark.T, stroke.T
    across, along = ruled_lines(dark)
    assert across.ruled.any() != along.ruled.any() == upright
    found = without_lines(without_lines(dark, across), along)
    assert found[~stroke].max() < 0.1 or (found[~stroke] > 0.1).mean() < 0.002
    assert (found[stroke] > 0.3).mean() > 0.98


def test_few_lines_may_be_strokes():
    y, x = np.mgrid[0:300, 0:400]
    dark = ((y == 100) | (y == 150) | (y == 200)) & (abs(x - 200) < 180)
    assert not any(each.ruled.any() for each in ruled_lines(dark * 0.8))


@pytest.mark.parametrize("light", [False, True], ids=["dark ink", "light ink"])
def test_a_photograph_of_few_pixels_has_ink_or_none(light: bool):
    noise = np.random.default_rng(0)
    for size in [(1, 1), (1, 35), (4, 40), (5, 5), (9, 2), (40, 3)]:
        pixels = noise.integers(0, 256, (*size, 3), dtype=np.uint8)
        found = find_ink(Image.fromarray(pixels), light)
        assert found.picture.size == size[::-1]


def test_a_pale_red_pen_is_told_from_blue_lines(drawing):
    page = np.full((400, 500, 3), 230.0)
    page[::30] = page[1::30] = (120, 150, 200)
    picture = Image.fromarray(page.astype(np.uint8))
    ImageDraw.Draw(picture).line((150, 90, 320, 310), fill=(220, 120, 120), width=8)
    ink = np.asarray(find_ink(picture).picture) == 0
    rows, columns = np.nonzero(ink)
    assert columns.min() >= 140 and columns.max() <= 330
    assert np.unique(rows).size > 0.97 * 220  # whole, where lines cross it


@pytest.mark.parametrize("width", [3, 20])
def test_thin_and_thick_strokes_are_redrawn_alike(width: int):
    stroke = np.full((200, 200), 255, np.uint8)
    stroke[100 - width // 2 : 100 + width - width // 2, 30:170] = 0
    drawn = np.asarray(even_pen(Image.fromarray(stroke), 9))
    assert (drawn[:, 100] < 128).sum() == 9


@pytest.mark.parametrize("width", PEN_WIDTHS[1:])
def test_every_pen_is_measured_and_redrawn_with_one(width: float, drawing):
    picture = with_pen(width, drawing)
    frame = measure(picture)
    assert 105 * frame.pen == pytest.approx(width, abs=0.25 * width + 0.7)
    redrawn = redraw(picture).resize((105, 105))
    assert 105 * measure(redrawn).pen == pytest.approx(4.7, abs=0.6)


@pytest.mark.parametrize("side", [300, 600, 1000])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_line_of_a_pixel_in_a_large_picture_does_not_fade(side: int, width: int):
    """As paint programs draw it, without shades; the same drawing by a wide pen is expected."""
    corners = [(0.2, 0.8), (0.3, 0.25), (0.5, 0.7), (0.75, 0.2), (0.8, 0.75), (0.2, 0.8)]

    def redrawn(pen: int) -> np.ndarray:
        paper = Image.new("L", (side, side), 255)
        path = [(side * x, side * y) for x, y in corners]
        ImageDraw.Draw(paper).line(path, fill=0, width=pen, joint="curve")
        return np.asarray(redraw(paper)) < 128

    thin, wide = redrawn(width), redrawn(side // 22)
    for ink, other in ((thin, wide), (wide, thin)):  # the wide pen's ends reach farther
        assert (distance_transform_edt(~other)[ink] > 6).mean() < 0.02


def test_a_solid_shape_stays_one():
    shape = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(shape).ellipse((100, 100, 200, 200), fill=0)
    found = np.asarray(redraw(shape)) < 128
    radius = 3 * (67 - 4.5) / 2
    assert found.sum() == pytest.approx(np.pi * radius**2, rel=0.05)


def test_usual_drawings_are_left_alone_and_others_are_redrawn(drawing):
    usual = find_drawing(with_pen(5, drawing), "usual")
    assert not usual.is_redrawn("auto") and usual.prepared("auto") is usual.ink
    assert usual.is_redrawn("always") and not usual.is_redrawn("never")
    assert usual.prepared("never") is usual.picture
    small = Image.new("L", (400, 400), 255)
    small.paste(with_pen(4.5, drawing), (20, 260))
    hair, marker = (with_pen(width, drawing) for width in (1.7, 10.5))
    for picture in (small, hair, marker, taken("shade", drawing)):
        assert find_drawing(picture, "unusual").is_redrawn("auto")


def test_what_is_hardly_ink_is_doubted(drawing):
    """Of a frame around the page, and of a table of which no sheet's edge was found."""
    page = taken("shade", drawing)
    assert not find_drawing(page, "page").doubt
    ImageDraw.Draw(page).rectangle((30, 30, 770, 570), outline=(60, 60, 60), width=6)
    assert find_drawing(page, "a").doubt == "what seems to be ink reaches from border to border"
    rows = np.random.default_rng(0).integers(40, 560, 30)
    for row in rows.tolist():  # the grain of a table
        ImageDraw.Draw(page).line((0, row, 120, row + 15), fill=(70, 70, 70), width=5)
    assert find_drawing(page, "b").doubt.startswith("what seems to be ink ")


def test_without_scikit_image_one_sentence_says_what_to_install(monkeypatch, drawing):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(SettingsError, match=r"needs skimage: pip install '.*\[pictures\]'"):
        find_drawing(taken("small", drawing), "a")


def test_the_halves_share_no_character():
    first, second = (drawings(half, 2, 1) for half in HALVES)
    assert not np.allclose(first[0][0][0][:2], second[0][0][0][:2])
    assert np.allclose(first[0][0][0], drawings("development", 2, 1)[0][0][0])


def test_an_even_picture_is_told_from_a_photograph(drawing):
    assert is_evenly_lit(with_pen(4.5, drawing))
    assert not is_evenly_lit(taken("shade", drawing).convert("L"))
