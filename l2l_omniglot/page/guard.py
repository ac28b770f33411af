"""What the page refuses, and what its answers allow the browser."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

LOCAL_NAME = "localhost"
HEADERS = {
    # Nothing but this page's own files; no inline code.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, which no other machine reaches."""
    if host.lower() == LOCAL_NAME:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def guard(app: Flask, loopback: bool) -> None:
    """Puts the headers on every answer and refuses what other pages send.

    Args:
        app: of the page.
        loopback: whether it listens there alone. Then a request for another host comes by a
            foreign name that was made to mean this machine (DNS rebinding).
    """

    @app.before_request
    def refuse() -> None:
        host = request.headers.get("Host", "")
        if loopback and not is_loopback(_name(host)):
            abort(403, f"Host {host!r}: expected {LOCAL_NAME} or a loopback address")
        origin = request.headers.get("Origin")
        if origin is not None and _place(origin) != host.lower():
            abort(403, f"Origin {origin!r}: expected this page's own, {host!r}")

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response


def _name(host: str) -> str:
    """The name or address of a Host header; empty where it has none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str | None:
    """Host and port of an Origin header; None where it has none (``null``)."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
