"""The page in a real browser: from the first stroke to the prediction."""

import base64
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import NEEDED, chromium, page, programs
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from l2l_omniglot.experiments.weights import best_pretrained

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("page")]

PIPE = [[(0.5, 0.1), (0.52, 0.5), (0.5, 0.9)]]
RING = [[(0.5 + 0.33 * np.sin(a), 0.5 - 0.33 * np.cos(a)) for a in np.linspace(0, 6.2, 13)]]
OTHER_RING = [[(0.45 + 0.25 * np.sin(a), 0.5 - 0.3 * np.cos(a)) for a in np.linspace(0.3, 6.5, 13)]]
CROSS = [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)]]
SECONDS = 20  # until something is shown; far more than it takes


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, zero_head: Path) -> Iterator[str]:
    """With weights that take steps."""
    with page(tmp_path_factory.mktemp("cache"), "--weights", str(zero_head)) as found:
        yield found


class Person:
    """Does what a person does, in a browser that shows the page."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        driver.get(address)
        self.until(
            lambda: driver.execute_script("return 'ready' in document.documentElement.dataset")
        )

    def until(self, true: Callable[[], Any]) -> None:
        """Waits until something is so."""
        end = time.monotonic() + SECONDS
        while not true():
            assert time.monotonic() < end, self.driver.find_element(By.TAG_NAME, "body").text
            time.sleep(0.02)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def button(self, label: str) -> Any:
        return self.find(f'button[aria-label="{label}"]')

    def text(self, name: str) -> str:
        return self.find(f"#{name}").get_attribute("textContent")

    def pad(self, number: int | None = None) -> Any:
        """The pad of a card, or of the query."""
        return self.find("#query-pad canvas") if number is None else self.all(".card .pad")[number]

    def draw(self, pad: Any, strokes: list[list[tuple[float, float]]]) -> None:
        """With the mouse."""
        side = pad.size["width"]
        for stroke in strokes:
            pen = ActionChains(self.driver, duration=0)
            for number, (x, y) in enumerate(stroke):
                pen.move_to_element_with_offset(pad, *(round((at - 0.5) * side) for at in (x, y)))
                if number == 0:
                    pen.click_and_hold()
            pen.release().perform()

    def touch(self, pad: Any, strokes: list[list[tuple[float, float]]]) -> None:
        """With a finger."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", pad)
        box = self.driver.execute_script(
            "return arguments[0].getBoundingClientRect().toJSON()", pad
        )
        for stroke in strokes:
            places = [
                (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke
            ]
            for kind, point in [("touchStart", places[0]), *[("touchMove", p) for p in places[1:]]]:
                self.finger(kind, [{"x": point[0], "y": point[1]}])
            self.finger("touchEnd", [])

    def finger(self, kind: str, points: list[dict[str, float]]) -> None:
        self.driver.execute_cdp_cmd(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
        )

    def ink(self, pad: Any) -> float:
        """Share of a pad's pixels with ink."""
        url = self.driver.execute_script("return arguments[0].toDataURL()", pad)
        image = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))
        return float((np.asarray(image.getchannel("A")) > 128).mean())

    def shares(self) -> dict[str, str]:
        """What stands beside each bar."""
        return self.driver.execute_script(
            "return Object.fromEntries([...document.querySelectorAll('#bars li')].map((row) => "
            "['.bar-name', '.number'].map((part) => row.querySelector(part).textContent)))"
        )

    def slide(self, step: int) -> None:
        self.driver.execute_script(
            "const s = document.getElementById('step'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('input', {bubbles: true}))",
            step,
        )

    def type(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> str:
        return self.driver.execute_script(
            "const e = document.activeElement; return e.getAttribute('aria-label') || e.textContent"
        )


@pytest.fixture
def person(tmp_path: Path, address: str) -> Iterator[Person]:
    with chromium(tmp_path / "profile", 1280, 900) as driver:
        someone = Person(driver, address)
        yield someone
        stayed_at_home(someone, address)


def stayed_at_home(person: Person, address: str) -> None:
    """No request to another host, no error in the console."""
    entries = person.driver.execute_script(
        "return [...performance.getEntriesByType('resource'), "
        "...performance.getEntriesByType('navigation')].map((entry) => entry.name)"
    )
    assert any(entry.endswith("/static/main.js") for entry in entries)
    assert all(entry.startswith(address) for entry in entries), entries
    assert person.driver.get_log("browser") == []


def test_from_the_first_stroke_to_the_prediction(person: Person):
    assert person.text("hint") == "Draw at least two characters, one example each."
    person.draw(person.pad(0), PIPE)
    person.until(lambda: person.text("hint") == "Draw one more character.")
    person.draw(person.pad(1), RING)
    person.draw(person.pad(2), CROSS)
    person.until(lambda: person.text("hint").startswith("Now draw the query"))
    person.draw(person.pad(), OTHER_RING)
    person.until(lambda: person.text("winner") == "B")
    assert set(person.shares()) == {"A", "B", "C"}
    assert person.text("step-number") == "5 of 5"
    person.until(lambda: person.text("spoken").startswith("After step 5: B, "))
    last = person.shares()
    assert float(last["B"].rstrip(" %")) > 50
    person.slide(0)
    assert (person.text("winner"), person.text("step-number")) == ("Undecided", "0 of 5")
    assert set(person.shares().values()) == {"33 %"}
    person.slide(1)
    assert "step 1 of 5" in person.find("#step").get_attribute("aria-valuetext")
    person.slide(5)
    assert person.shares() == last
    person.button("Play the steps").click()
    assert person.text("step-number") == "0 of 5"
    person.until(lambda: person.text("step-number") == "5 of 5")
    assert person.find("#play").get_attribute("aria-label") == "Play the steps"


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
    person.until(lambda: person.text("note") == "")
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
