"""Somebody who uses the page: draws, types, clicks and reads, in a real browser."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

PIPE = [[(0.5, 0.1), (0.52, 0.5), (0.5, 0.9)]]
RING = [[(0.5 + 0.33 * np.sin(a), 0.5 - 0.33 * np.cos(a)) for a in np.linspace(0, 6.2, 13)]]
OTHER_RING = [[(0.45 + 0.25 * np.sin(a), 0.5 - 0.3 * np.cos(a)) for a in np.linspace(0.3, 6.5, 13)]]
CROSS = [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)]]
SECONDS = 120  # until something is shown: far more than it takes


class Person:
    """Does what a person does, in a browser that shows the page."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        driver.get(address)
        self.until(self.is_ready)

    def is_ready(self) -> bool:
        return self.driver.execute_script("return 'ready' in document.documentElement.dataset")

    def reload(self) -> None:
        self.driver.refresh()
        self.until(self.is_ready)

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
        for stroke in strokes:
            self.pen_down(pad, stroke)
            ActionChains(self.driver, duration=0).release().perform()

    def pen_down(self, pad: Any, stroke: list[tuple[float, float]]) -> None:
        """A stroke that does not end."""
        side = pad.size["width"]
        pen = ActionChains(self.driver, duration=0)
        for number, (x, y) in enumerate(stroke):
            pen.move_to_element_with_offset(pad, *(round((at - 0.5) * side) for at in (x, y)))
            if number == 0:
                pen.click_and_hold()
        pen.perform()

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

    def saved(self, file: Path) -> Any:
        """What the page saves to a file: whole, though a browser may begin with an empty one."""
        self.find("#save").click()
        self.until(lambda: file.exists() and file.stat().st_size)
        return json.loads(file.read_text())

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


def stayed_at_home(person: Person, address: str) -> None:
    """No request to another host, no error of the page in the console."""
    entries = person.driver.execute_script(
        "return [...performance.getEntriesByType('resource'), "
        "...performance.getEntriesByType('navigation')].map((entry) => entry.name)"
    )
    assert any(entry.endswith("/static/main.js") for entry in entries)
    assert all(entry.startswith(address) for entry in entries), entries
    log = person.driver.get_log("browser")  # in which Chromium has notes of its own, too
    assert not [entry for entry in log if entry["level"] == "SEVERE"], log
