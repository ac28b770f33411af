"""What README shows first needs no package but those of its own two lines of pip."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
"""


def pinned() -> set[str]:
    names = ("requirements.txt", "requirements-torch.txt")
    lines = [line for name in names for line in (ROOT / name).read_text().splitlines()]
    return {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}


def runs_without_the_rest(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script that cannot import what only the tests have."""
    known = {*pinned(), "l2l-omniglot", "pip", "setuptools"}
    missing = {
        module
        for module, owners in packages_distributions().items()
        if not known & set(map(canonicalize_name, owners))
    }
    assert {"onnx", "optuna", "pytest"} <= missing
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing) + script],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_pictures_are_classified_by_what_readme_installs():
    (snippet,) = re.findall(r"(?ms)^```python\n(.*?)^```$", (ROOT / "README.md").read_text())
    done = runs_without_the_rest(snippet)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['")


def test_the_page_is_served_by_what_readme_installs():
    script = "import segno, waitress; from l2l_omniglot.page import create_app"
    done = runs_without_the_rest(script)
    assert done.returncode == 0, done.stderr


def test_what_is_not_installed_is_found_missing():
    done = runs_without_the_rest("import optuna")
    assert "ModuleNotFoundError: optuna" in done.stderr
