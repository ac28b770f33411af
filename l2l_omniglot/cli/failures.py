"""How the program ends: every failure is told on stderr and has its exit code."""

from __future__ import annotations

import os
import sys
import time
import traceback

import click

from l2l_omniglot.cli.sources import place
from l2l_omniglot.colour import RED, paint
from l2l_omniglot.errors import L2LOmniglotError, WorkerError
from l2l_omniglot.launch import launched, launched_here
from l2l_omniglot.messages import Verbosity, tell, verbosity

PAUSE = 3.0  # seconds: whoever made this worker fail ends first, and its exit code is the job's


def end(error: Exception) -> int:
    """Tells of the failure; returns the exit code."""
    if isinstance(error, click.ClickException):
        return _wrong_usage(error)
    if isinstance(error, click.Abort):
        tell("Stopped.")
        return 130
    if isinstance(error, L2LOmniglotError):
        return _expected(error)
    if isinstance(error, BrokenPipeError):  # e.g. `l2l-omniglot evaluate | head -1`
        _drop_output()
    elif isinstance(error, OSError):  # a full disk, a folder that may not be written
        place = f"{error.filename}: " if error.filename else ""
        _tell_error(f"{place}{error.strerror or error}")
        _drop_output()
    else:
        _unexpected(error)
    return 1


def _tell_error(text: str) -> None:
    tell(f"{paint('Error:', RED, sys.stderr)} {text}")


def _wrong_usage(error: click.ClickException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # no error: it is the help
        error.show()
        return error.exit_code
    message = error.format_message()
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        message += _owners(error, context)
        tell(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n")
        parameter = error.param if isinstance(error, click.BadParameter) else None
        if parameter is not None and (where := place(context, str(parameter.name))):
            message = f"{message.rstrip('.')} (from {where})"
    _tell_error(message)
    return error.exit_code


def _owners(error: click.ClickException, context: click.Context) -> str:
    """Which commands have the option that was given before any."""
    group = context.command
    if not isinstance(error, click.NoSuchOption) or not isinstance(group, click.Group):
        return ""
    found = [
        name
        for name, command in sorted(group.commands.items())
        if any(error.option_name in option.opts for option in command.params)
    ]
    return f" Of {', '.join(found)}: it goes after the command." if found else ""


def _expected(error: L2LOmniglotError) -> int:
    if not _another_says_it(error):
        option = f"--{error.argument.replace('_', '-')} "
        text = str(error)
        _tell_error(text.replace(f"{error.argument}=", option, 1) if error.argument else text)
    if isinstance(error, WorkerError) and launched():
        time.sleep(PAUSE)
    return error.exit_code


def _another_says_it(error: L2LOmniglotError) -> bool:
    """Whether the first worker says it too, or else the launcher, that a worker is gone."""
    launcher = launched_here()
    first = os.environ.get("RANK", "0") == "0"
    if isinstance(error, WorkerError):
        return launcher or not first
    return launcher and not first


def _unexpected(error: Exception) -> None:
    if verbosity() >= Verbosity.VERBOSE:
        tell("".join(traceback.format_exception(error)).rstrip())
    _tell_error(
        f"unexpected {type(error).__name__}: {error}\n"
        "This should not happen. The same command with --verbose says where it does; please "
        "report that, with what `l2l-omniglot info` prints."
    )


def _drop_output() -> None:
    """Lets go of what could not be written, so that Python does not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
