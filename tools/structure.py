"""Prints the size of each package and the imports between them: python -m tools.structure.

`errors`, a module beside the folders, counts as a package. Every import counts: those for the
type checker and those inside functions, too.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "l2l_omniglot"
# From the ground up. A package imports those of earlier lines only, none beside it.
LAYERS = (
    ("errors",),
    ("_util",),
    ("data", "backbones"),
    ("meta",),
    ("experiments",),
    ("classify", "reports", "contract"),
    ("page",),
    ("cli",),
)
FACE = ("__init__", "__main__")  # they hand names on, and start the command line


def modules() -> dict[str, Path]:
    """Returns every module by its dotted name inside the package, e.g. ``meta.learner``."""
    by_name = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        by_name[name] = path
    return by_name


def package(module: str) -> str:
    """Returns the package of a module."""
    return module.partition(".")[0]


def imported_by(path: Path, known: set[str]) -> set[str]:
    """Returns the package's modules that a file imports."""
    names = set()
    for name in _imported(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")[1:]
        while parts and ".".join(parts) not in known:
            parts.pop()
        if parts:
            names.add(".".join(parts))
    return names


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yields dotted names that may be modules of the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _own(alias.name))
        elif isinstance(node, ast.ImportFrom) and _own(node.module or ""):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _own(name: str) -> bool:
    return name.partition(".")[0] == PACKAGE.name


def imports() -> dict[str, set[str]]:
    """Returns by module the modules it imports; `FACE` is left out."""
    known = modules()
    return {
        name: imported_by(path, set(known)) - {name, *FACE}
        for name, path in known.items()
        if name not in FACE
    }


def main() -> None:
    """Prints lines, files, imports, and the imports between packages."""
    paths, graph = modules(), imports()
    lines = {name: len(path.read_text().splitlines()) for name, path in paths.items()}
    across = Counter(
        (package(one), package(other))
        for one, others in graph.items()
        for other in others
        if package(one) != package(other)
    )
    between = sum(map(len, graph.values()))
    packages = dict.fromkeys(map(package, graph))
    print(f"{sum(lines.values()):,} lines in {len(paths)} files, {len(packages)} packages")
    print(f"{between} imports between files, {across.total()} of them between packages")
    for name in packages:
        size = sum(count for module, count in lines.items() if package(module) == name)
        below = ", ".join(
            f"{other} {count}" for (one, other), count in across.items() if one == name
        )
        print(f"{size:6,}  {name:12}  {below}")


if __name__ == "__main__":
    main()
