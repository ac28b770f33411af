"""Names, numbers and tables as text."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Mark: TypeAlias = Callable[[str], str]
NONE = "\N{EN DASH}"  # where a table has no figure
COMMAND = "l2l-omniglot "  # begins a line that can be typed
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # kinds of letters
SHOWN = 10  # sentences in a message
HUGE = 1e4  # from here on numbers are written with an exponent


def counted(number: int, what: str) -> str:
    """Formats a number with what it counts: 1 step, 5 steps."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Lists names, the first of them if there are more than `most`."""
    return ", ".join(names[:most]) + _rest(names, most, " and {} more")


def reasons(sentences: Sequence[str]) -> str:
    """Lists sentences, the first of them if there are more than `SHOWN`."""
    return "; ".join(sentences[:SHOWN]) + _rest(sentences, SHOWN, "; and {} more")


def noted(sentences: Sequence[str], rest: str) -> list[str]:
    """Makes a note of each sentence, or of the first of them if there are more than `SHOWN`.

    Args:
        sentences: each without its full stop.
        rest: what the last note says of the others, with {} for their number.
    """
    last = _rest(sentences, SHOWN, rest)
    every = [*sentences[:SHOWN], last] if last else sentences
    return [f"Note: {shown(sentence)}." for sentence in every]


def _rest(names: Sequence[str], most: int, text: str) -> str:
    """Says how many names follow the first; empty if none does."""
    more = len(names) - most
    return text.format(more) if more > 0 else ""


def encodable(name: str | Path) -> str:
    """Escapes what UTF-8 cannot encode, such as undecodable bytes of a file name."""
    return str(name).encode(errors="backslashreplace").decode()


def shown(name: str | Path) -> str:
    """Escapes what controls a terminal as well, or the direction of what is written on it."""
    return "".join(
        c.encode("unicode_escape").decode() if _is_control(c) else c for c in encodable(name)
    )


def _is_control(letter: str) -> bool:
    """Returns whether a letter is a control character, ends a line, or turns the direction."""
    category, direction = unicodedata.category(letter), unicodedata.bidirectional(letter)
    return category in {"Cc", "Zl", "Zp"} or direction in TURNING


def printable(text: str) -> str:
    """Escapes control characters but line ends and colours, such as those of a stranger's names."""
    parts = re.split(r"(\n|\x1b\[[0-9;]*m)", text)
    return "".join(part if number % 2 else shown(part) for number, part in enumerate(parts))


def fold(text: str, width: int) -> str:
    """Breaks lines of more than `width` columns at spaces; no word is cut, colours have no width.

    What goes on is indented by two more than a line that was indented. A command that stands on a
    line of its own goes on after a backslash, so that it can be copied.
    """
    return "\n".join(_fold_line(line, width) for line in text.split("\n"))


def _fold_line(line: str, width: int) -> str:
    start = len(line) - len(line.lstrip(" "))
    indent = " " * (start + 2 if start else 0)
    end = " \\" if line.lstrip().startswith(COMMAND) else ""
    lines, room = [" " * start], width - len(end)
    for gap, word in re.findall(r"( *)([^ ]+)", line[start:]):
        longer = f"{lines[-1]}{gap}{word}"
        if columns(longer) <= room or not lines[-1].strip():
            lines[-1] = longer
        else:
            lines.append(indent + word)
    return f"{end}\n".join(lines)


def hanging(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Lists names and texts in two columns, with the texts folded in theirs; not if width is 0."""
    start = max(columns(name) for name, _ in rows)
    room = max(1, width - start - 4)
    lines = []
    for name, text in rows:
        parts = (fold(text, room) if width else text).split("\n")
        lines += [f"  {_padded(name, start)}  {parts[0]}".rstrip()]
        lines += [" " * (start + 4) + part for part in parts[1:]]
    return lines


def columns(text: str) -> int:
    """Counts the columns that a line takes on a terminal: wide characters two, colours none."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return sum(1 + (unicodedata.east_asian_width(c) in {"W", "F"}) for c in plain)


def _padded(text: str, width: int) -> str:
    """Fills a text up with spaces to so many columns."""
    return text + " " * (width - columns(text))


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Formats a CSV table with a header line; lines end in a newline.

    Texts that a spreadsheet would take for a formula get an apostrophe in front.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_no_formula, names))
    writer.writerows([_no_formula(row.get(name, "")) for name in names] for row in rows)
    return text.getvalue()


def _no_formula(value: object) -> object:
    formula = isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}
    return f"'{value}" if formula else value


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    mark: Mark = str,
    marked: Collection[tuple[int, int]] = (),
) -> str:
    """Formats columns as wide as their widest entry, two spaces apart.

    `mark` highlights, e.g. in bold, the text of the entries whose (row, column) are `marked`.
    """
    widths = [max(map(columns, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = [
        [_padded(entry, width) for entry, width in zip(line, widths, strict=True)] for line in lines
    ]
    for row, column in marked:
        entry = rows[row][column]
        padded[row + 2][column] = padded[row + 2][column].replace(entry, mark(entry), 1)
    return "\n".join("  ".join(line).rstrip() for line in padded)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Formats a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def decimal(value: float, digits: int) -> str:
    """Formats a number with so many decimals; a huge one, as losses that diverge, as 1.2e+09."""
    return f"{value:.{digits}f}" if abs(value) < HUGE else f"{value:.1e}"


def shortened(name: str, room: int, start: float = 0.5) -> str:
    """Leaves of a name the start and the end that fit in so many columns; 0: all of it.

    `start` is the share of the start; of a path the end tells more.
    """
    if not room or columns(name) <= room:
        return name
    first = _begin(name, int(start * (room - 1)))
    last = _begin(name[::-1], room - 1 - columns(first))[::-1]
    return f"{first}…{last}"


def _begin(name: str, room: int) -> str:
    """Returns the longest beginning that fits in so many columns."""
    ends = itertools.accumulate(map(columns, name))
    return name[: sum(end <= room for end in ends)]


def percent(fraction: float, ci95: float | None = None) -> str:
    """Formats a fraction in [0, 1] in percent, with the half-width of its interval if given."""
    interval = "" if ci95 is None else f"± {100 * ci95:.2f} "
    return f"{100 * fraction:.2f} {interval}%"


def finite(value: Any) -> Any:
    """Replaces NaN and infinity in nested lists and dicts with None, since JSON has neither."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
