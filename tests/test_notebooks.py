"""The notebooks: each runs from top to bottom in a kernel of its own, and holds no outputs.

The kernels are forked (processes.py).
"""

import json
import re
from pathlib import Path

import pytest
from processes import DRAWN, client, served

from l2l_omniglot._util.files import CACHE_VARIABLE

FOLDER = Path(__file__).parents[1] / "examples/notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))
STARTS, CELL = 120, 240  # seconds, on a machine that has much else to do


def cells(path: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import nbformat
    from nbclient import NotebookClient

    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where they write
    monkeypatch.setenv(CACHE_VARIABLE, str(DRAWN))
    door = tmp_path / "door"
    kernel = tmp_path / "JUPYTER_DATA_DIR/kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True)
    words = [*client(door).split(), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": words, "display_name": "forked", "language": "python"}))
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    where = {"metadata": {"path": str(FOLDER)}}
    with served(door):
        NotebookClient(book, timeout=CELL, startup_timeout=STARTS, resources=where).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert outputs
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_all_five_are_there():
    assert len(BOOKS) == 5


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs(path: Path):
    for cell in cells(path):
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_links_to_files_that_exist(path: Path):
    text = "\n".join("".join(c["source"]) for c in cells(path) if c["cell_type"] == "markdown")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (FOLDER / target).exists(), target
