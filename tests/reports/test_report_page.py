"""The report in a real browser: on a desk and a phone, in light and dark."""

from pathlib import Path
from typing import Any

import pytest
from browser import chromium, programs
from conftest import run_cli

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("report")]

SIZES = {"desk": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, trained_head: Path) -> Path:
    """Two networks on the built-in characters."""
    programs()  # skips, or fails, before the report is made
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    done = run_cli(
        "report", "--weights", "conv4", "--weights", str(trained_head),
        "--data", "synthetic", "--tasks", "3",
        "--out", str(path), cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


def shown(driver: Any, script: str) -> Any:
    return driver.execute_script(f"return {script}")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_whole_and_fits_the_screen(report: Path, tmp_path: Path, size: str, dark: bool):
    with chromium(tmp_path / "profile", *SIZES[size], dark=dark) as driver:
        driver.get(report.as_uri())
        images = shown(driver, "[...document.images].map(i => [i.naturalWidth, i.alt])")
        assert len(images) > 20 and all(width > 0 and alt for width, alt in images)
        # Wide tables scroll by themselves; the page does not.
        assert shown(driver, "document.documentElement.scrollWidth") <= SIZES[size][0]
        fetched = shown(driver, "performance.getEntriesByType('resource').map(e => e.name)")
        assert all(name.startswith("data:") for name in fetched)
        assert driver.get_log("browser") == []
        colour = shown(driver, "getComputedStyle(document.body).backgroundColor")
        levels = [int(level) for level in colour.strip("rgb()").split(",")]
        assert (max(levels) < 100) if dark else (min(levels) > 200)
        for target in shown(
            driver, "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.hash)"
        ):
            assert shown(driver, f"document.querySelector('{target}') !== null"), target
