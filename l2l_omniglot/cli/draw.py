"""``l2l-omniglot draw``."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2l_omniglot.cli import options
from l2l_omniglot.cli.config import Command, given_options
from l2l_omniglot.cli.console import log, say
from l2l_omniglot.errors import SettingsError, need
from l2l_omniglot.experiments.weights import best_pretrained, find_weights

if TYPE_CHECKING:
    from flask import Flask

    from l2l_omniglot.experiments.checkpoint import Checkpoint
    from l2l_omniglot.page.examples import StackExamples

THREADS = 4
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
ELSEWHERE = "192.0.2.1"  # an address for documentation (RFC 5737), which exists nowhere
OF_SERVER = ("host", "port", "open", "device")
PATIENCE = 20  # seconds that a connection may be silent


@click.command(cls=Command, short_help="Open a page to draw characters on.")
@options.weights_option(options.BEST_WEIGHTS)
@options.steps_option(most=50)
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen on; one that is not a loopback address lets other "
              "machines in.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8105, show_default=True,
              help="Port to listen on; 0 picks a free one.")  # fmt: skip
@click.option("--open/--no-browser", default=None,
              help="Open the page in a browser (on a desktop's terminal).")  # fmt: skip
@click.option("--export", type=options.OutputPath(folder=True), default=None, metavar="FOLDER",
              help="Write the page to this folder instead, for any file server: the network runs "
              "in the browser (not exported).")  # fmt: skip
@options.device_option()
def draw(
    weights: str | None,
    steps: int | None,
    host: str,
    port: int,
    open: bool | None,  # noqa: A002 - named after the option
    export: Path | None,
    device: str,
) -> None:
    """Draw characters on a local page, and watch a network learn them.

    Draw a few examples of each of two to twenty characters, then a query: the page shows the
    predicted probabilities, after every inner step if there are any. Ctrl-C ends it.
    """
    need("flask", "the page", "draw")
    name = weights or best_pretrained()
    if export is not None:
        _export(weights, name, steps, export)
        return
    need("waitress", "the page", "draw")
    from l2l_omniglot.page import create_app
    from l2l_omniglot.page.answers import Answers
    from l2l_omniglot.page.guard import is_loopback

    checkpoint = find_weights(weights, default=name)
    stack = _stack(checkpoint)
    answers = Answers(checkpoint, steps, device, stack)
    app = create_app(answers, name, stack, is_loopback(host))
    if not is_loopback(host):
        log.info(f"Note: --host {host}: whoever reaches this machine can use the page.")
    _serve(app, host, port, _has_desktop() if open is None else open)


def _export(weights: str | None, name: str, steps: int | None, folder: Path) -> None:
    """Writes the page as a folder, and says how to look at it."""
    for option_name, option in given_options(click.get_current_context(), typed=True).items():
        if option_name in OF_SERVER:
            raise click.UsageError(
                f"--export with {option.opts[0]}: no server is started; expected one of both"
            )
    from l2l_omniglot.page.folder import write_folder

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # leaves nothing behind
    size = write_folder(find_weights(weights, default=name), name, folder, steps)
    say(
        f"{folder}: {size / 1e6:.1f} MB, for any file server, such as\n"
        f"  python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(folder))}"
    )


def _stack(checkpoint: Checkpoint) -> StackExamples | None:
    """Returns prepared Omniglot, where it is there and of the size the network takes."""
    from l2l_omniglot.data.omniglot import default_stack_path
    from l2l_omniglot.data.stack import load_stack
    from l2l_omniglot.page.examples import StackExamples

    if not default_stack_path().is_file():
        return None
    ink = checkpoint.settings.ink
    stack = load_stack(default_stack_path(), ink=ink)  # type: ignore[arg-type]
    fits = stack.image_size == checkpoint.image_size
    return StackExamples(stack, checkpoint.settings) if fits else None


def _serve(app: Flask, host: str, port: int, browser: bool) -> None:
    """Answers requests until Ctrl-C; prints the address first."""
    import logging
    import webbrowser

    from waitress import create_server

    from l2l_omniglot._util.reading import MIB, MOST_UPLOAD
    from l2l_omniglot.page.answers import settle

    logging.getLogger("waitress").setLevel(logging.ERROR)
    try:
        # Flask says in JSON what is too large; waitress cuts off what is far beyond.
        server = create_server(
            app, host=host, port=port, threads=THREADS, max_request_body_size=MOST_UPLOAD + 4 * MIB,
            channel_timeout=PATIENCE, cleanup_interval=PATIENCE // 2,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise OSError(
            f"--host {host} --port {port}: cannot listen there ({error}); --port 0 picks a free one"
        ) from error
    # A name may stand for several addresses, each with a server; the first's port will do.
    several = getattr(server, "effective_listen", None)
    bound_port = several[0][1] if several else server.effective_port
    address = _address(host, bound_port)
    click.echo(address)
    if host in EVERYWHERE:
        _invite(bound_port)
    sys.stdout.flush()
    log.info("Ctrl-C ends it.")
    if browser:
        webbrowser.open(address)
    settle()
    server.run()  # returns at Ctrl-C


def _address(host: str, port: int) -> str:
    """Returns where this machine's browser finds the page; no browser need open 0.0.0.0."""
    here = EVERYWHERE.get(host, host)
    return f"http://{f'[{here}]' if ':' in here else here}:{port}/"


def _invite(port: int) -> None:
    """Says where other machines in this network find the page, as a QR code too."""
    address = _own_address()
    if address is None:
        log.info("Note: no network found: other machines cannot reach the page now.")
        return
    link = f"http://{address}:{port}/"
    click.echo(f"From a phone in the same network: {link}")
    try:
        need("segno", "the QR code", "draw")
    except SettingsError as error:
        log.info(f"Note: {error}")
        return
    import segno

    segno.make(link, error="l").terminal(out=sys.stdout, compact=True)


def _own_address() -> str | None:
    """Returns this machine's address in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ELSEWHERE, 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith(("0.", "127.")) else address


def _has_desktop() -> bool:
    """Returns whether somebody sits at a screen: on a terminal, where windows can be opened."""
    windows = sys.platform in {"darwin", "win32"} or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return windows and sys.stdout.isatty()
