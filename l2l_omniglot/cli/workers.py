"""What the commands that work in several processes share."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from l2l_omniglot.errors import L2LOmniglotError
from l2l_omniglot.launch import end_with_launcher, launch, launched
from l2l_omniglot.messages import detail, say, timed
from l2l_omniglot.progress import CountProgress

if TYPE_CHECKING:
    from l2l_omniglot.settings import Settings
    from l2l_omniglot.stack import ImageStack
    from l2l_omniglot.workers import Workers


def start_workers(processes: int) -> bool:
    """Runs this command line in several processes, if it asks for them and is not yet in one.

    Returns:
        Whether it did; the program ends where one of them failed.
    """
    if processes == 1 or launched():
        return False
    code = launch(processes, sys.argv[1:])
    if code:
        raise SystemExit(code)
    return True


@contextmanager
def worker(settings: Settings, device: str) -> Iterator[tuple[Workers, ImageStack]]:
    """Inside the block this process is one of the workers, or the only one, and has the data.

    The first opens (and where needed prepares) the data before the others do, and alone speaks.
    """
    from l2l_omniglot.data import open_data
    from l2l_omniglot.devices import choose_device
    from l2l_omniglot.heap import keep_freed_memory
    from l2l_omniglot.workers import joined, take_own_cores

    end_with_launcher()
    keep_freed_memory()
    take_own_cores()
    with joined(choose_device(device)) as workers, contextlib.ExitStack() as quiet:
        if not workers.first:
            nowhere = quiet.enter_context(Path(os.devnull).open("w"))
            quiet.enter_context(contextlib.redirect_stderr(nowhere))
            if code := workers.from_first(0):
                raise SystemExit(code)
        try:
            with timed("Opening the data"), CountProgress("preparing", "character") as progress:
                stack = open_data(settings, say, progress)
            detail(stack.summary)
        except L2LOmniglotError as error:
            if workers.first:
                workers.from_first(error.exit_code)
            raise
        if workers.first:
            workers.from_first(0)
        yield workers, stack
