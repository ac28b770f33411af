"""onnxruntime-web, which runs a network in the browser: the few files of it that are needed."""

from __future__ import annotations

import shutil
import tarfile
from importlib import resources
from pathlib import Path

from l2l_omniglot._util.download import fetch
from l2l_omniglot._util.files import cache_folder
from l2l_omniglot.errors import DownloadError

# Later versions' WebAssembly is larger: 14 MB of 1.30. The registry's own digest.
ADDRESS = "https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-1.22.0.tgz"
DIGEST = (
    "sha512:51dffe101a3a9a1b9a416b7f3a368e93488d5a35ea26879e305afac501044597"
    "48647d8e5a91b3bae8f3ee57ee3818d46ba4c413fb1ce276fb0dae5d34bdf87e"
)
FILES = "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
LICENCES = "LICENSE", "ThirdPartyNotices.txt"  # only onnxruntime for Python has them as files


def fetch_runtime() -> Path:
    """Returns onnxruntime-web's archive, downloaded, or found in the cache folder.

    Raises:
        DownloadError: see `fetch`; says where the archive may be put by hand.
    """
    folder = cache_folder()
    try:
        return fetch(ADDRESS, folder, DIGEST)
    except DownloadError as error:
        raise DownloadError(f"{error}; expected a network, or that file in {folder}") from error


def write_runtime(package: Path, folder: Path) -> None:
    """Writes onnxruntime-web, of its archive, and its licence into a new folder."""
    folder.mkdir()
    with tarfile.open(package) as archive:
        for name in FILES:
            file = archive.extractfile(f"package/dist/{name}")
            assert file is not None  # the digest was right
            (folder / name).write_bytes(file.read())
    for name in LICENCES:
        with resources.as_file(resources.files("onnxruntime") / name) as path:
            shutil.copyfile(path, folder / name)
