"""The order of the packages, as docs/architecture.md draws it."""

import ast
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable
from graphlib import TopologicalSorter

from l2l_omniglot.meta import rules
from l2l_omniglot.meta.engines.fast_weights import FastWeights, inner_loop
from tools.structure import LAYERS, PACKAGE, imported_by, imports, modules, package

# Loaded by --help, completion and `prepare`, which must not wait for torch.
WITHOUT_TORCH = (
    "errors",
    "data.omniglot",
    "data.sidecar",
    "data.splits",
    "backbones.registry",
    "experiments.settings",
    "experiments.card",
    "experiments.run_folder",
    "experiments.runs",
    "experiments.weights",
    "cli",
)
LONGEST = 350  # lines of a file
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def test_every_package_has_its_layer():
    assert {package(name) for name in imports()} == set(LAYER)


def test_no_package_imports_one_above_or_beside_it():
    wrong = [
        f"{one} imports {other}"
        for one, others in imports().items()
        for other in sorted(others)
        if package(one) != package(other) and LAYER[package(one)] <= LAYER[package(other)]
    ]
    assert not wrong


def test_no_import_goes_in_a_circle():
    TopologicalSorter(imports()).prepare()  # raises CycleError, and names the circle


def test_an_import_that_climbs_would_be_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("def f():\n    from l2l_omniglot.cli.train import train\n")
    assert imported_by(path, set(modules())) == {"cli.train"}


def test_modules_that_load_no_torch():
    names = [f"l2l_omniglot.{name}" for name in WITHOUT_TORCH]
    # A process of its own: here torch is loaded already.
    check = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_files_are_short():
    sizes = {path: len(path.read_text().splitlines()) for path in modules().values()}
    assert {str(p.relative_to(PACKAGE)): n for p, n in sizes.items() if n > LONGEST} == {}


def test_every_package_tells_what_its_modules_are():
    for name, path in modules().items():
        if path.name == "__init__.py" and name != "__init__":
            own = {entry for entry in modules() if entry.rpartition(".")[0] == name}
            text, leaves = path.read_text(), (entry.rpartition(".")[2] for entry in own)
            assert not [leaf for leaf in leaves if f"``{leaf}``" not in text], name


def _without_docstring(function: Callable[..., object]) -> str:
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    (first, *_) = ast.parse("\n".join(lines)).body[0].body
    del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)


def test_algorithm_2_stands_on_one_screen_as_it_is():
    page = (PACKAGE.parent / "docs/architecture.md").read_text(encoding="utf-8")
    shown = page.split("```py\n")[1].split("```")[0]
    parts = (rules.maml, inner_loop, FastWeights.step, FastWeights._adapt)
    assert shown == "\n\n\n".join(map(_without_docstring, parts)) + "\n"
    assert len(shown.splitlines()) <= 70
