"""Long lists in messages: the first of them, and how many more there are."""

import pytest

from l2l_omniglot._util.text import (
    SHOWN,
    columns,
    fold,
    listed,
    noted,
    reasons,
    shortened,
    shown,
    table,
)


@pytest.mark.parametrize("more", [0, 3])
def test_of_a_long_list_the_first_are_named(more: int):
    every = [f"s{number}" for number in range(SHOWN + more)]
    first = every[:SHOWN]
    assert listed(every, SHOWN) == ", ".join(first) + (" and 3 more" if more else "")
    assert reasons(every) == "; ".join(first) + ("; and 3 more" if more else "")
    notes = [f"Note: {sentence}." for sentence in first]
    assert noted(every, "{} more were left out") == [
        *notes, *(["Note: 3 more were left out."] if more else [])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "start", "kept"),
    [
        ("a-long-name", 0.5, "a-l…name"),
        ("folder/picture.png", 0.0, "…ure.png"),
        ("汉字汉字汉字汉字", 0.5, "汉…汉字"),
        ("8 columns", 0.5, "8 c…umns"),
        ("short", 0.5, "short"),
    ],
)
def test_a_long_name_keeps_the_columns_that_there_are(name: str, start: float, kept: str):
    found = shortened(name, 8, start)
    assert found == kept
    assert columns(found) <= 8


def test_names_cannot_turn_the_direction_or_end_the_line():
    assert shown("a\u202egnp.b\u2028\x1b[31m") == r"a\u202egnp.b\u2028\x1b[31m"
    assert shown("😀\u200d汉 \u3000") == "😀\u200d汉 \u3000"


def test_folding_keeps_every_blank_but_those_at_a_break():
    name = "a\u00a0b\u3000c\u202fd"
    assert fold(f"{name} {name}", 9) == f"{name}\n{name}"


def test_columns_of_a_table_stand_below_each_other_beside_wide_names():
    lines = table(["class", "n"], [["汉字汉字", "1"], ["a", "2"]]).split("\n")
    assert lines == ["class     n", "--------  -", "汉字汉字  1", "a         2"]
