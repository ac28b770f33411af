"""Contact sheets of some classes of a stack, or of a task with its support and query set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from l2l_omniglot._util.files import atomic_write
from l2l_omniglot.data.stack import ROTATIONS, Stack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.reports.font import Font, font_for, writable

Pixels = npt.NDArray[np.uint8]

SIDE = 56  # pixels that smaller images are magnified to, by a whole number
GAP, MARGIN = 6, 16  # pixels between images, and around all
PARTING = 26  # pixels between groups
TEXT_SIZE = 15
REMARK_SIZE = 11
STRIP = REMARK_SIZE + 4  # pixels below an image, for its remark
PAPER, INK, FAINT, LINE, RED = "#eef0f3", "#1c2024", "#5b6470", "#b6bcc6", "#b3261e"


@dataclass(frozen=True)
class Row:
    """Images of one class.

    Attributes:
        label: the name of the class.
        groups: uint8 images (H, W) or (H, W, 3), in one group for each of the sheet's.
        remarks: short texts in red below images, by number of the group and place in it.
    """

    label: str
    groups: tuple[tuple[Pixels, ...], ...]
    remarks: Mapping[tuple[int, int], str] = field(default_factory=dict)


@dataclass(frozen=True)
class ContactSheet:
    """Rows of images under the names of their groups.

    Attributes:
        title: one line.
        groups: names, e.g. ``support`` and ``query``; a single group has an empty one.
        rows: one per class.
    """

    title: str
    groups: tuple[str, ...]
    rows: tuple[Row, ...]


def class_sheet(stack: Stack, classes: Sequence[int], items: int, title: str) -> ContactSheet:
    """Shows the first images of some classes.

    Args:
        stack: the images.
        classes: class numbers of the stack.
        items: images per class, if it has that many.
        title: of the sheet.
    """
    rows = []
    for number in classes:
        chosen = range(stack.images_per_class[number])[:items]
        images = stack.images([number] * len(chosen), list(chosen))
        rows.append(Row(stack.names[number], (as_pixels(images, stack),)))
    return ContactSheet(title, ("",), tuple(rows))


def task_sheet(tasks: Tasks, number: int) -> ContactSheet:
    """Shows a task of a stream, one row per label, with support and query set side by side."""
    task, stack = tasks[number], tasks.dataset.stack
    rows = []
    for label, entry in enumerate(task.classes):
        support = as_pixels(task.support[task.support_labels == label], stack)
        query = as_pixels(task.query[task.query_labels == label], stack)
        rows.append(Row(f"{label}  {class_name(tasks, entry)}", (support, query)))
    sizes = f"{tasks.ways}-way {tasks.shots}-shot, {tasks.queries} queries per class"
    title = f"task {number} of {tasks.name}: {sizes}, seed {tasks.seed}, {Path(stack.name).stem}"
    return ContactSheet(title, ("support", "query"), tuple(rows))


def class_name(tasks: Tasks, label: int) -> str:
    """Returns the name of the class behind an entry of `Task.classes`, with its transform."""
    number, transform = tasks.dataset.describe(label)
    mirrored, rotated = divmod(transform, ROTATIONS)
    transforms = ["mirrored"] * mirrored + [f"rotated {90 * rotated} degrees"] * bool(rotated)
    name = tasks.dataset.stack.names[number]
    return f"{name} ({', '.join(transforms)})" if transforms else name


def as_pixels(images: torch.Tensor, stack: Stack) -> tuple[Pixels, ...]:
    """Turns images of a stack into pixels to look at: grey ones dark on white, others as stored.

    Args:
        images: float32 (B, channels, H, W) in [0, 1], as read from the stack.
        stack: which knows the colour of the ink.

    Returns:
        B arrays uint8 (H, W), or (H, W, 3).
    """
    grey = stack.channels == 1
    inverted = stack.ink == "white" if grey else stack.background == stack.ink
    shown = 1 - images if inverted else images
    values = (255 * shown).round().to("cpu", torch.uint8).movedim(1, -1).numpy()
    return tuple(values[..., 0] if grey else values)


def write_sheet(sheet: ContactSheet, path: Path) -> None:
    """Writes a sheet as a PNG file."""
    with atomic_write(path) as file:
        to_image(sheet).save(file, "png", optimize=True)


def to_image(sheet: ContactSheet) -> Image.Image:
    """Draws a sheet as a picture for a PNG file."""
    remarks = [text for row in sheet.rows for text in row.remarks.values()]
    font = font_for([sheet.title, *(row.label for row in sheet.rows)], TEXT_SIZE)
    small = font_for(remarks, REMARK_SIZE)
    labels, title = [writable(row.label, font) for row in sheet.rows], writable(sheet.title, font)
    sides = sheet.rows[0].groups[0][0].shape[:2]
    height, width = (side * max(1, SIDE // max(sides)) for side in sides)
    # The left edge of each group, and the right edge of the last.
    starts = [MARGIN + round(max(map(font.getlength, labels))) + 2 * GAP]
    for groups in zip(*(row.groups for row in sheet.rows), strict=True):
        starts.append(starts[-1] + max(map(len, groups)) * (width + GAP) + PARTING)
    starts[-1] -= PARTING
    names = zip(starts, sheet.groups, strict=False)
    ends = [MARGIN + font.getlength(title), *(at + font.getlength(name) for at, name in names)]
    right = max(starts[-1], round(max(ends))) + MARGIN
    top = MARGIN + 3 * TEXT_SIZE + GAP
    tops = [top]
    for row in sheet.rows:
        tops.append(tops[-1] + height + GAP + (STRIP if row.remarks else 0))
    picture = Image.new("RGB", (right, tops[-1] + MARGIN), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((MARGIN, MARGIN), title, INK, font)
    for name, start in zip(sheet.groups, starts, strict=False):
        pen.text((start, MARGIN + 3 * TEXT_SIZE // 2), name, FAINT, font)
    for start in starts[1:-1]:
        x = start - (PARTING + GAP) // 2
        pen.line((x, top - TEXT_SIZE, x, picture.height - MARGIN), LINE, 2)
    for line, row in enumerate(sheet.rows):
        y = tops[line]
        pen.text((MARGIN, y + height // 2), labels[line], INK, font, "lm")
        for number, (start, group) in enumerate(zip(starts, row.groups, strict=False)):
            for place, pixels in enumerate(group):
                tile = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
                x = start + place * (width + GAP)
                picture.paste(tile, (x, y))
                if remark := row.remarks.get((number, place)):
                    box = (x - 2, y - 2, x + width + 1, y + height + STRIP - 1)
                    _remark(pen, box, writable(remark, small), small)
    return picture


def _remark(
    pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], text: str, font: Font
) -> None:
    """Frames an image, and writes on a strip below it as much of a text as fits."""
    left, _, right, lower = box
    while font.getlength(text) > right - left - 4 and len(text) > 1:
        text = text.rstrip("…")[:-1] + "…"
    pen.rectangle((left, lower - STRIP, right, lower), RED)
    pen.rectangle(box, outline=RED, width=2)
    pen.text((left + 3, lower - 1), text, "white", font, "lb")
