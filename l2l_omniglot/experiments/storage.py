"""Where a search keeps its trials: a database, or a journal file."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from l2l_omniglot.errors import refused

TRIES, PAUSE = 5, 0.4  # to open a database, and seconds between two
HEARTBEAT, GRACE = 15, 60  # seconds between two signs of life; without one for how long it is dead


def is_database(storage: str) -> bool:
    """Returns whether a storage is the URL of a database; else it is the path of a journal."""
    return "://" in storage


def open_storage(
    storage: str, on_dead: Callable[[optuna.Study, optuna.trial.FrozenTrial], None]
) -> optuna.storages.BaseStorage:
    """Opens a storage, which is made if need be.

    Args:
        storage: URL of a database, or path of a journal file.
        on_dead: called of a database's trials whose process has ended without a word.

    Raises:
        SettingsError: if it cannot be opened, or is none.
    """
    return _database(storage, on_dead) if is_database(storage) else _journal(storage)


def _database(
    url: str, on_dead: Callable[[optuna.Study, optuna.trial.FrozenTrial], None]
) -> RDBStorage:
    shown = url.partition("://")[0] + "://..."  # it may have a password
    try:
        shown = make_url(url).render_as_string(hide_password=True)
        return _connected(url, on_dead)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        raise refused("storage", shown, f"expected a database that answers: {why}") from error


def _connected(
    url: str, on_dead: Callable[[optuna.Study, optuna.trial.FrozenTrial], None]
) -> RDBStorage:
    for left in reversed(range(TRIES)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return RDBStorage(
                    url,
                    heartbeat_interval=HEARTBEAT,
                    grace_period=GRACE,
                    heartbeat_stale_trial_callback=on_dead,
                )
        except DBAPIError:  # other processes may make the same tables now
            if not left:
                raise
            time.sleep(PAUSE)
    raise AssertionError("unreachable")


def _journal(path: str) -> JournalStorage:
    file = Path(path)
    if not path or (file.exists() and not file.is_file()):
        raise refused("storage", path, "expected the path of a journal file, or a database's URL")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        return JournalStorage(JournalFileBackend(path))
    except (ValueError, KeyError, TypeError) as error:
        raise refused("storage", path, "is no journal of Optuna; expected one") from error
