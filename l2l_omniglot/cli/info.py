"""``l2l-omniglot info``: what is installed and found here; a part that is broken says so."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable
from functools import partial
from json import dumps
from pathlib import Path
from typing import Any

import click

from l2l_omniglot._util.files import cache_folder
from l2l_omniglot._util.text import hanging
from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import PREFIX, Command
from l2l_omniglot.cli.console import width_of
from l2l_omniglot.experiments.run_folder import versions
from l2l_omniglot.experiments.runs import known_runs, runs_folder
from l2l_omniglot.experiments.weights import list_pretrained

_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "CUDA_VISIBLE_DEVICES")


def _tried(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns a part as plain values; one that fails has an ``error`` that says why."""
    try:
        return part()
    except (Exception, SystemExit) as error:  # whatever is broken here may raise anything
        return {"error": f"{type(error).__name__}: {error}"}


def _versions() -> dict[str, Any]:
    return {name: value for name, value in versions().items() if name != "machine"}


def _platform() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": sys.executable,
    }


def _torch() -> dict[str, Any]:
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        names = map(torch.cuda.get_device_name, range(torch.cuda.device_count()))
        devices += [f"cuda:{number} ({name})" for number, name in enumerate(names)]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {"devices": devices, "threads": torch.get_num_threads(), "cuda": torch.version.cuda}


def _learn2learn() -> dict[str, Any]:
    from l2l_omniglot._util.compat import l2l

    return {"imports": True, "maml": f"{l2l.algorithms.MAML.__module__}.MAML"}


def _data() -> dict[str, Any]:
    """Describes the prepared Omniglot, read whole: a broken file is an error."""
    from l2l_omniglot.data.omniglot import default_stack_path

    path = default_stack_path()
    facts = {"cache": str(cache_folder()), "stack": str(path), "prepared": path.is_file()}
    return {**facts, **(_tried(partial(_stack, path)) if path.is_file() else {})}


def _stack(path: Path) -> dict[str, Any]:
    from l2l_omniglot.data.stack import load_stack

    stack = load_stack(path)
    return {"classes": stack.classes, "sha256": stack.sha256}


def _variables() -> dict[str, Any]:
    """Returns those that are set and change what the program does; without passwords."""
    names = [name for name in sorted(os.environ) if name.startswith(f"{PREFIX}_")]
    return {
        name: re.sub(r"//[^/@\s]+@", "//...@", os.environ[name])
        for name in [*names, *_VARIABLES]
        if os.environ.get(name)
    }


def _backbones() -> dict[str, Any]:
    from l2l_omniglot.backbones.registry import list_backbones

    return {entry.name: f"{entry.target} of {entry.package}" for entry in list_backbones()}


def _pretrained() -> dict[str, Any]:
    return {
        card.name: f"{card.iteration} iterations, SHA-256 {card.sha256[:12]}"
        for card in list_pretrained()
    }


def _newest_run() -> dict[str, Any]:
    runs = known_runs()
    if not runs:
        return {"none in": str(runs_folder())}
    folder = runs[0]
    settings = folder.read_settings()
    rows = [row for row in folder.read_metrics() if row.validated]
    names = ("recipe", "ways", "shots", "backbone", "data", "iterations")
    return {
        "folder": str(folder.path),
        **{name: getattr(settings, name) for name in names},
        "validated at": rows[-1].iteration if rows else None,
    }


_PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "versions": _versions,
    "platform": _platform,
    "torch": _torch,
    "learn2learn": _learn2learn,
    "data": _data,
    "variables": _variables,
    "backbones": _backbones,
    "pretrained": _pretrained,
    "newest run": _newest_run,
}


@click.command(cls=Command, short_help="Print what a bug report needs.")
@options.json_option
def info(json: bool) -> None:
    """Print what is installed and found here, for bug reports.

    Versions, machine, devices, data, variables, backbones, pretrained weights, the newest run.
    A part that is missing or broken says so; the exit code stays 0.
    """
    parts = {name: _tried(part) for name, part in _PARTS.items()}
    if json:
        click.echo(dumps(parts))
        return
    width = width_of(sys.stdout)
    for name, entries in parts.items():
        rows = [(key, _words(value)) for key, value in entries.items()]
        click.echo("\n".join([name, *hanging(rows or [("none", "")], width)]))


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
