"""``l2l-omniglot info``: what is installed and found here; a part that is broken says so."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable
from typing import Any

import click

from l2l_omniglot._util.files import CACHE_VARIABLE, cache_folder
from l2l_omniglot.cli.config import PREFIX, Command
from l2l_omniglot.cli.options import json_option
from l2l_omniglot.data.omniglot import MIRROR_VARIABLE, SOURCE_VARIABLE
from l2l_omniglot.experiments.run_folder import RUNS_VARIABLE, newest_run, runs_folder, versions

_VARIABLES = (
    CACHE_VARIABLE, SOURCE_VARIABLE, MIRROR_VARIABLE, RUNS_VARIABLE, "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip


def _tried(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A part as plain values; one that could not be looked at has an ``error`` that says why."""
    try:
        return part()
    except (Exception, SystemExit) as error:  # whatever is broken here may raise anything
        return {"error": f"{type(error).__name__}: {error}"}


def _installed() -> dict[str, Any]:
    found = versions()
    del found["machine"]
    return found


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
    """The prepared Omniglot, read whole: a broken file is an error."""
    from l2l_omniglot.data.omniglot import default_stack_path

    path = default_stack_path()
    found: dict[str, Any] = {"cache": str(cache_folder()), "stack": str(path)}
    if not path.is_file():
        return {**found, "prepared": False}
    return {**found, "prepared": True, **_tried(_stack)}


def _stack() -> dict[str, Any]:
    from l2l_omniglot.data.omniglot import default_stack_path
    from l2l_omniglot.data.stack import load_stack

    stack = load_stack(default_stack_path())
    return {"classes": stack.classes, "sha256": stack.sha256}


def _variables() -> dict[str, Any]:
    """Those that are set and change what the program does; without passwords."""
    own = [name for name in sorted(os.environ) if name.startswith(f"{PREFIX}_")]
    names = dict.fromkeys([*_VARIABLES, *own])
    return {name: _masked(os.environ[name]) for name in names if os.environ.get(name)}


def _masked(value: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//...@", value)


def _backbones() -> dict[str, Any]:
    from l2l_omniglot.backbones.registry import list_backbones

    return {
        entry.name: f"{entry.target} of {entry.package}{entry.error and f': {entry.error}'}"
        for entry in list_backbones()
    }


def _pretrained() -> dict[str, Any]:
    from l2l_omniglot.experiments.weights import list_pretrained

    return {
        card.name: f"{card.iteration} iterations, SHA-256 {card.sha256[:12]}"
        for card in list_pretrained()
    }


def _newest_run() -> dict[str, Any]:
    if not any(runs_folder().glob("*/config.json")):
        return {"none in": str(runs_folder())}
    folder = newest_run()
    settings, rows = folder.read_settings(), folder.read_metrics()
    return {
        "folder": str(folder.path),
        "recipe": settings.recipe,
        "ways": settings.ways,
        "shots": settings.shots,
        "backbone": settings.backbone,
        "data": settings.data,
        "iterations": settings.iterations,
        "validated at": rows[-1].iteration if rows else None,
    }


_PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "versions": _installed,
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
@json_option
def info(json: bool) -> None:
    """Print what is installed and found here, for bug reports.

    Versions, machine, devices, data, variables, backbones, pretrained weights, the newest run.
    A part that is missing or broken says so, and the exit code stays 0.
    """
    from json import dumps

    parts = {name: _tried(part) for name, part in _PARTS.items()}
    click.echo(dumps(parts) if json else "\n".join(map(_lines, parts, parts.values())))


def _lines(name: str, entries: dict[str, Any]) -> str:
    """A part as lines, its values below one another."""
    width = max(map(len, entries), default=0)
    lines = [f"  {key.ljust(width)}  {_words(value)}" for key, value in entries.items()]
    return "\n".join([name, *(lines or ["  none"])])


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
