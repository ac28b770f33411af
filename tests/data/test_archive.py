import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from l2l_omniglot.data.omniglot import download_archives
from l2l_omniglot.errors import DownloadError

BODY = b"not really a zip archive" * 1000
MD5 = hashlib.md5(BODY).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    cut = False

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:100] if Server.cut else BODY)

    def log_message(self, *args):
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Server.cut = False
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_download_is_checked_and_cached(address: str, tmp_path: Path):
    [path] = download_archives(tmp_path, address, {"a.zip": MD5})
    assert path == tmp_path / "a.zip"
    assert path.read_bytes() == BODY
    Server.cut = True  # a second request would now fail: the cached file must do
    assert download_archives(tmp_path, address, {"a.zip": MD5}) == [path]


def test_wrong_checksum_leaves_no_file(address: str, tmp_path: Path):
    with pytest.raises(DownloadError, match=MD5):
        download_archives(tmp_path, address, {"a.zip": "0" * 32})
    assert list(tmp_path.iterdir()) == []


def test_cut_off_download_leaves_no_file_and_starts_anew(address: str, tmp_path: Path):
    Server.cut = True
    with pytest.raises(DownloadError, match=r"a\.zip"):
        download_archives(tmp_path, address, {"a.zip": MD5})
    assert list(tmp_path.iterdir()) == []
    Server.cut = False
    [path] = download_archives(tmp_path, address, {"a.zip": MD5})
    assert path.read_bytes() == BODY


def test_no_connection_says_what_was_tried(tmp_path: Path):
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/a\.zip .*ConnectionError"):
        download_archives(tmp_path, "http://127.0.0.1:9", {"a.zip": MD5})
