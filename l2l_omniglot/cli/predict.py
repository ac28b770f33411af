"""``l2l-omniglot predict``."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2l_omniglot._util.files import resolved, write_text
from l2l_omniglot._util.text import counted, shown
from l2l_omniglot.backbones import BATCH_NORMS
from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Command
from l2l_omniglot.cli.console import counting, echo_data, log, say, width_of
from l2l_omniglot.data import INKS, REDRAWS
from l2l_omniglot.errors import SkippedError

if TYPE_CHECKING:
    from l2l_omniglot.data.picture_folders import Collection

support_argument = click.argument("support", type=options.GivenPath())
adapting_options = options.combined(
    options.weights_option(options.BEST_WEIGHTS), options.steps_option()
)
picture_options = options.combined(
    click.option("--picture-ink", type=options.Name(INKS), default="auto",
                 show_default=True, help="Shade of the ink. auto: the minority shade, or the one "
                 "unlike the border."),
    click.option("--redraw", type=options.Name(REDRAWS), default="auto",
                 show_default=True, help="Centre and scale the ink, and redraw it with one pen, as "
                 "in Omniglot's drawings. auto: of each picture that needs it; never: leave "
                 "greys as they are, too."),
)  # fmt: skip


@click.command(cls=Command, short_help="Classify your own pictures.")
@support_argument
@click.argument("queries", metavar="QUERY...", type=options.GivenPath(), nargs=-1,
                required=True)  # fmt: skip
@adapting_options
@click.option("--batch-norm", type=options.Name(BATCH_NORMS), default="inductive",
              show_default=True, help="Normalise each query by the support set (inductive), or "
              "all queries together (transductive).")  # fmt: skip
@picture_options
@options.device_option("cpu")
@options.json_option
@click.option("--csv", is_flag=True,
              help="Print CSV: one row per picture, one column per class.")  # fmt: skip
@click.option("--reject", is_flag=True,
              help="Predict \"none of these\" for what is unlike all classes.")  # fmt: skip
@click.option("--top", type=click.IntRange(1, 100_000), default=1, show_default=True,
              help="Classes to name of each picture, the most probable first.")  # fmt: skip
@click.option("--out", type=options.OutputPath(), default=None,
              help="File to write the predictions to (stdout).")  # fmt: skip
@click.option("--show", type=options.OutputPath(".png"), default=None,
              help="PNG file to write what the network saw of each picture to (none).")  # fmt: skip
def predict(
    support: Path,
    queries: tuple[Path, ...],
    weights: str | None,
    steps: int | None,
    device: str,
    batch_norm: str,
    picture_ink: str,
    redraw: str,
    json: bool,
    csv: bool,
    reject: bool,
    top: int,
    out: Path | None,
    show: Path | None,
) -> None:
    """Classify your own pictures, from a few examples of each class.

    SUPPORT is a folder with one sub-folder of pictures per class. QUERY is a picture or a folder
    of them. If it has sub-folders named after classes, these are the true classes, and accuracy
    is reported. Pictures are PNG, JPEG, GIF, TIFF, BMP or WebP files of any size.
    """
    if json and csv:
        raise click.UsageError("--json and --csv: expected only one")
    _check_outputs([support, *queries], weights, {"--out": out, "--show": show})
    # Pictures first: a wrong folder is refused before torch is imported.
    source = options.Weights(weights)
    examples, collection = _read_pictures(support, queries, picture_ink, source.pictures)
    if batch_norm == "transductive":
        _note_few(len(collection.files), len(examples.names))
    from l2l_omniglot.classify import predictions, predictor

    checkpoint = source.load(len(examples.names))
    result = predictor.predict(
        checkpoint, examples, collection, steps=steps, batch_norm=batch_norm, redraw=redraw,
        device=device, reject=reject,
    )  # fmt: skip
    if json or csv:
        text = (predictions.predictions_json if json else predictions.predictions_csv)(result)
    else:
        text = predictions.predictions_table(result, top, 0 if out else width_of(sys.stdout))
    if out is None:
        echo_data(text) if json or csv else say(text)
    else:
        write_text(out, text + "\n")
        log.info(f"Wrote {out}.")
    if show is not None:
        from l2l_omniglot.reports.contact_sheet import write_sheet
        from l2l_omniglot.reports.prediction_sheet import Answer, prediction_sheet

        pairs = zip(result.query_looks, result.entries, strict=True)
        answers = [Answer(look, entry.label, entry.truth) for look, entry in pairs]
        named = list(zip(result.support_looks, result.support_classes, strict=True))
        write_sheet(prediction_sheet(result.weights, named, answers), show)
        log.info(f"Wrote {show}.")
    note_unread(examples, collection)


def _read_pictures(
    support: Path, queries: Sequence[Path], ink: str, kind: str
) -> tuple[Collection, Collection]:
    """Reads the pictures of both, with a bar for all of them."""
    from l2l_omniglot.data import picture_folders as folders

    total, read = folders.count_pictures([support, *queries]), itertools.count(1)
    with counting("reading", "picture", total) as progress:
        how = ink, kind, lambda: progress(next(read))
        examples = folders.read_support(support, *how)
        found = folders.read_queries(queries, examples.names, *how)
    if shared := folders.shared_pictures(examples, found):
        log.info(
            f"Note: {shared} of {counted(len(found.files), 'query picture')} among the support "
            "pictures, too: accuracy on these says nothing."
        )
    return examples, found


def _note_few(queries: int, ways: int) -> None:
    """Says of queries that are normalised together when there are too few of them for that."""
    if queries < ways:
        log.info(
            f"Note: {counted(queries, 'picture')} normalised together, of {ways} classes; with so "
            "few --batch-norm inductive is more accurate."
        )


def _check_outputs(
    inputs: Sequence[Path], weights: str | None, outputs: Mapping[str, Path | None]
) -> None:
    """Refuses to write over what is read, or among pictures what would be one next time."""
    from l2l_omniglot.data.pictures import SUFFIXES

    given = {option: path for option, path in outputs.items() if path is not None}
    if len(given) == 2 and options.is_same(*given.values()):
        raise click.UsageError(f"{' and '.join(given)}: expected two different files")
    places = [*inputs, *([Path(weights)] if weights else [])]
    for option, path in given.items():
        for place in places:
            within = resolved(place) in (resolved(path), *path.absolute().parents)
            picture = within and path.suffix.lower() in SUFFIXES
            if picture or (path.exists() and _reads(place, path)):
                raise click.UsageError(
                    f"{option} '{path}': expected a file that is none of those to read, and not a "
                    f"picture among those in '{place}'"
                )


def _reads(place: Path, path: Path) -> bool:
    """Returns whether a file is a place to read, or in it, by whatever name."""
    files = [place, *(place.rglob("*") if place.is_dir() else ())]
    return any(file.is_file() and options.is_same(file, path) for file in files)


def note_unread(*collections: Collection) -> None:
    """Names the files that do not have the extension of a picture, and pictures that are broken.

    Raises:
        SkippedError: if there are broken ones.
    """
    ignored = [shown(path) for collection in collections for path in collection.left]
    if ignored:
        log.info(f"Note: ignored (unsupported extension): {', '.join(ignored)}")
    for collection in collections:
        for sentence in collection.passed:
            log.info(f"Note: {shown(sentence)}.")
    skipped = [sentence for collection in collections for sentence in collection.skipped]
    if skipped:
        every = len(skipped) + sum(len(collection.files) for collection in collections)
        of = "support and queries" if len(collections) > 1 else "support"
        before = "\n  " if len(skipped) > 1 else " "
        which = "".join(before + sentence for sentence in skipped)
        raise SkippedError(f"skipped {len(skipped)} of {every} pictures ({of}):{which}")
