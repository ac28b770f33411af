"""The pictures of docs/results.md show what is stored, and the page shows them."""

import re

import pytest

from tools.results_pictures import (
    DOCS,
    FAMILY,
    FINN,
    FOLDER_OF_PICTURES,
    PICTURES,
    drawn,
    read_own,
    read_protocols,
    read_table,
)

PAGE = (DOCS / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_up_to_date(name: str):
    """To the byte, names aside: `python -m tools.results_pictures` writes them again."""
    stored = (FOLDER_OF_PICTURES / name).read_bytes()
    assert without_names(stored) == without_names(drawn(name))


def without_names(svg: bytes) -> bytes:
    """Numbers what matplotlib names by a hash of its numbers, which NumPy 2 writes in other words.

    Two names stay two, and all else is as it was.
    """
    numbers: dict[bytes, bytes] = {}
    return re.sub(
        rb"\b[a-z][0-9a-f]{10}\b",
        lambda found: numbers.setdefault(found[0], b"name%d" % len(numbers)),
        svg,
    )


@pytest.mark.parametrize("name", PICTURES)
def test_the_page_shows_it_and_says_what_it_shows_and_where_it_is_from(name: str):
    found = re.search(rf"^!\[(.+)\]\(pictures/{name}\)\n\n(\*(?:.+\n)+)", PAGE, re.M)
    assert found, f"docs/results.md does not show {name}"
    alt, caption = (" ".join(part.split()) for part in found.groups())
    assert len(alt) > 60 and re.search(r"\d", alt)
    for word in ("seed 0", "November 2026", "2 cores of", "`"):
        assert word in caption, (word, caption)


def test_a_table_is_read_as_it_is_written():
    first, second, third, fourth = read_table(DOCS / "results.md", "step")
    assert [line.name for line in (first, fourth)] == ["5-way 1-shot", "20-way 5-shot"]
    assert first.places == [0, 1, 2, 3, 4, 5]
    cells = (
        f"{line.accuracies[5]:.2f} ± {line.halves[5]:.2f} %" for line in (first, second, third)
    )
    assert f"| 5 | {' | '.join(cells)} |" in PAGE


@pytest.mark.parametrize(
    ("page", "unit", "modes"),
    [
        ("docs/results.md", "", ("transductive", "inductive")),
        ("README.md", " %", ("transductive",)),
    ],
)
@pytest.mark.parametrize("name", [*FAMILY, "maml++"])
def test_the_figures_of_the_family_are_those_of_its_cards(
    page: str, unit: str, modes: tuple[str, ...], name: str
):
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    for mode in modes:
        protocol, split = ("maml++", "maml++") if name == "maml++" else FINN[:2]
        line = read_own(name, "", (protocol, split, mode))
        pairs = zip(line.accuracies, line.halves, strict=True)
        cells = " | ".join(f"{accuracy:.2f} ± {half:.2f}{unit}" for accuracy, half in pairs)
        assert re.search(rf"^\| `{re.escape(name)}`.* \| {re.escape(cells)} \|$", text, re.M)
        assert len(cells) > 50


def test_cards_give_the_figures_of_the_page():
    for line, row in zip(read_protocols("resnet8"), ("99.35", "99.36", "99.15"), strict=True):
        assert f"{line.accuracies[0]:.2f}" == row
        assert re.search(
            r"`resnet8` \| "
            + r" \| ".join(
                f"{a:.2f} ± {h:.2f}" for a, h in zip(line.accuracies, line.halves, strict=True)
            ),
            PAGE,
        )
