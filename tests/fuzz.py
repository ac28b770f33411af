"""Feeds every reader of strangers' files with damaged ones: python tests/fuzz.py --seconds 600.

atheris (libFuzzer) changes whole files of tests/corpus, guided by the branches of the package that
they reach; of an archive every other time one entry, which is packed again, as most other damage
ends at its checksum. A reader may refuse a file by one of the package's own errors, and nothing
else: any other exception, five seconds, or 2.5 gigabytes are a finding, which goes into the corpus
once mended.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

CORPUS = Path(__file__).with_name("corpus")
ARCHIVES = ("archive", "one_shot")
SECONDS, MEGABYTES = 5, 2500  # that one input may take, the largest picture included
FOLDER = Path(
    tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
)


def file_of(name: str, content: bytes) -> Path:
    path = FOLDER / name
    path.write_bytes(content)
    return path


def npy(content: bytes) -> None:
    from l2l_omniglot.data.stack import load_stack

    load_stack(file_of("a.npy", content))


def sidecar(content: bytes) -> None:
    from l2l_omniglot.data.sidecar import read_sidecar

    file_of("a.json", content)
    read_sidecar(FOLDER / "a.npy")


def split(content: bytes) -> None:
    from l2l_omniglot.data.sidecar import ClassInfo
    from l2l_omniglot.data.splits import make_splits

    make_splits([ClassInfo(str(n)) for n in range(9)], str(file_of("split.json", content)))


def config(content: bytes) -> None:
    from l2l_omniglot.cli import cli
    from l2l_omniglot.cli.config import read_config

    read_config(file_of("a.toml", content), cli)


def archive(content: bytes) -> None:
    from l2l_omniglot.data.omniglot import open_characters

    with open_characters([file_of("images_background.zip", content)]) as characters:
        for character in characters:
            for _, read in character.drawings.values():
                _try(read)


def one_shot(content: bytes) -> None:
    from l2l_omniglot.data.one_shot_runs import OneShotRuns

    OneShotRuns(file_of("all_runs.zip", content))


def picture(content: bytes) -> None:
    from l2l_omniglot.data.pictures import read_picture, shrink

    shrink(read_picture(file_of("a.png", content)).prepared("auto"), 28)


def checkpoint(content: bytes) -> None:
    from l2l_omniglot.experiments.checkpoint import read_checkpoint
    from l2l_omniglot.experiments.learners import build_learner, load_resized

    found = read_checkpoint(content, "a")
    if found.settings.backbone == "fc" and found.settings.ways <= 20:
        load_resized(build_learner(found.settings, 1, 28), found)


def strokes(content: bytes) -> None:
    from l2l_omniglot.page.question import read_question

    read_question(content)


def run_config(content: bytes) -> None:
    from l2l_omniglot.experiments.run_folder import RunFolder

    file_of("config.json", content)
    RunFolder(FOLDER).read_settings()
    RunFolder(FOLDER).read_sessions()


def metrics(content: bytes) -> None:
    from l2l_omniglot.experiments.metrics import read_rows

    read_rows(file_of("metrics.csv", content))


def journal(content: bytes) -> None:
    from l2l_omniglot.experiments.storage import open_storage

    open_storage(str(file_of("journal.log", content)), lambda *_: None)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        npy, sidecar, split, config, archive, one_shot, picture, checkpoint, strokes, run_config,
        metrics, journal,
    )
}  # fmt: skip


def _try(read: Callable[[], bytes]) -> None:
    """An entry of an archive may be broken in any way; who reads it names it."""
    try:
        read()
    except Exception as error:  # as `prepare` catches it
        assert not isinstance(error, MemoryError), error


def feed(name: str, content: bytes) -> bool:
    """Gives a reader some bytes; returns whether it took them.

    Raises:
        Exception: a finding: anything but the package's own errors.
    """
    from l2l_omniglot.errors import L2LOmniglotError

    try:
        TARGETS[name](content)
    except L2LOmniglotError as error:
        assert len(str(error)) < 100_000, f"an error of {len(str(error))} letters"
        return False
    return True


def seeds() -> dict[str, list[bytes]]:
    """Whole files to begin with, small ones."""
    import torch
    from PIL import Image

    from l2l_omniglot.backbones.registry import make_backbone
    from l2l_omniglot.data.sidecar import ClassInfo, Sidecar
    from l2l_omniglot.experiments.checkpoint import Checkpoint
    from l2l_omniglot.experiments.learners import read_weights
    from l2l_omniglot.experiments.settings import make_settings

    torch.manual_seed(0)
    array, drawing = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros((3, 2, 1, 4, 4), np.uint8))
    pixels = np.full((105, 105), 255, np.uint8)
    pixels[20:80, 50:54] = 0
    Image.fromarray(pixels).save(drawing, "png")
    png = drawing.getvalue()
    others = []
    for kind in ("gif", "bmp", "tiff", "webp", "jpeg"):
        small = io.BytesIO()
        Image.fromarray(pixels[15:85:2, 40:75]).save(small, kind)
        others.append(small.getvalue())
    described = Sidecar((ClassInfo("a/b/c", "a", "b", "c"),), "x", 28, "white", "0" * 64)
    settings = make_settings(ways=2, backbone="fc")
    weights = read_weights(make_backbone("fc", ways=2))
    weights = {name: value[:1] for name, value in weights.items()}
    sealed = Checkpoint(settings, 3, weights, facts={"channels": 1}).to_bytes()
    return {
        "npy": [array.getvalue()],
        "sidecar": [described.to_json().encode()],
        "split": [b'{"train": ["0", "1"], "validation": ["2"], "test": ["3", "4"]}'],
        "config": [b'ways = 5\n[train]\nshots = 1\ninner-lr = 0.4\n[evaluate]\nweights = "x"\n'],
        "archive": [zipped({"images_background/Greek/character01/0001_01.png": png})],
        "one_shot": [zipped(_run(png, "run01") | _run(png, "run02"))],
        "picture": [png, *others],
        "checkpoint": [sealed, _unsealed(sealed)],
        "strokes": [
            b'{"support": [[{"strokes": [[[0.1, 0.2], [1, 0]]]}], [{"item": [1, 2]}]], '
            b'"query": null}',
            b'{"support": [[{"picture": "/wAA/w=="}], [{"item": [1, 2]}]], "query": null}',
        ],
        "run_config": [
            b'{"settings": {"ways": 5}, "facts": {}, "sessions": [{"command": "x", "started": "y", '
            b'"versions": {}}]}'
        ],
        "journal": [_journal()],
        "metrics": [
            b"iteration,minutes,train_loss,train_accuracy,validation_loss,validation_accuracy,"
            b"validation_ci95,tasks_per_second,meta_lr\n3,0.0,0.6,0.6,,,,328.5,0.0005\n"
        ],
    }  # fmt: skip


def _journal() -> bytes:
    """A journal of Optuna with a study of two trials, one of them finished."""
    import optuna

    from l2l_omniglot.experiments.storage import open_storage

    path = FOLDER / "seed.log"
    path.unlink(missing_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = open_storage(str(path), lambda *_: None)
    study = optuna.create_study(storage=opened, study_name="a", direction="maximize")
    trial = study.ask()
    trial.suggest_float("inner_lr", 0.01, 1, log=True)
    trial.report(0.5, 1)
    study.tell(trial, 0.5)
    study.ask()
    return path.read_bytes()


def _unsealed(content: bytes) -> bytes:
    """A checkpoint without its digest, behind which no damage is seen."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    del header["__metadata__"]["digest"]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def _run(png: bytes, name: str) -> dict[str, bytes]:
    numbers = range(1, 21)
    files = {f"{name}/training/class{n:02d}.png": png for n in numbers}
    files |= {f"{name}/test/item{n:02d}.png": png for n in numbers}
    labels = (f"{name}/test/item{n:02d}.png {name}/training/class{n:02d}.png\n" for n in numbers)
    return {**files, f"{name}/class_labels.txt": "".join(labels).encode()}


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, each in files.items():
            file.writestr(zipfile.ZipInfo(name), each)
    return content.getvalue()


def repacked(content: bytes, seed: int, change: Callable[[bytes], bytes]) -> bytes:
    """Changes the name or the bytes of an entry of an archive, or leaves it out."""
    chance = random.Random(seed)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            files = {name: file.read(name) for name in file.namelist()}
        name = chance.choice(list(files))
    except Exception:  # no longer an archive
        return change(content)
    what, entry = chance.choice(["name", "bytes", "bytes", "nothing"]), files.pop(name)
    if what == "name":
        files[change(name.encode()).decode(errors="replace")[:60_000]] = entry
    elif what == "bytes":
        files[name] = change(entry)
    return zipped(files)


def corpus(name: str) -> list[Path]:
    """The files that a target is known by: found by fuzzing, or once a finding."""
    return sorted((CORPUS / name).glob("*"))


def fuzz(name: str) -> None:
    """Runs libFuzzer in this process, with what is left on the command line; never returns."""
    import atheris

    with atheris.instrument_imports(include=["l2l_omniglot"]):
        import l2l_omniglot.cli
        import l2l_omniglot.data.one_shot_runs
        import l2l_omniglot.experiments.checkpoint
        import l2l_omniglot.experiments.learners
        import l2l_omniglot.experiments.storage
        import l2l_omniglot.page.question  # noqa: F401
    for content in seeds()[name]:
        feed(name, content)  # imports, and what is slow once

    def one(content: bytes) -> None:
        feed(name, content)

    def change(content: bytes, most: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(content, most))
        packed = repacked(content, seed, lambda part: bytes(atheris.Mutate(part, most)))
        return packed if len(packed) <= most else bytes(atheris.Mutate(content, most))

    # By the first word libFuzzer starts itself again, to merge.
    again = shlex.join([sys.executable, __file__, "--one", name])
    how = {"custom_mutator": change} if name in ARCHIVES else {}
    atheris.Setup([again, *sys.argv[1:]], one, **how)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=list(TARGETS), action="append", help="all by default")
    parser.add_argument("--seconds", type=int, default=600, help="of each target (600)")
    parser.add_argument("--keep", action="store_true", help="add to tests/corpus what is new")
    given = parser.parse_args()
    for name in given.target or TARGETS:
        place = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        for number, content in enumerate(seeds()[name]):
            (place / f"seed{number}").write_bytes(content)
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        words = file_of("words", b"\n".join(b'"%b"' % word for word in words_of(seeds()[name])))
        how = f"-max_total_time={given.seconds}", f"-dict={words}"
        done = libfuzzer(name, place, CORPUS / name, *how)
        stats = [line for line in done.stderr.splitlines() if "number_of_executed" in line]
        found = sorted(place.glob("found-*"))
        print(f"{name}: {' '.join(stats)}; findings {[str(path) for path in found]}", flush=True)
        if done.returncode:
            print(f"exit code {done.returncode}", done.stderr[-3000:], flush=True)
        if given.keep:
            libfuzzer(name, CORPUS / name, place, "-merge=1").check_returncode()


def words_of(files: list[bytes]) -> set[bytes]:
    """The words of whole files, of which libFuzzer makes others; a text's keys, mostly."""
    return {word for content in files for word in re.findall(rb"[A-Za-z_]{3,}", content)}


def libfuzzer(name: str, out: Path, more: Path, *how: str) -> subprocess.CompletedProcess[str]:
    """Runs it in a process of its own: files that reach new code go into the folder `out`."""
    command = [
        sys.executable, __file__, "--one", name, str(out), str(more), *how,
        f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}", "-print_final_stats=1",
        f"-artifact_prefix={out}/found-", "-max_len=20000", "-verbosity=0",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        target = sys.argv[2]
        del sys.argv[1:3]
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        fuzz(target)
    main()
