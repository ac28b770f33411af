"""A real headless Chromium, and the page's process for it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import start_cli

NEEDED = "TESTS_NEED_BROWSER"  # set where a missing Chromium is a failure (.ci/run)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--no-first-run", "--disable-dev-shm-usage", "--force-prefers-reduced-motion",
)  # fmt: skip


def programs() -> tuple[str, str]:
    """Chromium and its driver; skips the test where they are missing, or fails if it may not."""
    browser = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    reason = "Chromium and chromedriver are not installed (Debian: chromium, chromium-driver)"
    if os.environ.get(NEEDED):
        pytest.fail(f"{reason}, and {NEEDED} is set")
    pytest.skip(reason)


@contextmanager
def chromium(profile: Path, width: int, height: int, dark: bool = False) -> Iterator[Any]:
    """A browser with a profile of its own; nothing is downloaded, nothing known beforehand."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    path, driver_path = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = path
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        phone = width < 500
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        if phone:
            driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield driver
    finally:
        driver.quit()


@contextmanager
def page(cache: Path, *arguments: str) -> Iterator[str]:
    """`l2l-omniglot draw` in a process of its own; its address. Ends it as Ctrl-C does."""
    process = start_cli(
        "draw", "--port", "0", "--no-browser", *arguments,
        env={**os.environ, "L2L_OMNIGLOT_CACHE": str(cache)},
    )  # fmt: skip
    try:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), process.communicate(timeout=60)
        yield address
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)
        assert (process.returncode, rest[0]) == (0, "")
        assert "Ctrl-C ends it.\n" in rest[1] and "Traceback" not in rest[1], rest[1]
    finally:
        process.kill()
        process.wait()
