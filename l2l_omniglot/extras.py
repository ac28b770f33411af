"""Packages that only some commands need: asked for before hours of work, not after."""

from __future__ import annotations

import importlib

from l2l_omniglot.errors import SettingsError


def need(package: str, what: str, extra: str) -> None:
    """Says what to install where a package is not there.

    Args:
        package: as it is imported.
        what: needs it, in words.
        extra: of this package that brings it.

    Raises:
        SettingsError: if it is not there.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise SettingsError(
            f"{what} needs {package}: pip install 'l2l-omniglot[{extra}]'"
        ) from error
