"""The page in a real browser: from the first stroke to the prediction."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from browser import NEEDED, chromium, page, programs
from person import CROSS, OTHER_RING, PIPE, RING, Person, stayed_at_home
from selenium.webdriver.common.keys import Keys

from l2l_omniglot.experiments.weights import best_pretrained

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("page")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, zero_head: Path) -> Iterator[str]:
    """With weights that take steps."""
    with page(tmp_path_factory.mktemp("cache"), "--weights", str(zero_head)) as found:
        yield found


def test_from_the_first_stroke_to_the_prediction(person: Person):
    assert person.text("hint") == "Draw at least two characters, one example each."
    person.draw(person.pad(0), PIPE)
    person.until(lambda: person.text("hint") == "Draw one more character.")
    person.draw(person.pad(1), RING)
    person.draw(person.pad(2), CROSS)
    person.until(lambda: person.text("hint").startswith("Now draw the query"))
    person.draw(person.pad(), OTHER_RING)
    person.until(lambda: person.text("spoken").startswith("After step 5: B, "))
    assert (person.text("winner"), person.text("step-number")) == ("B", "5 of 5")
    last = person.shares()
    assert set(last) == {"A", "B", "C"}
    assert float(last["B"].rstrip(" %")) > 50
    person.slide(0)
    assert (person.text("winner"), person.text("step-number")) == ("Undecided", "0 of 5")
    assert set(person.shares().values()) == {"33 %"}
    person.slide(1)
    assert "step 1 of 5" in person.find("#step").get_attribute("aria-valuetext")
    person.slide(5)
    assert person.shares() == last
    shown = played(person)
    assert shown == [f"{step} of 5" for step in range(6)]
    assert person.find("#play").get_attribute("aria-label") == "Play the steps"


def test_an_answer_to_half_a_query_is_not_announced(person: Person):
    for number, strokes in enumerate((PIPE, RING)):
        person.draw(person.pad(number), strokes)
    person.until(lambda: person.text("hint").startswith("Now draw the query"))
    answer = hold_questions(person)
    person.draw(person.pad(2), CROSS)  # asks with its first stroke, and again with its second
    person.pen_down(person.pad(), OTHER_RING[0][:7])
    answer()
    person.until(lambda: person.find("#found").is_displayed())
    assert "After step" not in person.text("spoken")
    half = person.shares()
    person.draw(person.pad(), OTHER_RING)
    person.until(lambda: person.text("spoken").startswith("After step 5: "))
    assert person.shares() != half


def test_what_is_drawn_while_an_answer_is_awaited_is_kept(person: Person):
    hold_questions(person)
    for number, strokes in enumerate((PIPE, RING, CROSS)):
        person.draw(person.pad(number), strokes)
    inks = [person.ink(person.pad(number)) for number in range(3)]
    person.reload()
    assert [person.ink(person.pad(number)) for number in range(3)] == inks


def hold_questions(person: Person) -> Callable[[], Any]:
    """Has the page wait for its answers until what is returned is called."""
    person.driver.execute_script(
        "const send = window.fetch; const wait = new Promise((go) => { window.go = go; });"
        "window.fetch = async (...question) => { await wait; return send(...question); };"
    )
    return partial(person.driver.execute_script, "window.go()")


def played(person: Person) -> list[str]:
    """What the number of the step shows from the first to the last, however late this looks."""
    person.driver.execute_script(
        "const number = document.getElementById('step-number'); window.shown = [];"
        "new MutationObserver(() => { if (window.shown.at(-1) !== number.textContent)"
        " window.shown.push(number.textContent); })"
        ".observe(number, { childList: true, characterData: true, subtree: true });"
    )
    person.button("Play the steps").click()
    person.until(lambda: person.driver.execute_script("return window.shown.at(-1)") == "5 of 5")
    return person.driver.execute_script("return window.shown")


def test_weights_without_steps_have_one_answer(tmp_path: Path):
    with page(tmp_path / "cache") as found, chromium(tmp_path / "profile", 1280, 900) as driver:
        person = Person(driver, found)
        assert person.text("network") == best_pretrained()
        assert person.text("how").endswith("compares the query with your examples.")
        for number, strokes in enumerate((PIPE, RING, CROSS)):
            person.draw(person.pad(number), strokes)
        person.draw(person.pad(), OTHER_RING)
        person.until(lambda: person.text("spoken").startswith("Answer: B, "))
        assert person.find("#bars").is_displayed() and not person.find("#steps").is_displayed()
        stayed_at_home(person, found)


def test_a_trained_head_asks_for_its_number_of_characters(tmp_path: Path, trained_head: Path):
    weights = "--weights", str(trained_head)
    with (
        page(tmp_path / "cache", *weights) as found,
        chromium(tmp_path / "profile", 1280, 900) as driver,
    ):
        person = Person(driver, found)
        assert person.text("hint") == "Draw 5 characters, one example each."
        person.draw(person.pad(0), PIPE)
        person.until(lambda: person.text("hint") == "Draw 4 more characters.")
        assert not person.find("#add-character").is_displayed()
        assert not person.button("Remove B").is_enabled()
        person.find("#tools button[type=submit]").click()
        person.until(lambda: person.find("#found").is_displayed())
        assert person.text("step-number") == "5 of 5"
        stayed_at_home(person, found)


def test_undo_clear_and_the_prediction_follows(person: Person):
    person.draw(person.pad(0), PIPE)
    person.draw(person.pad(1), RING)
    person.draw(person.pad(), PIPE)
    person.until(lambda: person.text("winner") == "A")
    person.draw(person.pad(1), CROSS)
    whole = person.ink(person.pad(1))
    for _ in range(2):
        person.button("Undo the last stroke of B").click()
    ring = person.ink(person.pad(1))
    assert 0 < ring < whole
    person.button("Clear B").click()
    assert person.ink(person.pad(1)) == 0
    person.until(lambda: person.text("hint") == "Draw one more character.")
    assert not person.find("#found").is_displayed()
    person.button("Undo the last stroke of B").click()
    assert person.ink(person.pad(1)) == ring
    person.until(lambda: person.text("winner") == "A" and person.find("#found").is_displayed())
    person.button("Clear the query").click()
    person.until(lambda: person.text("hint").startswith("Now draw the query"))
    person.button("Undo the last stroke of the query").click()
    person.until(lambda: person.find("#found").is_displayed())
    person.find("#start-over").click()
    assert [person.ink(person.pad(number)) for number in (0, 1, None)] == [0, 0, 0]
    person.find("#toast button").click()
    assert person.ink(person.pad(1)) == ring
    person.until(lambda: person.find("#found").is_displayed())


def test_several_examples_and_names_and_numbers_of_characters(person: Person):
    for number, strokes in enumerate((PIPE, RING)):
        person.draw(person.pad(number), strokes)
    for count in range(2, 6):
        person.button("Another example of A").click()
        assert person.focused().startswith(f"Character A, example {count}.")
        person.draw(person.pad(0), CROSS)
    assert person.all('button[aria-label="Another example of A"]') == []
    cross = person.ink(person.pad(0))
    person.button("Example 1 of A").click()
    assert person.ink(person.pad(0)) != cross
    person.draw(person.pad(), CROSS)
    person.until(lambda: person.text("winner") == "A")
    name = person.find('input[aria-label="Name of character A"]')
    name.send_keys(Keys.END, "leph<b>")
    person.until(lambda: person.text("winner") == "Aleph<b>")
    for _ in range(15):
        person.driver.execute_script("document.getElementById('add-character').click()")
    assert len(person.all(".card")) == 20
    assert not person.find("#add-character").is_displayed()
    for _ in range(18):
        person.driver.execute_script(
            "[...document.querySelectorAll('button[aria-label^=Remove]')].at(-1).click()"
        )
    assert len(person.all(".card")) == 2
    assert not person.button("Remove B").is_enabled()
    person.until(lambda: person.text("winner") == "Aleph<b>")


def test_an_example_set_is_put_in_and_taken_back(person: Person):
    person.find("#shots").send_keys("3")
    assert not person.find("#source-choice").is_displayed()
    person.find("#tools button[type=submit]").click()
    person.until(lambda: person.find("#found").is_displayed())
    assert person.text("note").startswith("The query is another drawing of ")
    assert len(person.all(".card .thumb canvas")) == 15
    assert set(person.shares()) == set("ABCDE")
    seen = person.find("#seen canvas")
    assert 0.02 < person.ink(seen) < 0.4
    person.draw(person.pad(), PIPE)
    person.until(lambda: "another drawing" not in person.text("note"))
    person.find("#toast button").click()
    person.until(lambda: person.text("hint") == "Draw at least two characters, one example each.")


def test_everything_by_keyboard(person: Person):
    reached = []
    while "the query" not in (reached or [""])[-1] or len(reached) < 10:
        person.type(Keys.TAB)
        reached.append(person.focused())
        assert ring_around_focus(person), reached
        assert len(reached) < 60
    for name in "ABCDE":
        assert f"Name of character {name}" in reached and f"Remove {name}" in reached
    assert any("Add a character" in label for label in reached)
    for number, keys in enumerate(([Keys.DOWN] * 14, [Keys.RIGHT] * 14)):
        write(person, person.pad(number), keys)
    assert person.ink(person.pad(0)) > 0.01
    write(person, person.pad(), [Keys.DOWN] * 12)
    person.until(lambda: person.text("winner") == "A")
    person.type(Keys.DELETE)
    person.until(lambda: person.text("hint").startswith("Now draw the query"))
    person.type(Keys.BACKSPACE)
    person.until(lambda: person.find("#found").is_displayed())
    person.type(Keys.TAB)
    assert person.focused() == "Play the steps"
    person.type(Keys.TAB, Keys.HOME)
    assert person.text("step-number") == "0 of 5"
    person.type(Keys.ARROW_RIGHT)
    assert person.text("step-number") == "1 of 5"


def write(person: Person, pad: Any, keys: list[str]) -> None:
    """From the upper left, with the pen down."""
    person.driver.execute_script("arguments[0].focus()", pad)
    person.type(*[Keys.UP] * 7, *[Keys.LEFT] * 7, Keys.SPACE)
    assert person.text("spoken").startswith("Pen down.")
    person.type(*keys, Keys.SPACE)


def ring_around_focus(person: Person) -> bool:
    return person.driver.execute_script(
        "const e = document.activeElement, s = getComputedStyle(e);"
        "return e === document.body || s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2"
    )


def test_a_phone_and_a_finger(tmp_path: Path, address: str):
    with chromium(tmp_path / "profile", 390, 844, dark=True) as driver:
        person = Person(driver, address)
        width = driver.execute_script("return document.documentElement.scrollWidth")
        assert width == 390
        small = driver.execute_script(
            "return [...document.querySelectorAll('button, select, input, a')].filter((e) => {"
            "const b = e.getBoundingClientRect(); return b.width && (b.width < 24 || b.height < 24)"
            "}).map((e) => e.outerHTML)"
        )
        assert small == []
        assert person.find("#jump").is_displayed()
        ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(18, 21, 28)"
        before = person.pad(0).location["y"]
        person.touch(person.pad(0), CROSS)
        person.touch(person.pad(1), RING)
        person.touch(person.pad(), CROSS)
        person.until(lambda: person.text("winner") == "A")
        assert person.pad(0).location["y"] == before
        assert driver.execute_script("return document.documentElement.scrollWidth") == 390
        stayed_at_home(person, address)


def test_a_server_that_is_gone_is_told(tmp_path: Path, zero_head: Path):
    with chromium(tmp_path / "profile", 1280, 900) as driver:
        with page(tmp_path / "cache", "--weights", str(zero_head), "--steps", "2") as found:
            person = Person(driver, found)
            person.draw(person.pad(0), PIPE)
            person.draw(person.pad(1), RING)
            person.draw(person.pad(), RING)
            person.until(lambda: person.text("step-number") == "2 of 2")
        person.draw(person.pad(), PIPE)
        person.until(lambda: "does not answer" in person.text("hint"))


def test_without_a_browser_these_are_skipped_but_not_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(NEEDED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="chromium, chromium-driver"):
        programs()
    monkeypatch.setenv(NEEDED, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{NEEDED} is set"):
        programs()
