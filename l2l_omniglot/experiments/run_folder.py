"""Run folders: config, metrics, the best checkpoint, the last one and the one before."""

from __future__ import annotations

import json
import logging
import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2l_omniglot._util.files import atomic_write, write_text
from l2l_omniglot._util.lock import Lock
from l2l_omniglot._util.reading import read_json, reason_of
from l2l_omniglot.errors import RunError, SettingsError
from l2l_omniglot.experiments.metrics import MetricsRow, read_rows, write_rows
from l2l_omniglot.experiments.settings import DECLARED, Settings

if TYPE_CHECKING:
    from l2l_omniglot.experiments.checkpoint import Checkpoint

log = logging.getLogger(__name__)

LAST = "last.safetensors"
BEFORE = "before-last.safetensors"
_PACKAGES = ("l2l-omniglot", "torch", "learn2learn", "numpy", "pillow", "safetensors", "click")


class RunFolder:
    """The files of one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.csv"
        self.last, self.before = path / LAST, path / BEFORE
        self._lock = Lock(self.path)
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

    def lock(self) -> None:
        """Keeps other processes from training this run, until `unlock` or the end of this one.

        Does nothing where the system has no such locks.

        Raises:
            RunError: if another process trains it.
        """
        if not self._lock.take():
            raise RunError(
                f"{self.path}: another process trains this run now; wait for its end, or stop it"
            )

    def unlock(self) -> None:
        """Lets other processes train this run."""
        self._lock.release()

    def keep_last(self) -> None:
        """Keeps the last checkpoint as the one before, because a new one is about to be written."""
        if self.last.is_file():
            with atomic_write(self.before) as file:  # no link: what damages one would damage both
                file.write(self.last.read_bytes())

    def read_last(self) -> Checkpoint | None:
        """Reads the last checkpoint, or if it is broken the one before; None if there is none.

        Raises:
            RunError: if it is broken, and so is the one before, or there is none.
        """
        from l2l_omniglot.experiments.checkpoint import load_checkpoint  # late: it loads torch

        if not self.last.exists() and not self.before.exists():
            return None
        try:
            return load_checkpoint(self.last)
        except RunError as error:
            if not self.before.is_file():
                raise
            checkpoint = load_checkpoint(self.before)
            log.info(
                f"Note: {error}. Taking the checkpoint before, at iteration {checkpoint.iteration}."
            )
            return checkpoint

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
            values = self._read_config()["settings"]
            if unknown := sorted(set(values) - set(DECLARED)):
                raise TypeError(f"has the setting {unknown[0]!r}, which is none")
            return Settings(**values)
        except (TypeError, SettingsError) as error:
            raise RunError(f"{self.config}: cannot be read: {reason_of(error)}") from error

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
            body = read_json(self.config)
            if not isinstance(body, dict):
                raise ValueError("expected an object with settings, facts and sessions")
            entries = {name: body[name] for name in ("settings", "facts", "sessions")}
            if not all(_is_session(session) for session in entries["sessions"]):
                raise ValueError("a session has other entries than command, started and versions")
            return entries | {"facts": dict(entries["facts"])}
        except FileNotFoundError as error:
            raise RunError(f"{self.path}: holds no run (no config.json)") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.config}: cannot be read: {reason_of(error)}") from error

    def read_metrics(self) -> list[MetricsRow]:
        """Reads ``metrics.csv``; skips an incomplete last line, after a kill."""
        return read_rows(self.metrics)

    def write_metrics(self, rows: list[MetricsRow]) -> None:
        """Writes ``metrics.csv`` whole, atomically."""
        write_rows(self.metrics, rows)


def _is_session(session: Any) -> bool:
    return (
        isinstance(session, dict)
        and all(isinstance(session.get(name), str) for name in ("command", "started"))
        and isinstance(session.get("versions"), dict)
    )


def versions() -> dict[str, str]:
    """Returns the versions of Python and the packages that affect results, and the machine."""
    environment = {"python": platform.python_version(), "machine": platform.platform()}
    for package in _PACKAGES:
        try:
            environment[package] = version(package)
        except PackageNotFoundError:
            environment[package] = "not installed"
    return environment
