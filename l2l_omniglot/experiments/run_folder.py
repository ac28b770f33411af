"""Run folders: ``config.json``, ``metrics.csv``, ``last.safetensors``, ``best.safetensors``."""

from __future__ import annotations

import json
import logging
import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from l2l_omniglot._util.files import write_text
from l2l_omniglot.errors import RunError, SettingsError
from l2l_omniglot.experiments.metrics import MetricsRow, read_rows, write_rows
from l2l_omniglot.experiments.settings import Settings

log = logging.getLogger(__name__)

LAST = "last.safetensors"
_PACKAGES = ("l2l-omniglot", "torch", "learn2learn", "numpy", "pillow", "safetensors", "click")


class RunFolder:
    """The files of one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.csv"
        self.last = path / LAST
        self.best = path / "best.safetensors"

    def create(self, settings: Settings, facts: dict[str, Any]) -> None:
        """Makes the folder and writes ``config.json``.

        Raises:
            RunError: if the folder already holds a run, or cannot be made.
        """
        if self.config.exists() or self.last.exists():
            raise RunError(
                f"{self.path}: holds a run already; continue it with `l2l-omniglot train "
                f"--resume {self.path}`, or choose another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be created: {error}") from error
        self._write_config(settings, facts, [])

    def reopen(self, settings: Settings) -> None:
        """Adds a session with these settings to ``config.json``."""
        body = self._read_config()
        self._write_config(settings, body["facts"], body["sessions"])

    def read_settings(self) -> Settings:
        """Returns the settings of the run.

        Raises:
            RunError: if the folder holds no run, or its ``config.json`` is broken.
        """
        try:
            return Settings(**self._read_config()["settings"])
        except (TypeError, SettingsError) as error:
            raise RunError(f"{self.config}: cannot be read: {error}") from error

    def read_sessions(self) -> list[dict[str, Any]]:
        """Returns ``command``, ``started`` and ``versions`` of every start of the run.

        Raises:
            RunError: as `read_settings`.
        """
        sessions: list[dict[str, Any]] = self._read_config()["sessions"]
        return sessions

    def _write_config(self, settings: Settings, facts: dict[str, Any], earlier: list[Any]) -> None:
        session = {
            "command": shlex.join(sys.argv),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(),
        }
        body = {"settings": settings.to_dict(), "facts": facts, "sessions": [*earlier, session]}
        write_text(self.config, json.dumps(body, indent=1) + "\n")

    def _read_config(self) -> dict[str, Any]:
        try:
            body = json.loads(self.config.read_text(encoding="utf-8"))
            return {name: body[name] for name in ("settings", "facts", "sessions")}
        except FileNotFoundError as error:
            raise RunError(f"{self.path}: holds no run (no config.json)") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.config}: cannot be read: {error}") from error

    def read_metrics(self) -> list[MetricsRow]:
        """Reads ``metrics.csv``; skips an incomplete last line, after a kill."""
        return read_rows(self.metrics)

    def write_metrics(self, rows: list[MetricsRow]) -> None:
        """Writes ``metrics.csv`` whole, atomically."""
        write_rows(self.metrics, rows)


def versions() -> dict[str, str]:
    """Returns the versions of Python and the packages that affect results, and the machine."""
    found = {"python": platform.python_version(), "machine": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
