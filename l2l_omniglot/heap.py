"""Memory that is freed stays with the process, to be used again."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt(3)


def keep_freed_memory() -> bool:
    """Lets glibc keep freed memory instead of handing it back to the system at once.

    A training frees and allocates the same few megabytes hundreds of times a second; fetching
    them anew each time, page by page, costs a fifth of the time on some machines. For the
    whole process, so it is for programs to call, as the command line does; without glibc
    nothing happens.

    Returns:
        Whether the setting was taken.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    settings = ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 1 << 30), (_TOP_PAD, 64 << 20))
    taken = [mallopt(option, value) == 1 for option, value in settings]
    return all(taken)
