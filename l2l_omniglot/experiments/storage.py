"""Where a search keeps its trials: a database, or a journal file."""

from __future__ import annotations

import json
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from l2l_omniglot._util.reading import MOST_ARCHIVE, UnreadableError, read_bytes
from l2l_omniglot.errors import RunError, refused

OnDead: TypeAlias = Callable[[optuna.Study, optuna.trial.FrozenTrial], None]
T = TypeVar("T")

TRIES, PAUSE = 5, 0.4  # to open a database, and seconds between two
OPERATIONS = 11  # kinds of a journal's entries
PACKAGE, CALLERS = "l2l_omniglot", ("study", "storage", "trials")  # the modules that call Optuna
HEARTBEAT, GRACE = 15, 60  # seconds between two signs of life; without one for how long it is dead


def is_database(storage: str) -> bool:
    """Returns whether a storage is the URL of a database; else it is the path of a journal."""
    return "://" in storage


def open_storage(storage: str, on_dead: OnDead) -> optuna.storages.BaseStorage:
    """Opens a storage, which is made if need be.

    Args:
        storage: URL of a database, or path of a journal file.
        on_dead: called of a database's trials whose process has ended without a word.

    Raises:
        SettingsError: if it cannot be opened, or is none.
    """
    return _database(storage, on_dead) if is_database(storage) else _journal(storage)


def _database(url: str, on_dead: OnDead) -> RDBStorage:
    try:
        return _connected(url, on_dead)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        reason = f"expected a database that answers: {why}"
        raise refused("storage", _without_password(url), reason) from error


def _without_password(storage: str) -> str:
    """Returns a storage as it may be shown."""
    if not is_database(storage):
        return storage
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):  # there may be a password in it all the same
        return storage.partition("://")[0] + "://..."


def _connected(url: str, on_dead: OnDead) -> RDBStorage:
    connect = partial(
        RDBStorage,
        url,
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=on_dead,
    )
    for _ in range(TRIES - 1):
        with suppress(DBAPIError):  # other processes may make the same tables now
            return silenced(connect)
        time.sleep(PAUSE)
    return silenced(connect)


def silenced(call: Callable[[], T]) -> T:
    """Calls what Optuna calls experimental, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return call()


def _journal(path: str) -> JournalStorage:
    file = Path(path).absolute()  # Optuna's lock is a link to it
    if not path.strip() or (file.exists() and not file.is_file()):
        raise refused("storage", path, "expected the path of a journal file, or a database's URL")
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(file))
    if file.exists():
        lock.acquire()
        try:
            _mend_end(file, path)
        finally:
            lock.release()
    with storage_errors(path):
        return JournalStorage(JournalFileBackend(str(file), lock))


def _mend_end(file: Path, path: str) -> None:
    """Cuts off a last line that was not written to its end, as by a process that was killed.

    Raises:
        RunError: if another line is none of a journal; the file stays as it is.
    """
    try:
        content = read_bytes(file, MOST_ARCHIVE)
    except UnreadableError as error:
        raise RunError(f"{path}: {error}; expected a journal of Optuna") from error
    lines = content.splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    for number, line in enumerate(whole, 1):
        if not _is_entry(line):
            raise RunError(f"{path}: line {number} is damaged; expected a journal of Optuna")
    if len(whole) < len(lines):
        if not whole:
            raise RunError(f"{path}: has no whole line; expected a journal of Optuna")
        os.truncate(file, len(content) - len(lines[-1]))


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and entry.get("op_code") in range(OPERATIONS)


@contextmanager
def storage_errors(storage: str) -> Iterator[None]:
    """Words what Optuna raises where a storage is damaged, full or gone.

    What our own code raises passes, and so does what a training raises.

    Raises:
        RunError: names the storage, without its password, and the reason.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_optuna(error):
            raise
        raise RunError(_unusable(storage, error)) from error


def _is_of_optuna(error: Exception) -> bool:
    """Returns whether an error was raised below the modules that call Optuna, not by ours."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    names = [str(frame.f_globals.get("__name__")) for frame in frames]
    ours = [name for name in names if name.partition(".")[0] == PACKAGE]
    return names[-1] not in ours and bool(ours) and ours[-1].rpartition(".")[2] in CALLERS


def _unusable(storage: str, error: Exception) -> str:
    why = str(error).partition("\n")[0] or type(error).__name__
    return (
        f"{_without_password(storage)}: the study in it cannot be read or written ({why}); "
        "expected a whole journal on a disk with room, or a database that answers"
    )
