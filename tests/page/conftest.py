"""A page with the default weights, and somebody who uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, page
from person import Person, stayed_at_home


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With the default weights, which compare and take no steps."""
    with page(tmp_path_factory.mktemp("cache")) as found:
        yield found


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser of a module's own."""
    with chromium(tmp_path_factory.mktemp("profile"), 1280, 900) as driver:
        yield driver


@pytest.fixture
def person(tmp_path: Path, address: str, window: Any) -> Iterator[Person]:
    """Somebody who has not been on the page before, and whose browser asks nobody else."""
    window.get("about:blank")  # so that a page before this one keeps nothing any more
    downloads = {"behavior": "allow", "downloadPath": str(tmp_path)}
    window.execute_cdp_cmd("Browser.setDownloadBehavior", downloads)
    window.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": address, "storageTypes": "all"})
    someone = Person(window, address)
    yield someone
    stayed_at_home(someone, address)
