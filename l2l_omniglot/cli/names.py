"""What the shell completes after an option; looked up without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import click
from click.shell_completion import CompletionItem

from l2l_omniglot.settings import ALGORITHMS

Completer: TypeAlias = Callable[
    [click.Context, click.Parameter, str], "list[CompletionItem[str]] | list[str]"
]


def one_of(names: Callable[[], Sequence[str]], files: bool = False) -> Completer:
    """Completes a name; or a file's, where the word begins like no name."""

    def complete(
        _context: click.Context, _parameter: click.Parameter, word: str
    ) -> list[CompletionItem[str]]:
        found = [CompletionItem(name) for name in names() if name.startswith(word)]
        return found or ([CompletionItem(word, type="file")] if files else [])

    return complete


def some_of(names: Callable[[], Sequence[str]]) -> Completer:
    """Completes the last of several names separated by commas."""

    def complete(_context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
        before, comma, last = word.rpartition(",")
        given = before.split(",")
        return [
            f"{before}{comma}{name}"
            for name in names()
            if name.startswith(last) and name not in given
        ]

    return complete


def data() -> Sequence[str]:
    """Data by name."""
    return ("omniglot", "synthetic")


def splits() -> Sequence[str]:
    """Splits by name."""
    return ("tutorial", "random", "alphabets")


def cells() -> Sequence[str]:
    """What `reproduce` knows published figures of."""
    return ("5w1s", "5w5s", "20w1s", "20w5s")


def algorithms() -> Sequence[str]:
    """MAML and its relatives."""
    return tuple(ALGORITHMS)


def backbones() -> list[str]:
    """Registered ones."""
    from l2l_omniglot.backbones import backbone_names

    return backbone_names()


def pretrained() -> list[str]:
    """Weights that come with the package."""
    from l2l_omniglot.pretrained import pretrained_names

    return pretrained_names()


def runs() -> list[str]:
    """Run folders in the usual place, the newest first."""
    from l2l_omniglot.run import runs_folder

    found = [path.parent for path in runs_folder().glob("*/config.json")]
    return [str(path) for path in sorted(found, reverse=True)]


def weights() -> list[str]:
    """Whatever training can start from."""
    return [*pretrained(), *runs()]
