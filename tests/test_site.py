"""The site from docs/ is built, without a warning, and lives from its own files."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import chromium
from person import SECONDS
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

import l2l_omniglot
from tools import reference_page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]

ROOT = Path(__file__).parents[1]
LOADING = {"src", "srcset", "data", "poster", "action"}
FETCHED = re.compile(r"url\(\s*[\"']?([^)\"']+)|@import\s+[\"']([^\"']+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    environment = {
        **os.environ,
        "NO_MKDOCS_2_WARNING": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # ruff's
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Loads(HTMLParser):
    """What a page makes the browser fetch, links that a person follows left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = LOADING | ({"href"} if tag in {"link", "use", "image"} else set())
        self.found += [value for name, value in attrs if name in names and value]


def _elsewhere(target: str) -> bool:
    return bool(re.match(r"(https?:)?//", target))


def test_every_page_is_there(site: Path):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    pages |= {"index", "zh", "changelog", "resnet", "options"}
    assert {path.stem for path in site.glob("*.html")} >= pages


def test_pages_load_nothing_from_other_hosts(site: Path):
    pages, styles = [*site.rglob("*.html")], [*site.rglob("*.css")]
    assert len(pages) > 15
    assert styles
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loads = Loads(text).found
        assert len(loads) > 3, page
        loads += ["".join(found) for found in FETCHED.findall(text)]
        assert not [target for target in loads if _elsewhere(target)], page
    for style in styles:
        found = ["".join(f) for f in FETCHED.findall(style.read_text(encoding="utf-8"))]
        assert not [target for target in found if _elsewhere(target)], style


def test_a_font_of_another_host_would_be_noticed():
    page = '<link href="//fonts.example/a.css"><a href="https://x.example">x</a><img src="a.png">'
    assert [_elsewhere(target) for target in Loads(page).found] == [True, False]
    assert FETCHED.findall("a { b: url('https://x.example/c') }")[0][0] == "https://x.example/c"


def test_a_browser_fetches_from_the_site_only_and_finds_words(address: str, tmp_path: Path):
    with chromium(tmp_path / "profile", 1200, 900) as driver:
        for page in ("method.html", "index.html"):
            driver.get(address + page)
            names = WebDriverWait(driver, SECONDS).until(loaded)
            assert all(name.startswith(address) for name in names), names
        driver.find_element(By.CSS_SELECTOR, "input.md-search__input").send_keys("inductive")
        results = "li.md-search-result__item"
        WebDriverWait(driver, SECONDS).until(lambda d: d.find_elements(By.CSS_SELECTOR, results))
        severe = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert not severe, severe


def loaded(driver: WebDriver) -> list[str]:
    """What the page has fetched, once that is more than its first files."""
    names: list[str] = driver.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    return names if len(names) > 3 else []


def test_the_reference_has_every_public_name_with_its_docstring(site: Path):
    named = [name for name in reference_page.NAMES if "." not in name]
    assert sorted(named) == sorted(set(l2l_omniglot.__all__) - {"__version__"})
    built = (site / "reference.html").read_text(encoding="utf-8")
    for name in named:
        assert re.search(rf'<h4 id="[\w.]*\b{name}"', built), name
        first = getattr(l2l_omniglot, name).__doc__.strip().split(" ")[0]
        assert f"<p>{first} " in built, name
