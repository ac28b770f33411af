"""Downloads with a known digest and within bounds, kept in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from l2l_omniglot._util.files import OFFLINE_VARIABLE
from l2l_omniglot._util.reading import MOST_DOWNLOAD, UnreadableError, check_regular, size_text
from l2l_omniglot.errors import DownloadError

STALL = 30  # seconds without a byte, after which a download is given up


def fetch(address: str, folder: Path, digest: str) -> Path:
    """Downloads a file, or finds it in the folder; it gets its name only with the right digest.

    Args:
        address: whose last part is the file's name.
        folder: to keep it in.
        digest: in hexadecimal, after its algorithm: ``md5:...``.

    Raises:
        DownloadError: if it is not there and cannot be had, or not with this digest.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    name = address.rpartition("/")[2]
    try:
        if (folder / name).exists():
            check_regular((folder / name).stat())
        if os.environ.get(OFFLINE_VARIABLE) and not _is_cached(folder / name, digest):
            raise DownloadError(f"{address}: not downloaded, because of --offline")
        downloader = pooch.HTTPDownloader(progressbar=_Bound(), timeout=STALL)
        return Path(pooch.retrieve(address, digest, name, folder, downloader=downloader))
    except ValueError as error:  # the size, or the checksum; pooch's text quotes both
        raise DownloadError(f"{address}: {error}") from error
    except OSError as error:  # the network, by requests, or the disk
        reason = error.strerror or type(error).__name__
        raise DownloadError(f"could not fetch {address} ({reason})") from error


class _Bound:
    """Ends a download that has no end; pooch tells it, as a progress bar, what has come."""

    total = 0.0

    def __init__(self) -> None:
        self._come = 0

    def update(self, count: int) -> None:
        self._come += count
        if self._come > MOST_DOWNLOAD:
            raise UnreadableError(f"larger than {size_text(MOST_DOWNLOAD)}")

    def reset(self) -> None:
        """Does nothing; pooch calls it to set the bar to its end."""

    def close(self) -> None:
        """Does nothing; pooch calls it after the download."""


def _is_cached(path: Path, digest: str) -> bool:
    """Returns whether a download is there already, and whole."""
    import pooch

    algorithm, _, expected = digest.partition(":")
    return path.is_file() and bool(pooch.file_hash(path, alg=algorithm) == expected)
