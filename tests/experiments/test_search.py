"""What a search tries of a setting, and what is refused."""

import pytest

from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.search import DEFAULT_SEARCH, Dimension, parse_search


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inner_lr=0.01..1:log", ("inner_lr", (0.01, 1.0), True, True)),
        ("inner-lr=1e-3..5e-1", ("inner_lr", (0.001, 0.5), True, False)),
        ("inner_steps=1..5", ("inner_steps", (1, 5), True, False)),
        ("inner_steps=1,3,5", ("inner_steps", (1, 3, 5), False, False)),
        ("head=shared, zero", ("head", ("shared", "zero"), False, False)),
        ("first_order=true,false", ("first_order", (True, False), False, False)),
    ],
)
def test_ranges_and_values(text: str, expected: tuple):
    (found,) = parse_search([text])
    assert found == Dimension(expected[0], text, *expected[1:])


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["nonsense"], "search='nonsense': expected SETTING=LOW..HIGH, "),
        (["inner_lr="], "expected SETTING=LOW..HIGH, "),
        (["iner_lr=1..2"], "search='iner_lr=1..2': expected a setting; did you mean 'inner_lr'?"),
        (["inner_lr=0..1"], "search='inner_lr=0..1': inner_lr=0.0: expected a number above 0"),
        (["inner_lr=nan..1"], "inner_lr=nan: expected a number above 0"),
        (["inner_lr=1..0.1"], "expected a range from a lower to a higher inner_lr"),
        (["inner_lr=1..x"], "'x' is no inner_lr; expected a number"),
        (["inner_lr=1..2:ln"], "ends in 'ln'; expected SETTING=LOW..HIGH"),
        (["weight_decay=0..1:log"], "expected a range above 0 for log, its start is 0"),
        (["inner_steps=1..2.5"], "'2.5' is no inner_steps; expected a whole number"),
        (["inner_steps=1..99999"], "inner_steps=99999: expected at most 10000"),
        (["head=shared"], "expected a range or several values of head, each once"),
        (["head=zero,zero"], "expected a range or several values of head, each once"),
        (["head=shared,zeros"], "head='zeros': expected one of trained, shared, zero, "),
        (["first_order=yes,no"], "'yes' is no first_order; expected true or false"),
        (["ways=5,20"], "with another ways validations could not be compared"),
        (["inner_lr=1..2", "inner_lr=2..3"], "'inner_lr=2..3': inner_lr comes twice"),
    ],
)
def test_what_is_wrong_is_quoted_with_what_was_needed(texts: list[str], said: str):
    with pytest.raises(SettingsError) as caught:
        parse_search(texts)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_searched_by_default():
    assert [each.name for each in parse_search(DEFAULT_SEARCH)] == [
        "inner_lr", "meta_lr", "inner_steps",
    ]  # fmt: skip
