"""What was drawn stays: over a reload, in a file, under names of its own; notes cover nothing.

In a real browser, whose storage, downloads and layout are what this is about.
"""

from pathlib import Path

import pytest
from browser import chromium
from person import CROSS, OTHER_RING, PIPE, RING, Person
from selenium.webdriver.common.keys import Keys

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("page")]


@pytest.fixture
def person(person: Person) -> Person:
    """Somebody who has drawn three characters, and the second again."""
    for number, strokes in enumerate((PIPE, RING, CROSS)):
        person.draw(person.pad(number), strokes)
    person.draw(person.pad(), OTHER_RING)
    person.until(lambda: person.text("winner") == "B")
    return person


def pads(person: Person) -> list[float]:
    return [person.ink(person.pad(number)) for number in (0, 1, 2, None)]


def rename(person: Person, old: str, *keys: str) -> None:
    person.find(f'input[aria-label="Name of character {old}"]').send_keys(Keys.END, *keys, Keys.TAB)


def names(person: Person) -> list[str]:
    return [field.get_attribute("value") for field in person.all(".card .name")]


def test_drawings_and_names_survive_a_reload(person: Person):
    rename(person, "A", "leph")
    person.until(lambda: "Aleph" in person.shares())
    inks = pads(person)
    person.reload()
    person.until(lambda: person.text("winner") == "B")  # the page has its final width
    assert pads(person) == inks and all(inks)
    assert names(person) == ["Aleph", "B", "C", "D", "E"]
    person.find("#start-over").click()
    person.reload()
    assert pads(person) == [0, 0, 0, 0]


def test_what_was_kept_and_is_damaged_is_forgotten(person: Person):
    for damaged in ("{", "{}", '{"format": "l2l-omniglot drawings 1", "characters": [1, 2]}'):
        person.driver.execute_script(
            "localStorage.setItem('l2l-omniglot drawings 1', arguments[0])", damaged
        )
        person.reload()
        assert pads(person) == [0, 0, 0, 0]


def test_drawings_are_saved_to_a_file_and_loaded_from_it(person: Person, tmp_path: Path):
    inks, file = pads(person), tmp_path / "drawings.json"
    saved = person.saved(file)
    assert [len(each["examples"]) for each in saved["characters"]] == [1, 1, 1, 0, 0]
    person.find("#start-over").click()
    person.find("#file").send_keys(str(file))
    person.until(lambda: person.text("winner") == "B" and pads(person) == inks)
    assert person.find("#toast span").text == "drawings.json loaded."
    person.find("#toast button").click()
    assert pads(person) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no", "not JSON"),
        ("[]", "expected the format “l2l-omniglot drawings 1”"),
        ('{"format": "l2l-omniglot drawings 1"}', "no characters: expected 2 to 20"),
        (
            '{"format": "l2l-omniglot drawings 1", "characters": ['
            '{"name": "A", "examples": []}, {"name": "A", "examples": []}]}',
            "character 2: expected a name of its own, of 1 to 12 letters",
        ),
        (
            '{"format": "l2l-omniglot drawings 1", "characters": ['
            '{"name": "A", "examples": [{"strokes": [[[0, 2]]]}]}, {"name": "B", "examples": []}]}',
            "expected strokes of points [x, y] from 0 to 1",
        ),
    ],
)
def test_a_file_of_something_else_is_refused_and_nothing_is_lost(
    person: Person, tmp_path: Path, text: str, said: str
):
    inks, file = pads(person), tmp_path / "other.json"
    file.write_text(text)
    person.find("#file").send_keys(str(file))
    person.until(lambda: person.find("#toast").is_displayed())
    sentence = person.find("#toast span").text
    assert sentence.startswith("other.json: ") and said in sentence
    assert pads(person) == inks


def test_no_two_characters_have_one_name(person: Person):
    rename(person, "B", Keys.BACKSPACE, "A")
    person.until(lambda: names(person)[:3] == ["A", "A 2", "C"])
    rename(person, "C", Keys.BACKSPACE, "A")
    person.until(lambda: names(person)[:3] == ["A", "A 2", "A 3"])
    person.until(lambda: set(person.shares()) == {"A", "A 2", "A 3"})


def test_distances_show_what_decides_where_steps_add_nothing(person: Person):
    assert person.find("#distances").is_displayed() and not person.find("#steps").is_displayed()
    person.until(lambda: person.text("spoken").startswith("Answer: B, "))  # the last redrawing
    places = person.driver.execute_script(
        "return [...document.querySelectorAll('.place')].map((place) => "
        "[place.textContent, place.getBoundingClientRect().x, place.className])"
    )
    assert sorted(name for name, _, _ in places) == ["A", "B", "C"]
    nearest, *others = sorted(places, key=lambda place: place[1])
    assert nearest[0] == "B" and nearest[2] == "place best"
    assert all(kind == "place" for *_, kind in others)
    reach = person.find("#reach")
    assert reach.text == "usual" and "98.5 %" in reach.get_attribute("title")
    assert nearest[1] < reach.rect["x"] and "unlike" not in person.text("note")
    person.button("Clear the query").click()
    scribble = [[(0.1 + 0.8 * (n % 2), 0.1 + 0.02 * n) for n in range(40)]]
    person.draw(person.pad(), scribble)
    person.until(lambda: person.text("note") == "It is unlike all of them, perhaps none of these.")


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_a_note_never_covers_an_answer(tmp_path: Path, address: str, width: int, height: int):
    with chromium(tmp_path / "profile", width, height) as driver:
        person = Person(driver, address)
        person.find("#tools button[type=submit]").click()
        person.until(lambda: person.find("#found").is_displayed())
        assert person.find("#toast").is_displayed()
        note = person.find("#toast").rect
        for shown in [*person.all(".card"), person.find("#query"), person.find("#found")]:
            box = shown.rect
            apart = [
                note[at] + note[size] <= box[at] or box[at] + box[size] <= note[at]
                for at, size in (("x", "width"), ("y", "height"))
            ]
            assert any(apart), (note, box)
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
