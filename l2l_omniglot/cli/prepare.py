"""``l2l-omniglot prepare``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from l2l_omniglot.cli.options import OutputPath


@click.command(short_help="Turn Omniglot into one .npy file.")
@click.option(
    "--source",
    "sources",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Archive, extracted folder, or a folder that holds them; may be given twice "
    "(L2L_OMNIGLOT_SOURCE, else the download).",
)
@click.option(
    "--out",
    type=OutputPath(),
    default=None,
    help="The .npy file to write (omniglot.npy in the cache folder).",
)
@click.option(
    "--image-size",
    type=click.IntRange(8, 105),
    default=28,
    show_default=True,
    help="Height and width in pixels.",
)
def prepare(sources: tuple[Path, ...], out: Path | None, image_size: int) -> None:
    """Turn the official Omniglot images into one .npy class stack.

    Downloads the two archives (14 MB, checksums verified) unless told where they are, and
    writes uint8 (1623, 20, 1, size, size) with a .json sidecar that names every class.
    """
    from l2l_omniglot.messages import say
    from l2l_omniglot.omniglot import default_stack_path, prepare_omniglot
    from l2l_omniglot.progress import CountProgress

    with CountProgress("preparing", "character") as progress:
        prepare_omniglot(
            list(sources),
            out or default_stack_path(),
            image_size=image_size,
            announce=say,
            progress=progress,
        )
    data = f" --data {shlex.quote(str(out))}" if out else ""
    say(f"Train on it:\n  l2l-omniglot train --ways 5 --shots 1{data}")
