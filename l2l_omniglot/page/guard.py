"""Protection of the page against other sites and hosts.

Flask's ``TRUSTED_HOSTS`` lists names, which can be neither all loopback addresses nor ``[::1]``;
what it refuses has status 400.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from flask import Flask, Response, abort, request

LOCAL_NAME = "localhost"
HEADERS = {
    # The page's own files only; no inline code.
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
    """Returns whether a host name or address is a loopback one, unreachable from elsewhere."""
    if host.lower() == LOCAL_NAME:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def guard(app: Flask, loopback: bool) -> None:
    """Adds security headers to every answer, and refuses requests from other sites.

    Args:
        app: of the page.
        loopback: whether it listens on a loopback address only. Requests for any other host are
            then refused, since they come from a site whose name was rebound to this machine (DNS
            rebinding).
    """

    @app.before_request
    def refuse() -> None:
        host = request.headers.get("Host", "")
        if loopback and not is_loopback(_split(f"//{host}").hostname or ""):
            abort(403, f"Host {host!r}: expected {LOCAL_NAME} or a loopback address")
        origin = request.headers.get("Origin")
        if origin is not None and (_split(origin).netloc.lower() or None) != host.lower():
            abort(403, f"Origin {origin!r}: expected this page's own, {host!r}")

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
