"""``l2l-omniglot prepare``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Command
from l2l_omniglot.cli.console import counting, log


@click.command(cls=Command, short_help="Turn Omniglot into one .npy file.")
@click.option("--source", type=click.Path(path_type=Path), multiple=True,
              help="Archive, extracted folder, or a folder that holds them; may be repeated "
              "(L2L_OMNIGLOT_SOURCE, else the download).")  # fmt: skip
@click.option("--out", type=options.OutputPath(), default=None,
              help="The .npy file to write (omniglot.npy in the cache folder).")  # fmt: skip
@click.option("--image-size", type=click.IntRange(8, 105), default=28, show_default=True,
              help="Height and width in pixels.")  # fmt: skip
def prepare(source: tuple[Path, ...], out: Path | None, image_size: int) -> None:
    """Turn the official Omniglot images into one .npy class stack.

    Downloads the two archives (14 MB, checksums verified) unless --source names them. Writes
    uint8 images of shape (1623, 20, 1, size, size), and a .json sidecar that names every class.
    """
    from l2l_omniglot.data.omniglot import default_stack_path, prepare_omniglot

    target = out or default_stack_path()
    with counting("preparing", "character") as progress:
        prepare_omniglot(
            list(source), target, image_size=image_size, announce=log.info, progress=progress
        )
    data = f" --data {shlex.quote(str(out))}" if out else ""
    log.info(f"Train on it:\n  l2l-omniglot train --ways 5 --shots 1{data}")
