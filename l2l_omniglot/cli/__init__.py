"""The command line. Nothing imports it; starting it imports neither torch nor learn2learn.

Exit codes: 0 done, 1 the system refused, or an unexpected failure, 2 wrong usage or setting,
3 data, 4 download, 5 backbone, 6 run or checkpoint, 7 training failed, 8 a worker died, 9 done
but for pictures that cannot be read, 130 stopped by Ctrl-C (143 by SIGTERM).

- ``config``: what all commands have: ``--config``, ``--verbose``, ``--quiet``, variables
- ``console``: messages and progress on stderr
- ``options``: options that several commands have, and what is made of them
- ``lists``: the commands ``backbones``, ``check-backbone`` and ``pretrained``
- ``train``, ``evaluate``, ``predict``, ``draw``, ``report``, ``show``, ``prepare``, ``reproduce``,
  ``tune``, ``export``, ``info``: the commands of these names
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence

import click

from l2l_omniglot._util.process import launched, prepare_process
from l2l_omniglot._util.text import shown
from l2l_omniglot.cli.config import PREFIX, Group, from_where
from l2l_omniglot.cli.console import VERBOSE, echo_error, log, open_console, wants_colour
from l2l_omniglot.cli.draw import draw
from l2l_omniglot.cli.evaluate import evaluate
from l2l_omniglot.cli.export import export
from l2l_omniglot.cli.info import info
from l2l_omniglot.cli.lists import backbones, check_backbone, pretrained
from l2l_omniglot.cli.predict import predict
from l2l_omniglot.cli.prepare import prepare
from l2l_omniglot.cli.report import report
from l2l_omniglot.cli.reproduce import reproduce
from l2l_omniglot.cli.show import show
from l2l_omniglot.cli.train import train
from l2l_omniglot.cli.tune import tune
from l2l_omniglot.errors import L2LOmniglotError, WorkerError

PROGRAM = "l2l-omniglot"
CONTEXT = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "auto_envvar_prefix": PREFIX,
}
PAUSE = 3.0  # seconds: whoever made this worker fail ends first, and its exit code is the job's


@click.group(cls=Group, context_settings=CONTEXT)
@click.version_option(
    package_name=PROGRAM, message=f"{PROGRAM} %(version)s", allow_from_autoenv=False
)
def cli() -> None:
    """Train and evaluate MAML on Omniglot, or on your own classes of images.

    Every option can also be set by an environment variable named after it, such as
    L2L_OMNIGLOT_TRAIN_WAYS, or in a TOML file (--config), where a section [train] has the options
    of `train`, such as ways = 5.

    In the help of each command the value in brackets is the default.
    """


for command in (
    train, evaluate, predict, draw, report, show, prepare, pretrained, reproduce, tune, export,
    backbones, check_backbone, info,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Runs the command line; every failure is reported on stderr and has its exit code."""
    prepare_process()
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # a second Ctrl-C, while the first or a failure was being reported
        code = 130
    # It ends anyhow: another would only add a traceback of torch's cleaning up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs the command line on its arguments; reports a failure, and returns the exit code."""
    open_console()
    try:
        done = cli.main(
            list(arguments), prog_name=PROGRAM, standalone_mode=False, color=wants_colour()
        )
        return done if isinstance(done, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        return _end(error)


def _end(error: BaseException) -> int:
    """Reports the failure; returns the exit code."""
    if isinstance(error, click.ClickException):
        return _wrong_usage(error)
    if isinstance(error, click.Abort | KeyboardInterrupt):  # click turns the first into its own
        echo_error("Stopped.")
        return 130
    if isinstance(error, L2LOmniglotError):
        alone = not (isinstance(error, WorkerError) and launched())
        if alone or os.environ["RANK"] == "0":  # which speaks for all
            _echo_failure(str(error))
        time.sleep(0 if alone else PAUSE)
        return error.exit_code
    if isinstance(error, OSError):  # a full disk, a folder that may not be written
        if not isinstance(error, BrokenPipeError):  # e.g. `l2l-omniglot evaluate | head -1`
            place = f"{error.filename}: " if error.filename else ""
            _echo_failure(f"{place}{error.strerror or error}")
        # Let go of what could not be written, so that Python does not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if log.isEnabledFor(VERBOSE):
        echo_error("".join(traceback.format_exception(error)).rstrip())
    _echo_failure(
        f"unexpected {type(error).__name__}: {error}\n"
        "This should not happen. Please report it with the output of `l2l-omniglot info`, and of "
        "the same command with --verbose, which shows where it fails."
    )
    return 1


def _echo_failure(text: str) -> None:
    lines = "\n".join(map(shown, text.split("\n")))  # which may quote what came
    echo_error(f"{click.style('Error:', fg='red', bold=True)} {lines}")


def _wrong_usage(error: click.ClickException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # no error: it is the help
        error.show()
        return error.exit_code
    message = error.format_message()
    if isinstance(error, click.UsageError) and (context := error.ctx) is not None:
        echo_error(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n")
        if isinstance(error, click.NoSuchOption) and isinstance(context.command, click.Group):
            message += _owners(error.option_name, context.command)
        if isinstance(error, click.BadParameter) and error.param is not None:
            where = from_where(context, str(error.param.name))
            message = message.rstrip(".") + where if where else message
    _echo_failure(message)
    return error.exit_code


def _owners(option: str, group: click.Group) -> str:
    """Names the commands that have the option, which was given before any."""
    owners = [
        name
        for name, command in sorted(group.commands.items())
        if any(option in parameter.opts for parameter in command.params)
    ]
    return f" It goes after the command: {', '.join(owners)}." if owners else ""
