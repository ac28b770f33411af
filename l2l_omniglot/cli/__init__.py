"""The command line. Nothing imports it; starting it imports neither torch nor learn2learn.

Exit codes: 0 done, 1 the system refused, or an unexpected failure, 2 wrong usage or setting,
3 data, 4 download, 5 backbone, 6 run or checkpoint, 7 training failed, 8 a worker died, 9 done
but for pictures that cannot be read, 130 stopped by Ctrl-C (143 by SIGTERM).
"""

from __future__ import annotations

import sys

import click

from l2l_omniglot.cli.backbones import backbones
from l2l_omniglot.cli.check_backbone import check_backbone
from l2l_omniglot.cli.completion import PROGRAM, completion
from l2l_omniglot.cli.draw import draw
from l2l_omniglot.cli.evaluate import evaluate
from l2l_omniglot.cli.export import export
from l2l_omniglot.cli.failures import end
from l2l_omniglot.cli.info import info
from l2l_omniglot.cli.predict import predict
from l2l_omniglot.cli.prepare import prepare
from l2l_omniglot.cli.pretrained import pretrained
from l2l_omniglot.cli.program import Program
from l2l_omniglot.cli.report import report
from l2l_omniglot.cli.reproduce import reproduce
from l2l_omniglot.cli.show import show
from l2l_omniglot.cli.train import train
from l2l_omniglot.process import prepare_process

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"l2l-omniglot {version('l2l-omniglot')}")
        context.exit()


@click.group(cls=Program, context_settings=CONTEXT)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
    help="Show the version and exit.",
)  # fmt: skip
def cli() -> None:
    """Train and evaluate MAML on Omniglot, or on your own classes of images.

    Every option may also come from a file (--config), or from an environment variable named
    after it, such as L2L_OMNIGLOT_TRAIN_WAYS: see docs/commands.md.

    In the help of each command the value in brackets is the default.
    """


for command in (
    train, evaluate, predict, draw, report, show, prepare, pretrained, reproduce, export,
    backbones, check_backbone, info, completion,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Runs the command line; every failure is told on stderr and has its exit code."""
    prepare_process()
    sys.exit(_run())


def _run() -> int:
    try:
        code = cli.main(prog_name=PROGRAM, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Exception as error:  # told as a sentence, and by its exit code
        return end(error)
