"""Writes requirements.lock: the pinned set with its hashes, but for torch.

Run by `make lock`. Torch is left out, because each of its builds, for CPUs or GPUs, has hashes of
its own; requirements-torch.txt installs it first.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
OPTION = re.compile(r"^(?P<pin>\S+==\S+)(?P<marker>\s*;[^-]*)?\s+(?P<option>--config-settings=.*)$")
OLDEST = "3.11.5"  # that the tools of the docs site take
HEADER = "# Made by `make lock` from requirements-dev.txt; torch is in requirements-torch.txt.\n"


def main() -> None:
    """Runs uv on a copy without torch and without options, which go back into the result."""
    options: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in ROOT.glob("requirements*.txt"):
            lines = []
            for line in path.read_text(encoding="utf-8").splitlines():
                found = OPTION.match(line)
                if found:
                    options[found["pin"]] = found["option"]
                    lines.append(found["pin"] + (found["marker"] or ""))
                elif line != "-r requirements-torch.txt":
                    lines.append(line)
            (Path(folder) / path.name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
        done = subprocess.run(
            [uv, "pip", "compile", "--quiet", "--no-deps", "--generate-hashes", "--universal",
             "--no-header", "--no-annotate", "--index-strategy", "unsafe-best-match",
             "--python-version", OLDEST, "requirements-dev.txt"],
            cwd=folder, check=True, capture_output=True, text=True,
        )  # fmt: skip
    text = done.stdout
    for pin, option in options.items():
        assert f"{pin} \\\n" in text, pin
        text = text.replace(f"{pin} \\\n", f"{pin} {option} \\\n", 1)
    (ROOT / "requirements.lock").write_text(HEADER + text, encoding="utf-8")


if __name__ == "__main__":
    main()
