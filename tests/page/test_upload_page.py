"""Pictures' files on the page, in a real browser: chosen, dropped, refused, kept."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from browser import chromium
from person import PIPE, RING, Person, stayed_at_home
from selenium.webdriver.common.keys import Keys

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("page")]

PICTURES = Path(__file__).parents[2] / "examples" / "pictures"
SIGNS = ("anchor", "comb", "flag", "house", "wave")


def give(person: Person, what: str, file: Path) -> None:
    """Chooses a file, as the dialog behind the button does."""
    person.find(f'input[aria-label="Choose a picture for {what}"]').send_keys(str(file))


def said(person: Person, card: int | None = None) -> Any:
    return person.all(".card .said")[card] if card is not None else person.find("#query .said")


def test_pictures_of_five_signs_and_a_query_stay_over_a_reload(person: Person, tmp_path: Path):
    for letter, sign in zip("ABCDE", SIGNS, strict=True):
        name = person.find(f'input[aria-label="Name of character {letter}"]')
        name.send_keys(Keys.END, Keys.BACKSPACE, sign, Keys.TAB)
        give(person, sign, PICTURES / f"support/{sign}/0.png")
    give(person, "the query", PICTURES / "query/house/2.png")
    person.until(lambda: person.text("winner") == "house")
    person.until(lambda: set(person.shares()) == set(SIGNS))
    for line in (said(person), said(person, 0), said(person, 4)):
        assert line.text == "Ink was centred, scaled and redrawn with one pen."
    inks = [person.ink(person.pad(number)) for number in (0, 1, 2, 3, 4, None)]
    assert min(inks) > 0
    shares = person.shares()
    saved = person.saved(tmp_path / "drawings.json")
    assert len(base64.b64decode(saved["query"]["picture"])) == 28**2
    person.reload()
    person.until(lambda: person.text("winner") == "house")
    assert person.shares() == shares
    assert [person.ink(person.pad(number)) for number in (0, 1, 2, 3, 4, None)] == inks
    person.find("#start-over").click()
    person.find("#file").send_keys(str(tmp_path / "drawings.json"))
    person.until(lambda: person.text("winner") == "house" and person.shares() == shares)


def test_a_picture_is_undone_and_drawn_anew(person: Person):
    person.draw(person.pad(0), PIPE)
    pipe = person.ink(person.pad(0))
    give(person, "A", PICTURES / "support/house/0.png")
    person.until(lambda: person.ink(person.pad(0)) != pipe)
    house = person.ink(person.pad(0))
    assert house > 0
    person.until(lambda: said(person, 0).text.endswith(" with one pen."))
    assert "0.png: Ink was centred" in person.text("spoken")
    person.button("Undo the last stroke of A").click()
    assert person.ink(person.pad(0)) == pipe and not said(person, 0).is_displayed()
    person.button("Clear A").click()
    give(person, "A", PICTURES / "support/house/0.png")
    person.until(lambda: person.ink(person.pad(0)) == house)
    person.draw(person.pad(0), PIPE)  # takes its place
    assert person.ink(person.pad(0)) == pipe


DROP = """
const [pad, text, name, more] = arguments, files = new DataTransfer();
const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
files.items.add(new File([bytes, new Uint8Array(more)], name));
for (const kind of ["dragover", "drop"]) pad.dispatchEvent(
  new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
"""


def drop(person: Person, pad: Any, file: Path, more: int = 0) -> None:
    """Drops a file, lengthened by so many bytes."""
    text = base64.b64encode(file.read_bytes()).decode()
    person.driver.execute_script(DROP, pad, text, file.name, more)


def test_a_dropped_picture_and_one_that_is_refused(person: Person, tmp_path: Path):
    drop(person, person.pad(1), PICTURES / "support/comb/1.png")
    person.until(lambda: person.ink(person.pad(1)) > 0)
    comb, other = person.ink(person.pad(1)), tmp_path / "letter.png"
    other.write_text("no picture")
    drop(person, person.pad(1), other)
    person.until(lambda: "letter.png: not a readable picture" in said(person, 1).text)
    assert "wrong" in said(person, 1).get_attribute("class")
    assert person.text("spoken").startswith("letter.png: ")
    assert person.ink(person.pad(1)) == comb  # nothing is lost
    drop(person, person.pad(1), other, more=17 * 2**20)
    person.until(lambda: said(person, 1).text == "letter.png: 17.0 MiB; expected at most 16 MiB.")
    person.draw(person.pad(1), RING)
    assert not said(person, 1).is_displayed()
    errors = [entry for entry in person.driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert ["400" in entry["message"] for entry in errors] == [True]  # the refusal, and no other


def test_the_button_is_reached_by_keyboard_and_opens_the_dialog(person: Person):
    person.driver.execute_script(
        "window.opened = []; HTMLInputElement.prototype.click = function () {"
        " window.opened.push(this.accept); }; arguments[0].focus()",
        person.pad(0),
    )
    while person.focused() != "Choose a picture for A":
        person.type(Keys.TAB)
    person.type(Keys.ENTER)
    assert person.driver.execute_script("return window.opened") == ["image/*"]


SMALL = """
const all = [...document.querySelectorAll('main button, main input, main select, main .pad')];
const shown = all.filter((e) => e.getBoundingClientRect().width);
const boxes = shown.map((e) => [e, e.getBoundingClientRect()]);
const name = (e) => e.getAttribute('aria-label') || e.textContent || e.id;
const cut = shown.filter((e) => e.scrollWidth > e.clientWidth + 1).map(name);
const tiny = boxes.filter(([, b]) => b.width < 24 || b.height < 24).map(([e]) => name(e));
const out = boxes.filter(([, b]) => b.left < 0 || b.right > innerWidth).map(([e]) => name(e));
const over = [];
boxes.forEach(([one, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
  const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  if (wide > 0.5 && high > 0.5) over.push([name(one), name(other)]);
}));
return { cut, tiny, out, over };
"""


@pytest.mark.parametrize("dark", [False, True])
def test_on_the_smallest_phone_nothing_is_cut_off_and_nothing_overlaps(
    tmp_path: Path, address: str, dark: bool
):
    with chromium(tmp_path / "profile", 320, 640, dark=dark) as driver:
        person = Person(driver, address)
        name = person.find('input[aria-label="Name of character A"]')
        name.send_keys(Keys.END, "leph", Keys.SPACE, "Bethe", Keys.TAB)
        give(person, "Aleph Bethe", PICTURES / "support/flag/0.png")
        for _ in range(4):
            person.until(lambda: person.ink(person.pad(0)) > 0)
            person.driver.execute_script(
                "document.querySelector('button[aria-label^=\"Another example\"]').click()"
            )
            give(person, "Aleph Bethe", PICTURES / "support/flag/1.png")
        give(person, "B", PICTURES / "support/wave/0.png")
        give(person, "the query", PICTURES / "query/flag/3.png")
        person.until(lambda: person.text("winner") == "Aleph Bethe")
        person.until(lambda: len(person.all(".card .thumb canvas")) == 9)
        nothing = {"cut": [], "tiny": [], "out": [], "over": []}
        assert driver.execute_script(SMALL) == nothing
        assert driver.execute_script("return document.documentElement.scrollWidth") == 320
        stayed_at_home(person, address)
