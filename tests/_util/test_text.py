"""Long lists in messages: the first of them, and how many more there are."""

import pytest

from l2l_omniglot._util.text import SHOWN, listed, noted, reasons


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
