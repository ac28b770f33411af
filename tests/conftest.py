"""Shared fixtures: small stacks, a raw Omniglot look-alike, the real images where they are."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import processes
import pytest
import torch
from click.testing import CliRunner
from filelock import FileLock
from PIL import Image

from l2l_omniglot._util.files import CACHE_VARIABLE
from l2l_omniglot.data.omniglot import CHARACTERS, SOURCE_VARIABLE
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.synthetic import synthetic_stack

if TYPE_CHECKING:
    from person import Person

REAL = os.environ.get(SOURCE_VARIABLE)
ORDER = os.environ.get("TESTS_ORDER", "")  # a seed: the tests run in the order that it draws
SECONDS, SECONDS_SLOW = 60, 300  # for each test, on a machine of half the usual speed, too
# pytest's workers, and what they start, share the cores out.
os.environ["OMP_NUM_THREADS"] = os.environ.get("TESTS_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
os.environ[CACHE_VARIABLE] = str(processes.DRAWN)  # of fixtures; each test has its own

WHOLE = {"raw_archives", "real_source"}  # to prepare them takes seconds


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real-data tests run wherever L2L_OMNIGLOT_SOURCE is set; a wrong path fails, not skips.

    The slow ones come first, so that no worker is left with one at the end.
    """
    for item in items:
        if WHOLE & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.slow)
        slow = item.get_closest_marker("slow") is not None
        item.add_marker(pytest.mark.timeout(SECONDS_SLOW if slow else SECONDS))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if ORDER:
        _shuffle(items, random.Random(ORDER))
    if REAL:
        return
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.skip(reason=f"{SOURCE_VARIABLE} is not set"))


def _shuffle(items: list[pytest.Item], generator: random.Random) -> None:
    """Modules in any order, and the tests of each: it opens its page or its site once."""
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.nodeid.split("::")[0], []).append(item)
    for own in modules.values():
        generator.shuffle(own)
    items[:] = [
        item for name in generator.sample([*modules], len(modules)) for item in modules[name]
    ]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has its own cache and working folder, an untouched environment, no proxy."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    colours = {"NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"}
    for name in os.environ:
        if (name.startswith("L2L_OMNIGLOT_") and name != CACHE_VARIABLE) or name in colours:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _global_random_state() -> object:
    """Tests seed themselves."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    return None


@pytest.fixture(scope="session")
def stack() -> ImageStack:
    """60 invented characters by 20 drawers."""
    return synthetic_stack(classes=60)


@pytest.fixture
def npy(tmp_path: Path, stack: ImageStack) -> Path:
    """A stack of one's own, without sidecar."""
    path = tmp_path / "own.npy"
    np.save(path, stack._array)
    return path


@pytest.fixture(scope="session")
def real_source() -> Path:
    assert REAL
    return Path(REAL).resolve()


Once: TypeAlias = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes a folder once a session, for all of pytest's workers; to be read or copied only."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, partly = root / name, root / f"{name}-partly"
        with FileLock(root / f"{name}.lock"):
            if not folder.is_dir():
                partly.mkdir()
                fill(partly)
                partly.rename(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def real_npy(real_source: Path, once: Once) -> Path:
    """The real images, prepared."""
    fill = partial(_prepare, real_source)
    return once("real", fill) / "omniglot.npy"


@pytest.fixture(scope="session")
def raw_archives(once: Once) -> Path:
    """A folder with two archives laid out as Omniglot's: all names, four different drawings."""
    return once("raw", partial(fill_archives, CHARACTERS))


@pytest.fixture(scope="session")
def raw_npy(raw_archives: Path, once: Once) -> Path:
    """What they hold, prepared."""
    fill = partial(_prepare, raw_archives)
    return once("raw-stack", fill) / "omniglot.npy"


def _prepare(source: Path, folder: Path) -> None:
    from l2l_omniglot.data.omniglot import prepare_stack

    prepare_stack([source], folder / "omniglot.npy")


@pytest.fixture(scope="session")
def trained_head(once: Once) -> Path:
    """A file of weights that take five steps: conv4's, with a head of zeros for 5 ways."""
    weights = {"linear.weight": torch.zeros(5, 64), "linear.bias": torch.zeros(5)}
    fill = partial(_fill_weights, "trained", weights)
    return once("trained-head", fill) / "weights.safetensors"


@pytest.fixture(scope="session")
def zero_head(once: Once) -> Path:
    """A file of weights for any number of ways that take five steps: conv4's, a head of zeros."""
    return once("zero-head", partial(_fill_weights, "zero", {})) / "weights.safetensors"


def _fill_weights(head: str, weights: dict[str, torch.Tensor], folder: Path) -> None:
    from l2l_omniglot.experiments.settings import make_settings
    from l2l_omniglot.experiments.weights import load_pretrained_checkpoint

    found, settings = (
        load_pretrained_checkpoint("conv4"),
        make_settings(backbone="conv4", head=head),
    )
    weights = found.weights | weights
    dataclasses.replace(found, settings=settings, weights=weights, head={}, population=None).save(
        folder / "weights.safetensors"
    )


def put_into_cache(npy: Path) -> None:
    """Has the commands of this test find a prepared Omniglot."""
    cache = Path(os.environ[CACHE_VARIABLE])
    cache.mkdir()
    for path in (npy, npy.with_suffix(".json")):
        (cache / path.name).hardlink_to(path)


def fill_archives(characters: Mapping[str, int], folder: Path) -> None:
    """Writes two archives laid out as Omniglot's, with so many characters each."""
    drawings = [_png(np.random.default_rng(i)) for i in range(4)]
    for subset, count in characters.items():
        with zipfile.ZipFile(folder / f"images_{subset}.zip", "w") as archive:
            for number in range(count):
                alphabet, character = divmod(number, 40)
                for drawer in range(1, 21):
                    name = f"Alphabet_{alphabet:02d}/character{character + 1:02d}/"
                    path = f"images_{subset}/{name}{number:04d}_{drawer:02d}.png"
                    archive.writestr(path, drawings[(number + drawer) % 4])


def _png(generator: np.random.Generator) -> bytes:
    pixels = generator.integers(0, 2, size=(105, 105), dtype=np.uint8) * 255
    out = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(out, "png")
    return out.getvalue()


def _bar(number: int) -> bytes:
    """White paper with a black bar whose place tells the class."""
    pixels = np.full((105, 105), 255, dtype=np.uint8)
    pixels[5 * number : 5 * number + 5] = 0
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


@pytest.fixture
def one_shot_runs(tmp_path: Path) -> Path:
    """Two runs; the test item i of the first is of class 21 - i, of the second of class i."""
    folder = tmp_path / "runs"
    for name, backwards in (("run01", True), ("run02", False)):
        lines = []
        for part in ("training", "test"):
            (folder / name / part).mkdir(parents=True)
        for item in range(1, 21):
            answer = 21 - item if backwards else item
            (folder / name / f"training/class{item:02d}.png").write_bytes(_bar(item - 1))
            (folder / name / f"test/item{item:02d}.png").write_bytes(_bar(answer - 1))
            lines.append(f"{name}/test/item{item:02d}.png {name}/training/class{answer:02d}.png")
        (folder / name / "class_labels.txt").write_text("\n".join(lines) + "\n")
    return folder


def invoke(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command line in this process: for what neither computes nor is interrupted."""
    from l2l_omniglot.cli import run

    with CliRunner().isolation(env=env) as (output, errors, _):
        code = run(arguments)
    texts = (stream.getvalue().decode() for stream in (output, errors))
    return subprocess.CompletedProcess(arguments, code, *texts)


def run_cli(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    return processes.run(["-m", "l2l_omniglot", *arguments], {**os.environ, **(env or {})}, cwd)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of `draw` with the default weights, which compare and take no steps."""
    from browser import page

    with page(tmp_path_factory.mktemp("cache")) as found:
        yield found


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser of a module's own."""
    from browser import chromium

    with chromium(tmp_path_factory.mktemp("profile"), 1280, 900) as driver:
        yield driver


@pytest.fixture
def person(tmp_path: Path, address: str, window: Any) -> Iterator[Person]:
    """Somebody who has not been on the page before, and whose browser asks nobody else."""
    from person import Person, stayed_at_home

    window.get("about:blank")  # so that a page before this one keeps nothing any more
    downloads = {"behavior": "allow", "downloadPath": str(tmp_path)}
    window.execute_cdp_cmd("Browser.setDownloadBehavior", downloads)
    window.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": address, "storageTypes": "all"})
    someone = Person(window, address)
    yield someone
    stayed_at_home(someone, address)
