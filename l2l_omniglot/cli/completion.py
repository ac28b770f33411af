"""``l2l-omniglot completion``."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "l2l-omniglot"
VARIABLE = "_L2L_OMNIGLOT_COMPLETE"


@click.command(short_help="Print a script that completes commands.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and names.

    bash: eval "$(l2l-omniglot completion bash)" in ~/.bashrc; the others: docs/commands.md.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, PROGRAM, VARIABLE).source(), nl=False)
