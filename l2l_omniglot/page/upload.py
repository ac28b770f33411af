"""Uploaded pictures, prepared for the network as `predict` prepares files."""

from __future__ import annotations

import base64
import re
import threading
from typing import NamedTuple

from werkzeug.exceptions import ServiceUnavailable

from l2l_omniglot._util.reading import MOST_SCANS, MOST_UPLOADED_PIXELS
from l2l_omniglot.classify.preparation import Preparation
from l2l_omniglot.data.pictures import parse_picture
from l2l_omniglot.errors import DataError
from l2l_omniglot.page.question import MAX_SIDE

FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP")  # no decoder that starts other programs
JPEG = b"\xff\xd8"
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # of what has a length, or of the end
END, SCAN = b"\xff\xd9", b"\xff\xda"
PLACES = 2  # uploads at once, of which one is prepared; the server's other threads answer


class Prepared(NamedTuple):
    """An uploaded picture as the page keeps it.

    Attributes:
        picture: what the network sees of it, as in a question; see `question.Picture`.
        said: what was done to it, in one sentence.
        doubt: see `Drawing`.
    """

    picture: str
    said: str
    doubt: str


class Uploads:
    """Prepares pictures, one at a time, since a photograph takes a core and much memory.

    Args:
        image_size: of the network's images, pixels per side.
        ink: of the network's images, ``white`` or ``black``.
        kind: of the pictures, see `l2l_omniglot.data.KINDS`.
    """

    def __init__(self, image_size: int, ink: str, kind: str) -> None:
        self._preparation = Preparation("auto", min(image_size, MAX_SIDE), 1, ink, kind)
        self._turn = threading.Lock()
        self._places = threading.Semaphore(PLACES)

    def prepare(self, content: bytes, name: str) -> Prepared:
        """Prepares the content of a picture's file; errors name it.

        Raises:
            DataError: if it is no picture of these formats, too large, too narrow or blank.
            SettingsError: if its preparation needs scikit-image, which is not installed.
            ServiceUnavailable: if as many as there are places for are being prepared.
        """
        if not self._places.acquire(blocking=False):
            raise ServiceUnavailable(f"{name}: other pictures are being prepared; try it again.")
        try:
            with self._turn:
                return self._prepare(content, name)
        finally:
            self._places.release()

    def _prepare(self, content: bytes, name: str) -> Prepared:
        if _scans(content) > MOST_SCANS:
            raise DataError(f"{name}: JPEG of more than {MOST_SCANS} scans")
        how = self._preparation
        picture = parse_picture(content, name, "auto", how.kind, FORMATS, MOST_UPLOADED_PIXELS)
        [pixels] = how.pixels(how.images([picture]))
        letters = base64.b64encode(pixels.tobytes()).decode()
        return Prepared(letters, how.said_of_one(picture), picture.doubt)


def _scans(content: bytes) -> int:
    """Counts a JPEG's scans, up to one more than there may be; 0 if it is of another format.

    A progressive one of 42 bytes can take a twentieth of a second.
    """
    count, at = 0, len(JPEG)
    while content.startswith(JPEG) and count <= MOST_SCANS:
        marker = MARKER.search(content, at)
        if marker is None or marker[0] == END:
            break
        count += marker[0] == SCAN
        at = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return count
