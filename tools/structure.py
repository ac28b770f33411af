"""Prints the size of the package, and its imports as rooms and arrows: python -m tools.structure.

A room is a folder of the package, or a module beside the folders. Every import counts: those for
the type checker and those inside functions, too.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "l2l_omniglot"
# From the ground up. A room imports rooms of earlier lines only; those of one line, not each other.
STOREYS = (
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
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


def room(module: str) -> str:
    """Returns the room of a module."""
    return module.partition(".")[0]


def imports(path: Path, known: set[str]) -> set[str]:
    """Returns the package's modules that a file imports."""
    found = set()
    for name in _imported(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")[1:]
        while parts and ".".join(parts) not in known:
            parts.pop()
        if parts:
            found.add(".".join(parts))
    return found


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yields dotted names that may be modules of the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _own(alias.name))
        elif isinstance(node, ast.ImportFrom) and _own(node.module or ""):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _own(name: str) -> bool:
    return name.partition(".")[0] == PACKAGE.name


def arrows() -> dict[str, set[str]]:
    """Returns by module the modules it imports; `FACE` is left out."""
    known = modules()
    return {
        name: imports(path, set(known)) - {name, *FACE}
        for name, path in known.items()
        if name not in FACE
    }


def main() -> None:
    """Prints lines, files, imports, and the arrows between rooms."""
    paths, graph = modules(), arrows()
    lines = {name: len(path.read_text().splitlines()) for name, path in paths.items()}
    across = Counter(
        (room(one), room(other))
        for one, others in graph.items()
        for other in others
        if room(one) != room(other)
    )
    between = sum(map(len, graph.values()))
    print(
        f"{sum(lines.values()):,} lines in {len(paths)} files, {len(set(map(room, graph)))} rooms"
    )
    print(f"{between} imports between files, {across.total()} of them across {len(across)} arrows")
    for name in dict.fromkeys(map(room, graph)):
        size = sum(count for module, count in lines.items() if room(module) == name)
        below = ", ".join(
            f"{other} {count}" for (one, other), count in across.items() if one == name
        )
        print(f"{size:6,}  {name:12}  {below}")


if __name__ == "__main__":
    main()
