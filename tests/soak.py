"""Injures real trainings at random but seeded moments: python tests/soak.py --kills 500.

Each trial trains by the real command, injures it once, looks at what is left, resumes, and compares
the end with that of a run nobody injured, bit for bit. Processes are forked (processes.py), so that
a trial takes two seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from processes import Started, run, start_cli

from l2l_omniglot.data.synthetic import synthetic_stack
from l2l_omniglot.errors import RunError
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.run_folder import RunFolder

SMALL = [
    "--data", "own.npy", "--backbone", "fc", "--ways", "3", "--queries", "2",
    "--meta-batch-size", "1", "--validation-every", "10", "--validation-tasks", "2",
]  # fmt: skip
TRAIN = ["train", *SMALL, "--iterations", "120", "--run-dir", "run"]
SHARED = [*TRAIN[:-2], "--meta-batch-size", "2"]
RESUME = ["train", "--resume", "run"]
TUNE = ["tune", *SMALL, "--iterations", "20", "--search", "inner_lr=0.01..1:log", "--json"]
GRID = [
    "reproduce", "--settings", "5w1s", "--backbones", "fc", "--algorithms", "maml,anil",
    "--data", "own.npy", "--iterations", "20", "--tasks", "3",
]  # fmt: skip
TRIALS = 5  # of a study
PATIENCE = 120.0  # seconds, for a busy machine
UNDER = """
import resource, sys, time
{limits}
from l2l_omniglot.cli import main
main()
"""
FULL = "resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
JUMPING = """
import random
real, clock = time.time, random.Random({0})
time.time = lambda: real() + clock.choice([-86400, 0, 0, 86400, 3.2e7])
"""
IMPATIENT = "from l2l_omniglot._util import download; download.STALL = 1"
PAGE = b"<html><body>Sign in to this network</body></html>"


class FaultError(AssertionError):
    """Something was lost, half written, or said badly."""


@dataclass
class Trial:
    """One training in a folder of its own."""

    folder: Path
    random: random.Random
    usual: float  # seconds that it takes uninjured
    end: dict[str, bytes]  # the weights of an uninjured one, by name
    said: list[str] = field(default_factory=list)

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.folder / "run")

    def start(self, *words: str, limits: str = "", env: Mapping[str, str] | None = None) -> Started:
        env = os.environ if env is None else {**os.environ, **env}
        if limits:
            return Started(["-c", UNDER.format(limits=limits), *words], env, self.folder)
        return start_cli(*words, env=env, cwd=self.folder)

    def pause(self) -> None:
        """Waits for a random part of the usual time."""
        time.sleep(self.random.uniform(0, 1.05) * self.usual)

    def ends(self, process: Started, *codes: int) -> str:
        """Waits for the end, and checks the code and that there was no traceback."""
        _, errors = process.communicate(timeout=PATIENCE)
        self.said.append(errors)
        need(process.returncode in codes, f"exit code {process.returncode}: {errors[-2000:]}")
        need("Traceback" not in errors and "unexpected" not in errors, errors[-2000:])
        return errors

    def look(self) -> None:
        """Checks that nothing under a final name is half written."""
        for path in (self.run.last, self.run.before, self.run.best):
            if path.exists():
                load_checkpoint(path)
        if self.run.config.exists():
            self.run.read_settings()
            self.run.read_metrics()

    def go_on(self) -> None:
        """Resumes, or starts where nothing was made yet, and compares the end."""
        words = RESUME if self.run.config.exists() else TRAIN
        self.ends(self.start(*words), 0)
        self.compare()

    def compare(self) -> None:
        found = weights(self.run)
        need(found.keys() == self.end.keys(), "other weights")
        need(all(found[name] == value for name, value in self.end.items()), "another end")


def need(true: bool, what: str) -> None:
    if not true:
        raise FaultError(what)


def weights(folder: RunFolder) -> dict[str, bytes]:
    found = load_checkpoint(folder.last).weights
    return {name: value.numpy().tobytes() for name, value in found.items()}


# Injuries. Each is given a trial, and leaves a run that went on to its end.
def killed(trial: Trial) -> None:
    process = trial.start(*TRAIN)
    trial.pause()
    process.kill()
    trial.ends(process, -signal.SIGKILL, 0)
    trial.look()
    trial.go_on()


def signalled(*numbers: int) -> Callable[[Trial], None]:
    def injure(trial: Trial) -> None:
        process = trial.start(*TRAIN)
        trial.pause()
        for number in numbers:
            process.send_signal(number)
            time.sleep(trial.random.uniform(0, 0.02))
        codes = {0, -numbers[0], *(128 + number for number in numbers)}
        said = trial.ends(process, *codes)
        if process.returncode > 0 and trial.run.last.exists():
            need("train --resume" in said or "Stopped." in said, said)
        trial.look()
        trial.go_on()

    return injure


def full_disk(trial: Trial) -> None:
    """Files may not become longer than some bytes: the checkpoint cannot be written."""
    limit = FULL.format(trial.random.choice([100, 3000, 40_000, 200_000]))
    said = trial.ends(trial.start(*TRAIN, limits=limit), 0, 1, 6)
    need("Error: " in said or "Finished" in said or not said, said)
    trial.look()
    trial.go_on()


def small_tmpfs(trial: Trial) -> None:
    """A disk of 300 kB, which is full in the middle of the training; then there is room again."""
    mount(trial, "size=300k")
    try:
        said = trial.ends(trial.start(*TRAIN), 1, 6)
        need("No space left on device" in said, said)
        trial.look()
        subprocess.run(["mount", "-o", "remount,size=64m", trial.folder / "run"], check=True)
        trial.go_on()
    finally:
        subprocess.run(["umount", "-l", trial.folder / "run"], check=True)


def read_only(trial: Trial) -> None:
    """The run folder becomes read-only in the middle of the training."""
    mount(trial, "size=64m")
    try:
        process = trial.start(*TRAIN)
        trial.pause()
        command = ["mount", "-o", "remount,ro", trial.folder / "run"]
        subprocess.run(command, check=False, capture_output=True)  # busy while a file is written
        trial.ends(process, 0, 1, 6)
        subprocess.run(["mount", "-o", "remount,rw", trial.folder / "run"], check=True)
        trial.look()
        trial.go_on()
    finally:
        subprocess.run(["umount", "-l", trial.folder / "run"], check=True)


def mount(trial: Trial, options: str) -> None:
    (trial.folder / "run").mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", trial.folder / "run"], check=True
    )


def damaged(trial: Trial) -> None:
    """After a kill the last checkpoint is cut or has a flipped bit: the one before is taken."""
    process = trial.start(*TRAIN)
    while not trial.run.before.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    trial.ends(process, -signal.SIGKILL, 0)
    content = bytearray(trial.run.last.read_bytes())
    if trial.random.random() < 0.5:
        content = content[: trial.random.randrange(len(content))]
    else:
        content[trial.random.randrange(8, len(content))] ^= 1 << trial.random.randrange(8)
    trial.run.last.write_bytes(content)
    try:
        load_checkpoint(trial.run.last)
        whole = True  # white space of its header
    except RunError:
        whole = False
    said = trial.ends(trial.start(*RESUME), 0)
    need(whole or "Taking the checkpoint before" in said, said)
    trial.compare()


def data_changed(trial: Trial) -> None:
    """The stack is cut, replaced or deleted while it is trained on; the run goes on or says so."""
    npy, spare = trial.folder / "own.npy", trial.folder / "spare"
    shutil.copyfile(npy, spare)
    process = trial.start(*TRAIN)
    trial.pause()
    how = trial.random.choice(["cut", "replaced", "deleted"])
    if how == "cut":
        os.truncate(npy, 1000)
    elif how == "replaced":
        other = trial.folder / "other.npy"
        np.save(other, np.zeros((60, 20, 1, 28, 28), np.uint8))
        other.replace(npy)
    else:
        npy.unlink()
    trial.ends(process, 0, 3)
    trial.look()
    if trial.run.last.exists() and how != "deleted":
        said = trial.ends(trial.start(*RESUME), 0, 3, 6)
        need("own.npy" in said or "data" in said or "iterations are done" in said, said)
    spare.replace(npy)
    trial.go_on()


def clock_jumped(trial: Trial) -> None:
    limits = JUMPING.format(trial.random.randrange(2**31))
    trial.ends(trial.start(*TRAIN, limits=limits), 0)
    trial.compare()


def two_runs(trial: Trial) -> None:
    """A second training into the folder, or a second resume of it, is refused."""
    process = trial.start(*TRAIN)
    while not trial.run.last.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(trial.random.uniform(0, 0.3))
    words = trial.random.choice([TRAIN, RESUME])
    second = trial.start(*words)
    said = trial.ends(second, 0, 6)  # 0: the first had ended
    need(second.returncode == 0 or "another process" in said or "holds a run" in said, said)
    trial.ends(process, 0)
    trial.compare()


def worker_killed(trial: Trial) -> None:
    """One of two workers dies, of those that torchrun starts: the other ends, and says why."""
    straight, run = [*SHARED, "--run-dir", "straight"], [*SHARED, "--run-dir", "run"]
    for process in workers(trial, straight):
        trial.ends(process, 0)
    trial.end = weights(RunFolder(trial.folder / "straight"))
    job = workers(trial, run)
    trial.pause()
    dead = trial.random.randrange(2)
    job[dead].kill()
    trial.ends(job[dead], -signal.SIGKILL, 0)
    said = trial.ends(job[1 - dead], 0, 8)
    need(job[1 - dead].returncode == 0 or dead == 0 or "another worker is gone" in said, said)
    trial.look()
    for process in workers(trial, RESUME if trial.run.config.exists() else run):
        trial.ends(process, 0)
    trial.compare()


def workers(trial: Trial, words: list[str]) -> list[Started]:
    """Starts two, with the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    job |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    places = [{"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    return [trial.start(*words, env={**job, **place}) for place in places]


def searcher_killed(trial: Trial) -> None:
    """One of two processes that share a study is killed: no trial is lost, and none done twice."""
    words = [*TUNE, "--trials", str(TRIALS)]
    first, second = (trial.start(*words) for _ in range(2))
    trial.pause()
    first.kill()
    trial.ends(first, -signal.SIGKILL, 0)
    trial.ends(second, 0)
    last = trial.start(*words)
    answer, _ = last.communicate(timeout=PATIENCE)
    need(last.returncode == 0, "a finished study is no success")
    trials = json.loads(answer)["trials"]
    for what in ("number", "run"):
        different = {tried[what] for tried in trials}
        need(len(trials) == len(different) == TRIALS, f"{len(different)} of {len(trials)} {what}s")


def bad_download(trial: Trial) -> None:
    """A mirror that misbehaves: one clear line, and nothing under the archive's name."""
    how = trial.random.choice(list(ANSWERS))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Mirror", (Mirror,), {"how": how}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {
        "L2L_OMNIGLOT_MIRROR": f"http://127.0.0.1:{server.server_port}",
        "L2L_OMNIGLOT_CACHE": str(trial.folder / "cache"), "L2L_OMNIGLOT_SOURCE": "",
    }  # fmt: skip
    try:
        said = trial.ends(trial.start("prepare", limits=IMPATIENT, env=env), 4)
    finally:
        server.shutdown()
        server.server_close()
    need("images_background.zip" in said and "--source FOLDER" in said, f"{how}: {said}")
    found = [path.name for path in (trial.folder / "cache").rglob("*")]
    need(not found, f"{how}: left {found}")


def grid_killed(trial: Trial) -> None:
    """`reproduce` is killed: started again, it ends with the weights of an uninjured grid."""
    straight = trial.start(*GRID, "--out", "straight")
    process = trial.start(*GRID, "--out", "grid")
    trial.pause()
    process.kill()
    trial.ends(process, -signal.SIGKILL, 0)
    trial.ends(straight, 0)
    trial.ends(trial.start(*GRID, "--out", "grid"), 0)
    for name in ("5w1s-fc-maml", "5w1s-fc-anil"):
        grids = [weights(RunFolder(trial.folder / out / name)) for out in ("straight", "grid")]
        need(grids[0] == grids[1], f"{name}: another end")


def writer_killed(trial: Trial) -> None:
    """What a killed command was to write is there whole, or not at all."""
    save_drawings(trial.folder / "drawings")
    words, check = trial.random.choice(WRITERS)
    out = trial.folder / words[-1]
    start = time.monotonic()
    trial.ends(trial.start(*words), 0)
    usual = time.monotonic() - start
    out.unlink()
    process = trial.start(*words)
    time.sleep(trial.random.uniform(0.5, 1.05) * usual)
    process.kill()
    trial.ends(process, -signal.SIGKILL, 0)
    if out.exists():
        check(out)
    trial.ends(trial.start(*words), 0)
    check(out)


def save_drawings(folder: Path) -> None:
    """Saves two classes of two pictures each, black on white."""
    stack = synthetic_stack(10)
    for number in range(2):
        (folder / f"class {number}").mkdir(parents=True)
        for item in range(2):
            array = 255 * (1 - stack.images([number], [item])[0, 0].numpy())
            Image.fromarray(array.astype(np.uint8)).save(folder / f"class {number}" / f"{item}.png")


def is_page(path: Path) -> None:
    need(path.read_text().rstrip().endswith("</html>"), f"{path.name} is half a page")


def is_picture(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def is_program(path: Path) -> None:
    torch.export.load(path)


def is_table(path: Path) -> None:
    need(len(path.read_text().splitlines()) == 5, f"{path.name} is half a table")


WRITERS: list[tuple[list[str], Callable[[Path], None]]] = [
    (["report", "--weights", "conv4", "--data", "synthetic", "--tasks", "2", "--out", "r.html"],
     is_page),
    (["show", "task", "0", "--data", "own.npy", "--out", "task.png"], is_picture),
    (["export", "drawings", "--weights", "conv4", "--out", "program.pt2"], is_program),
    (["predict", "drawings", "drawings", "--weights", "conv4", "--csv", "--out", "p.csv"],
     is_table),
]  # fmt: skip


class Mirror(BaseHTTPRequestHandler):
    """Serves an archive in a way that no archive should be served."""

    how = ""

    def do_GET(self) -> None:
        with suppress(OSError):  # the client has left
            ANSWERS[self.how](self)

    def begin(self, length: int | None, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def stall(self) -> None:
        self.begin(10_000)
        self.wfile.write(PAGE)
        time.sleep(3)

    def break_off(self) -> None:
        self.begin(10_000)
        self.wfile.write(PAGE)

    def promise_less(self) -> None:
        self.begin(10)
        self.wfile.write(PAGE)

    def redirect_for_ever(self) -> None:
        self.begin(0, 302, Location=self.path)

    def redirect_to_a_file(self) -> None:
        self.begin(0, 302, Location="file:///etc/passwd")

    def show_a_page(self) -> None:
        self.begin(len(PAGE))
        self.wfile.write(PAGE)

    def never_end(self) -> None:
        self.begin(None)
        while True:
            self.wfile.write(bytes(1 << 20))

    def fail(self) -> None:
        self.begin(0, 500)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


ANSWERS: dict[str, Callable[[Mirror], None]] = {
    "stalls": Mirror.stall,
    "breaks off": Mirror.break_off,
    "promises fewer bytes than it sends": Mirror.promise_less,
    "redirects for ever": Mirror.redirect_for_ever,
    "redirects to a file": Mirror.redirect_to_a_file,
    "shows a page": Mirror.show_a_page,
    "never ends": Mirror.never_end,
    "fails": Mirror.fail,
}
KILLS: dict[str, Callable[[Trial], None]] = {
    "SIGKILL": killed,
    "SIGTERM": signalled(signal.SIGTERM),
    "SIGINT": signalled(signal.SIGINT),
    "SIGINT twice": signalled(signal.SIGINT, signal.SIGINT),
}
OTHERS: dict[str, Callable[[Trial], None]] = {
    "checkpoint cut or flipped": damaged,
    "file size limit": full_disk,
    "stack cut, replaced or deleted": data_changed,
    "clock that jumps": clock_jumped,
    "two trainings in one folder": two_runs,
    "worker killed": worker_killed,
    "searcher killed": searcher_killed,
    "download gone wrong": bad_download,
    "reproduce killed": grid_killed,
    "command killed that writes a file": writer_killed,
}
AS_ROOT: dict[str, Callable[[Trial], None]] = {
    "full tmpfs": small_tmpfs,
    "read-only run folder": read_only,
}


def soak(plan: list[str], seed: int, tell: Callable[[str], None] = lambda _: None) -> Counter[str]:
    """Makes the trials of a plan; returns how often each injury was survived.

    Raises:
        FaultError: names the injury and the seed.
    """
    injuries, done = KILLS | OTHERS | AS_ROOT, Counter[str]()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        stack = Path(place) / "own.npy"
        np.save(stack, synthetic_stack(60)._array)
        straight = _straight(Path(place) / "straight", stack)
        end = weights(RunFolder(straight / "run"))
        start = time.monotonic()
        run(["-m", "l2l_omniglot", *TRAIN, "--run-dir", "again"], None, straight)
        usual = time.monotonic() - start
        for number, name in enumerate(plan):
            folder = Path(place) / f"trial{number}"
            folder.mkdir()
            shutil.copyfile(stack, folder / "own.npy")
            trial = Trial(folder, random.Random(f"{seed} {number}"), usual, end)
            try:
                injuries[name](trial)
            except Exception as error:
                tell(f"{number} of {len(plan)} trials: {json.dumps(done)}")
                said = "\n".join(trial.said)
                raise FaultError(f"{name}, seed {seed}, trial {number}: {error}\n{said}") from error
            done[name] += 1
            shutil.rmtree(folder)
            if number % 20 == 19:
                tell(f"{number + 1} of {len(plan)} trials")
    return done


def _straight(folder: Path, stack: Path) -> Path:
    folder.mkdir()
    shutil.copyfile(stack, folder / "own.npy")
    done = run(["-m", "l2l_omniglot", *TRAIN], None, folder)
    need(done.returncode == 0, done.stderr)
    return folder


def plan_of(kills: int, others: int, seed: int) -> list[str]:
    """Chooses injuries, in a random order: so many kills, and of each other so many."""
    found = [name for number in range(kills) for name in [list(KILLS)[number % len(KILLS)]]]
    found += [
        name for name in (OTHERS | (AS_ROOT if os.geteuid() == 0 else {})) for _ in range(others)
    ]
    random.Random(seed).shuffle(found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--others", type=int, default=20, help="of each other injury")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.monotonic()
    done = soak(
        plan_of(given.kills, given.others, given.seed), given.seed,
        lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    minutes = (time.monotonic() - start) / 60
    print(json.dumps({"survived": done, "lost": 0, "minutes": round(minutes, 1)}, indent=1))


if __name__ == "__main__":
    main()
