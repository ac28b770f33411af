"""A hook of MkDocs: pages that lie outside docs/, those that are made, and links that work there.

Links in the repository's pages are relative to the file they stand in, so that they work where
the repository is looked at. Here those that leave docs/ are turned to the pages of the site.
Notebooks become pages of text and code.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

NOTEBOOKS = "examples/notebooks/"
PAGES = {
    "README.md": "index.md",
    "README.zh.md": "zh.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "LICENSE",
    "examples/l2l-omniglot-resnet/README.md": "resnet.md",
    f"{NOTEBOOKS}first-steps.ipynb": "notebook-first-steps.md",
    f"{NOTEBOOKS}own-pictures.ipynb": "notebook-own-pictures.md",
    f"{NOTEBOOKS}own-data.ipynb": "notebook-own-data.md",
    f"{NOTEBOOKS}own-backbone.ipynb": "notebook-own-backbone.md",
    f"{NOTEBOOKS}how-maml-adapts.ipynb": "notebook-how-maml-adapts.md",
}
_HOMES = {page: file for file, page in PAGES.items()}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from outside docs/, and those that are made from commands and docstrings."""
    root = Path(config.config_file_path).parent
    if str(root) not in sys.path:  # MkDocs loads a hook by its path
        sys.path.insert(0, str(root))
    from tools.options_page import page as options
    from tools.reference_page import page as reference

    files.append(File.generated(config, "options.md", content=options()))
    files.append(File.generated(config, "reference.md", content=reference()))
    for page, file in _HOMES.items():
        if file.endswith(".ipynb"):
            text = as_markdown((root / file).read_text(encoding="utf-8"), file)
            files.append(File.generated(config, page, content=text))
        else:
            files.append(File.generated(config, page, abs_src_path=str(root / file)))
    return files


def as_markdown(notebook: str, file: str) -> str:
    """Returns a notebook's text and code, with what to do with it below its title."""
    parts = []
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    title, _, rest = parts[0].partition("\n")
    note = f"*A notebook, `{file}`: run it to see its pictures.*"
    return "\n\n".join([title, note, rest.strip(), *parts[1:]]) + "\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the page's links: from places in the repository to places on the site."""
    del config, files  # MkDocs calls with these names
    here = page.file.src_uri
    folder = posixpath.dirname(_HOMES.get(here, f"docs/{here}"))

    def turned(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        place = PAGES.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(place, posixpath.dirname(here) or ".")

    return _LINK.sub(turned, markdown)
