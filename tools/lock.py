"""Writes requirements.lock: the pinned set with its hashes, but for torch; looks every pin up.

Run by `make lock`. Torch is left out, because each of its builds, for CPUs or GPUs, has hashes of
its own; requirements-torch.txt installs it first. Before, it asks the index for a file of every
pin that each version of Python can take.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
OPTION = re.compile(r"^(?P<pin>\S+==\S+)(?P<marker>\s*;[^-]*)?\s+(?P<option>--config-settings=.*)$")
OLDEST = "3.11.5"  # that the tools of the docs site take
VERSIONS = ("3.10", "3.11.5", "3.12", "3.13", "3.14")
FROM_SOURCE = ("gym", "learn2learn")  # have no wheels
HEADER = "# Made by `make lock` from requirements-dev.txt; torch is in requirements-torch.txt.\n"


def main() -> None:
    """Runs uv on a copy without torch and without options, which go back into the result."""
    options: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in ROOT.glob("requirements*.txt"):
            lines = []
            for line in path.read_text(encoding="utf-8").splitlines():
                match = OPTION.match(line)
                if match:
                    options[match["pin"]] = match["option"]
                    lines.append(match["pin"] + (match["marker"] or ""))
                elif line != "-r requirements-torch.txt":
                    lines.append(line)
            (Path(folder) / path.name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
        compiled = partial(_compiled, uv, folder)
        wheels = ["--only-binary", ":all:", *(f"--no-binary={name}" for name in FROM_SOURCE)]
        for version in VERSIONS:
            compiled(version, *wheels)
            print(f"Python {version}: every pin has a file")
        text = compiled(OLDEST, "--generate-hashes", "--universal")
    for pin, option in options.items():
        assert f"{pin} \\\n" in text, pin
        text = text.replace(f"{pin} \\\n", f"{pin} {option} \\\n", 1)
    (ROOT / "requirements.lock").write_text(HEADER + text, encoding="utf-8")


def _compiled(uv: str, folder: str, version: str, *arguments: str) -> str:
    """Returns what uv makes of requirements-dev.txt for a version of Python."""
    done = subprocess.run(
        [uv, "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate",
         "--index-strategy", "unsafe-best-match", "--python-version", version, *arguments,
         "requirements-dev.txt"],
        cwd=folder, check=False, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"Python {version}: not every pin has a file")
    return done.stdout


if __name__ == "__main__":
    main()
