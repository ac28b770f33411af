"""onnxruntime-web, which runs a network in the browser: the few files of it that are needed."""

from __future__ import annotations

import shutil
import tarfile
from importlib import resources
from pathlib import Path

from l2l_omniglot._util.download import fetch
from l2l_omniglot._util.files import cache_folder

# Later versions' WebAssembly is larger: 14 MB of 1.30. The registry's own digest.
ADDRESS = "https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-1.22.0.tgz"
DIGEST = (
    "sha512:51dffe101a3a9a1b9a416b7f3a368e93488d5a35ea26879e305afac501044597"
    "48647d8e5a91b3bae8f3ee57ee3818d46ba4c413fb1ce276fb0dae5d34bdf87e"
)
FILES = "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
LICENCES = "LICENSE", "ThirdPartyNotices.txt"  # only onnxruntime for Python has them as files


def write_runtime(folder: Path) -> None:
    """Writes onnxruntime-web and its licence into a new folder.

    Its archive is downloaded, or found in the cache folder.

    Raises:
        DownloadError: see `fetch`.
    """
    folder.mkdir()
    with tarfile.open(fetch(ADDRESS, cache_folder(), DIGEST)) as archive:
        for name in FILES:
            file = archive.extractfile(f"package/dist/{name}")
            assert file is not None  # the digest was right
            (folder / name).write_bytes(file.read())
    for name in LICENCES:
        with resources.as_file(resources.files("onnxruntime") / name) as path:
            shutil.copyfile(path, folder / name)
