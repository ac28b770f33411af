"""The Dockerfile: its steps run as a shell script would, with the installers standing aside."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
STEPS = [line.split(maxsplit=1) for line in LINES if line.strip() and not line.startswith("#")]
# Installers say what they were asked for, and fail where a file that they were given is missing.
PIP = """#!/usr/bin/env bash
if [ "$1 $2 $3" != "-m pip install" ]; then exec {python} "$@"; fi
for argument in "$@"; do
  case "$argument" in
    *.txt) test -f "$argument" ;;
    .) test -f setup.py && test -f setup.cfg && test -f l2l_omniglot/__init__.py ;;
  esac || {{ echo "missing: $argument" >&2; exit 1; }}
done
"""
NOTHING = "#!/usr/bin/env bash\n"


def sources() -> list[str]:
    """What COPY takes from the repository."""
    copies = [rest.split() for name, rest in STEPS if name == "COPY" and "--from" not in rest]
    return [source for *found, _ in copies for source in found]


def test_every_source_of_a_copy_exists_and_is_not_ignored():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert sources()
    for source in sources():
        assert (ROOT / source).exists(), source
        assert any(Path(source).match(pattern) for pattern in allowed), source
    assert all([*ROOT.glob(pattern)] for pattern in allowed)


def test_its_versions_are_those_of_the_requirements():
    text = "\n".join(LINES)
    for line in (ROOT / "requirements-torch.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or f"{line}+cpu" in text, line


def test_it_ends_as_a_person_without_rights_with_the_commands_of_make_demo():
    names = [name for name, _ in STEPS]
    assert names.index("USER") < names.index("CMD")
    demo = (ROOT / "Makefile").read_text(encoding="utf-8")
    command = next(rest for name, rest in STEPS if name == "CMD")
    for line in re.findall(r"l2l-omniglot (?:train|evaluate)[^&\"]*", command):
        assert line.strip() in demo


@pytest.mark.skipif(sys.platform == "win32", reason="a shell runs the steps")
def test_its_steps_run(tmp_path: Path):
    programs, place = tmp_path / "bin", tmp_path / "place"
    programs.mkdir()
    shims = {"apt-get": NOTHING, "rm": NOTHING, "useradd": NOTHING}
    shims["python"] = PIP.format(python=sys.executable)
    for name, text in shims.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    for name, rest in STEPS:
        if name == "FROM":
            place = tmp_path / f"stage-{len([*tmp_path.iterdir()])}"
            place.mkdir()
        elif name == "COPY" and "--from" not in rest:
            *found, target = rest.split()
            for source in found:
                whole = ROOT / source
                if whole.is_dir():
                    shutil.copytree(whole, place / target)
                else:
                    shutil.copy(whole, place / target)
        elif name == "RUN":
            step = rest.replace("/opt/venv", f"{place}/venv").replace("-m venv ", "-c pass ")
            done = subprocess.run(
                ["sh", "-ec", step], cwd=place, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (rest, done.stderr)
