"""Sends hostile requests to the page of `draw`, and measures what is left of its speed and memory.

The page runs in a process of its own, as `l2l-omniglot draw` starts it. Between hostile requests an
honest one is answered now and then. Fails if one is not, if the page takes more than twice its
usual time afterwards, or if a hostile request gets anything but a refusal.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from PIL import Image

from l2l_omniglot._util.text import table
from l2l_omniglot.page.examples import synthetic_set

Random = random.Random
HALF_OPEN = 60  # connections kept open meanwhile, which say nothing
PATIENCE = 15.0
NEST = 975


def request(
    body: bytes, method: str = "POST", path: str = "/api/answer", host: str = "127.0.0.1:{port}",
    length: int | None = None, more: str = "", kind: str = "application/json",
) -> bytes:  # fmt: skip
    """Returns a request's bytes; `{port}` stands for the page's."""
    size = len(body) if length is None else length
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n{more}"
    return f"{head}Content-Length: {size}\r\nConnection: close\r\n\r\n".encode("latin1") + body


def _question(strokes: str) -> bytes:
    example = f'{{"strokes": {strokes}}}'
    return f'{{"support": [[{example}], [{example}]], "query": {example}}}'.encode()


def _many(count: int) -> str:
    return "[" + ",".join(["[[0.5,0.5]]"] * count) + "]"


def _upload(content: bytes, more: str = "") -> bytes:
    return request(content, path="/api/picture", kind="application/octet-stream", more=more)


def _png(side: int = 40) -> bytes:
    """Returns a white picture's file, without ink."""
    out = io.BytesIO()
    Image.new("L", (side, side), 255).save(out, "png")
    return out.getvalue()


def _claiming(width: int, height: int) -> bytes:
    """Returns a small file that claims to be a picture of so many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    whole = _png()
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


def _of_scans(count: int) -> bytes:
    """Returns a JPEG that goes over all of its pixels so many times, and is still small."""
    out = io.BytesIO()
    Image.new("L", (5000, 5000), 255).save(out, "jpeg", progressive=True)
    whole, end = out.getvalue()[:-2], out.getvalue()[-2:]
    return whole + count * whole[whole.rindex(b"\xff\xda") :] + end


def _with_picture(text: str) -> bytes:
    example = {"picture": text}
    return json.dumps({"support": [[example], [example]], "query": example}).encode()


HOSTILE: dict[str, Callable[[Random], bytes]] = {
    "another host": lambda r: request(b"{}", host=r.choice(["evil.example", "127.0.0.1.evil", ""])),
    "another origin": lambda _: request(b"{}", more="Origin: https://evil.example\r\n"),
    "five megabytes": lambda r: request(bytes([r.randrange(32, 127)]) * 5_000_000),
    "a length that lies": lambda r: request(b"{}", length=r.choice([3, 10**6, 10**12, -1])),
    "nested deep": lambda r: request(b"[" * r.choice([NEST, 10_000, 100_000])),
    "nested and closed": lambda _: request(_question("[" * NEST + "]" * NEST)),
    "NaN and infinity": lambda r: request(
        _question(f"[[[{r.choice(['NaN', 'Infinity', '1e400'])}, 0]]]")
    ),
    "a million strokes": lambda _: request(_question(_many(250_000))),
    "numbers of 5,000 digits": lambda _: request(_question("[[[" + "9" * 5000 + ", 0]]]")),
    "path traversal": lambda r: request(b"", "GET", r.choice([
        "/static/../../../../etc/passwd", "/static/..%2f..%2f..%2fetc/passwd", "//etc/passwd",
        "/static/%2e%2e/%2e%2e/answers.py", "/static/....//....//etc/passwd",
    ])),
    "other methods": lambda r: request(b"{}", r.choice(["PUT", "DELETE", "TRACE", "PATCH", "FOO"])),
    "no HTTP": lambda r: bytes(r.randrange(256) for _ in range(300)) + b"\r\n\r\n",
    "a header of 300 kB": lambda _: request(b"{}", more=f"X: {'x' * 300_000}\r\n"),
    "another kind of body": lambda _: request(_question("[[[0, 0]]]"), kind="text/plain"),
    "items that are not there": lambda r: request(
        json.dumps({"support": [[{"item": [r.randrange(10**9), 0]}]] * 2, "query": None}).encode()
    ),
    "pictures of noise": lambda r: _upload(
        r.choice([b"", b"\x89PNG", b"GIF89a"]) + r.randbytes(999)
    ),
    "pictures that are cut off": lambda r: _upload(_png()[: r.randrange(60)]),
    "pictures without ink": lambda _: _upload(_png(400)),
    "pictures of many pixels": lambda r: _upload(
        _claiming(*r.choice([(7300, 7300), (26_000_001, 1), (2**31 - 1, 2**31 - 1), (0, 0)]))
    ),
    "pictures of many scans": lambda _: _upload(_of_scans(10_000)),
    "pictures of 17 MB": lambda _: _upload(_png() + bytes(17_000_000)),
    "pictures from elsewhere": lambda _: _upload(_png(), "Origin: https://evil.example\r\n"),
    "pictures that are no base64": lambda r: request(_with_picture(r.choice(
        ["", "=", "AAA", "\u00e9", "A" * 10**6, "A" * 14_704, "AAAA"]
    ))),
    "wild queries": lambda r: request(b"", "GET", "/api/examples?source=" + r.choice(
        ["%00", "../x", "synthetic&ways=99999999999999999999", "synthetic&ways=5&shots=1&seed=x"]
    )),
}  # fmt: skip


class Page:
    """The page's process."""

    def __init__(self) -> None:
        words = ["-m", "l2l_omniglot", "draw", "--port", "0", "--no-browser"]
        self.process = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        match = re.search(r":(\d+)/", self.process.stdout.readline())
        assert match
        self.port = int(match[1])

    def send(self, content: bytes, slow: bool = False) -> bytes:
        """Sends bytes, with pauses if slow; returns the answer, or what there is of it."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            try:
                if slow:
                    for start in range(0, 60, 20):
                        connection.sendall(content[start : start + 20])
                        time.sleep(0.02)
                    return b""  # and goes away in the middle
                connection.sendall(content.replace(b"{port}", str(self.port).encode()))
                while part := connection.recv(65_536):
                    answer += part
            except OSError:  # it hung up while we were talking
                pass
        return answer

    def ask(self, seed: int) -> float:
        """Asks an honest question; returns the seconds it took."""
        drawn = synthetic_set(5, 1, seed)
        body = json.dumps({"support": drawn["support"], "query": drawn["query"]}).encode()
        start = time.perf_counter()
        answer = self.send(request(body))
        took = time.perf_counter() - start
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"an honest question got {answer[:200]!r}")
        return took

    def megabytes(self) -> float:
        """Returns the memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def end(self) -> str:
        """Stops it as Ctrl-C does; returns what it had written on stderr."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=60)[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints how often each kind was refused, and speed and memory before and after."""
    parser = argparse.ArgumentParser(prog="benchmarks.hostile", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=40, help="honest questions, before and after")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    page, chance = Page(), Random(given.seed)
    before = [page.ask(seed) for seed in range(given.rounds)]
    for make in HOSTILE.values():  # each once, since the first of a kind may load what it needs
        page.send(make(chance))
    memory, refusals, kinds = page.megabytes(), Counter[str](), list(HOSTILE)
    idle = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(HALF_OPEN)]
    for number in range(given.requests):
        kind = kinds[number % len(kinds)]
        slow = chance.random() < 0.05
        answer = page.send(HOSTILE[kind](chance), slow)
        if answer.startswith(b"HTTP/1.1 2") or b" 500 " in answer[:20]:
            raise RuntimeError(f"{kind}: {answer[:300]!r}")
        refusals[kind] += 1
        if number % 100 == 99:
            page.ask(number)
    for connection in idle:
        connection.close()
    after = [page.ask(seed) for seed in range(given.rounds)]
    grown = page.megabytes() - memory
    said = page.end()
    if "Traceback" in said:
        raise RuntimeError(said[-2000:])
    print(table(("hostile requests", "refused"), [(kind, str(n)) for kind, n in refusals.items()]))
    ratio = median(after) / median(before)
    usual = 1000 * median(before)
    print(f"Median time of an answer: {usual:.0f} ms before, {ratio:.2f} times that after.")
    print(f"Memory: {memory:.0f} MB, {grown:+.0f} MB after {given.requests} requests.")
    if ratio > 2:
        raise SystemExit("the page has become slow")


if __name__ == "__main__":
    main()
