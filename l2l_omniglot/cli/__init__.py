"""The command line. Nothing imports it; starting it imports neither torch nor learn2learn.

Exit codes: 0 done, 1 the system refused, or an unexpected failure, 2 wrong usage or setting,
3 data, 4 download, 5 backbone, 6 run or checkpoint, 7 training failed, 8 a worker died, 9 done
but for pictures that cannot be read, 130 stopped by Ctrl-C (143 by SIGTERM).
"""

from __future__ import annotations

import os
import sys
import time

import click

from l2l_omniglot.cli.backbones import backbones
from l2l_omniglot.cli.check_backbone import check_backbone
from l2l_omniglot.cli.draw import draw
from l2l_omniglot.cli.evaluate import evaluate
from l2l_omniglot.cli.export import export
from l2l_omniglot.cli.predict import predict
from l2l_omniglot.cli.prepare import prepare
from l2l_omniglot.cli.pretrained import pretrained
from l2l_omniglot.cli.report import report
from l2l_omniglot.cli.reproduce import reproduce
from l2l_omniglot.cli.show import show
from l2l_omniglot.cli.train import train
from l2l_omniglot.errors import L2LOmniglotError, WorkerError
from l2l_omniglot.launch import RUN_ID, launched

PAUSE = 3.0  # seconds: whoever made this worker fail ends first, and its exit code is the job's
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"l2l-omniglot {version('l2l-omniglot')}")
        context.exit()


@click.group(context_settings=CONTEXT)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
    help="Show the version and exit.",
)  # fmt: skip
def cli() -> None:
    """Train and evaluate MAML on Omniglot, or on your own classes of images."""


for command in (
    train, evaluate, predict, draw, report, show, prepare, pretrained, reproduce, export,
    backbones, check_backbone,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Runs the command line; every expected failure is one line on stderr and an exit code."""
    sys.exit(_run())


def _another_says_it(error: L2LOmniglotError) -> bool:
    """Whether the first worker says it too, or else the launcher, that a worker is gone."""
    launcher = os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(f"{RUN_ID}-")
    first = os.environ.get("RANK", "0") == "0"
    if isinstance(error, WorkerError):
        return launcher or not first
    return launcher and not first


def _run() -> int:
    try:
        code = cli.main(prog_name="l2l-omniglot", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 130
    except L2LOmniglotError as error:
        if not _another_says_it(error):
            click.echo(f"Error: {error}", err=True)
        if isinstance(error, WorkerError) and launched():
            time.sleep(PAUSE)
        return error.exit_code
    except BrokenPipeError:  # e.g. `l2l-omniglot evaluate | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        click.echo(f"Error: {error}", err=True)
        return 1
