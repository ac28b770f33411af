"""``l2l-omniglot prepare``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2l_omniglot._util.text import listed, noted, reasons, shown
from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Command, from_where, given_options
from l2l_omniglot.cli.console import counting, log
from l2l_omniglot.data import DRAWINGS, IMAGES, INKS, KINDS
from l2l_omniglot.errors import DataError, SkippedError

if TYPE_CHECKING:
    from l2l_omniglot.data.class_folders import Looks
    from l2l_omniglot.data.sidecar import Sidecar


@click.command(cls=Command, short_help="Turn Omniglot, or pictures of yours, into one .npy file.")
@click.option("--classes", type=options.FolderPath(), default=None,
              help="Folder of pictures of your own: one sub-folder a class, or one a group of "
              "classes (none: Omniglot).")  # fmt: skip
@click.option("--source", type=options.GivenPath(), multiple=True,
              help="Omniglot: archive, extracted folder, or a folder that holds them; may be "
              "repeated (L2L_OMNIGLOT_SOURCE, else the download).")  # fmt: skip
@click.option("--out", type=options.OutputPath(), default=None,
              help="The .npy file to write (omniglot.npy in the cache folder; needed with "
              "--classes).")  # fmt: skip
@click.option("--image-size", type=click.IntRange(8, 512), default=28, show_default=True,
              help="Height and width in pixels; of Omniglot at most 105.")  # fmt: skip
@click.option("--colour", is_flag=True, help="Three channels, RGB, instead of grey.")
@click.option("--pictures", type=options.Name(KINDS), default=IMAGES,
              show_default=True, help="What is seen of pictures: all of them, or the ink that is "
              "found in them, as `predict` finds it.")  # fmt: skip
@click.option("--picture-ink", type=options.Name(INKS), default="auto",
              show_default=True, help="Shade of the ink of drawings.")  # fmt: skip
@click.option("--least", type=click.IntRange(1, 1_000_000), default=1, show_default=True,
              help="Leave out classes with fewer pictures.")  # fmt: skip
def prepare(
    classes: Path | None,
    source: tuple[Path, ...],
    out: Path | None,
    image_size: int,
    colour: bool,
    pictures: str,
    picture_ink: str,
    least: int,
) -> None:
    """Turn the official Omniglot images, or a folder of classes, into one .npy class stack.

    Downloads Omniglot's two archives (14 MB, checksums verified) unless --source names them.
    Writes uint8 images, of Omniglot (1623, 20, 1, size, size), and a .json sidecar that names
    every class. Interrupted with --classes, the same command goes on.
    """
    if classes is None:
        _refuse("expected --classes with it", "colour", "pictures", "picture_ink", "least")
    else:
        if source or out is None:
            raise click.UsageError(f"--classes: expected {'no --source' if source else '--out'}")
        if pictures == DRAWINGS and colour:
            raise click.UsageError("--colour with --pictures drawings: expected one of both")
        if pictures == IMAGES:
            _refuse("expected --pictures drawings with it", "picture_ink")
        from l2l_omniglot.data.class_folders import Looks

        looks = Looks(image_size, colour, pictures, picture_ink, least)
        _prepare_own(classes, out, looks)
        return
    from l2l_omniglot.data.omniglot import default_stack_path, prepare_omniglot

    target = out or default_stack_path()
    with counting("preparing", "character") as progress:
        prepare_omniglot(
            list(source), target, image_size=image_size, announce=log.info, progress=progress
        )
    _invite("--ways 5 --shots 1", out)


def _refuse(why: str, *names: str) -> None:
    """Refuses options that were given, since they would change nothing."""
    context = click.get_current_context()
    for name, option in given_options(context).items():
        if name in names:
            raise click.UsageError(f"{option.opts[0]}{from_where(context, name)}: {why}")


def _prepare_own(folder: Path, out: Path, looks: Looks) -> None:
    from l2l_omniglot.data.class_folders import list_classes, prepare_classes
    from l2l_omniglot.data.stack import span

    classes = list_classes(folder)
    with counting("preparing", "picture") as progress:
        done = prepare_classes(classes, out, looks, progress)
    counts = done.sidecar.counts
    size = f"{looks.image_size} x {looks.image_size}, {'colour' if looks.colour else 'grey'}"
    log.info(
        f"Wrote {shown(out)}: {len(counts)} classes of {span(counts)} images, {sum(counts):,} in "
        f"all, {size}."
    )
    for note in noted(classes.passed, "{} more files and folders were passed over"):
        log.info(note)
    if done.small:
        some = f"of {len(classes.files)} classes {len(done.small)} have fewer than {looks.least}"
        log.info(f"Note: left out: {some}: {shown(listed(done.small))}.")
    _invite_own(out, done.sidecar)
    if done.left:
        every = f"{len(done.left)} of {classes.count} pictures"
        raise SkippedError(f"skipped {every}: {reasons(done.left)}")


def _invite(task: str, out: Path | None, split: str = "") -> None:
    data = f" --data {shlex.quote(str(out))}" if out else ""
    log.info(f"Train on it:\n  l2l-omniglot train {task}{data}{split}")


def _invite_own(out: Path, sidecar: Sidecar) -> None:
    """Names a training that the classes suffice for, if there is one."""
    from l2l_omniglot.data.splits import make_splits

    split = "groups" if len({entry.alphabet for entry in sidecar.classes}) >= 3 else "random"
    try:
        ways = min(5, *map(len, make_splits(sidecar.classes, split)))
    except DataError:
        ways = 0
    queries = min(15, min(sidecar.counts) - 1)
    if ways < 2 or queries < 1:
        log.info(
            "Note: too few for a training, which needs 2 images of each class, and 2 classes each "
            "to train, to validate and to test. `predict` and `draw` take any number."
        )
        return
    fewer = f" --queries {queries}" if queries < 15 else ""
    _invite(f"--ways {ways} --shots 1{fewer}", out, f" --split {split}")
