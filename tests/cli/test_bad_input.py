"""Bad input to every command: one sentence on stderr, and the documented exit code."""

import os
import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from conftest import invoke, run_cli
from PIL import Image

from l2l_omniglot.cli.options import OutputPath

ELSEWHERE = "mps" if torch.cuda.is_available() else "cuda"  # a device that is not here
# The command (variables before it, as in a shell), its exit code, and words of its one sentence.
TABLE = [
    # Commands and options.
    ("trian", 2, "No such command 'trian'. Did you mean 'train'"),
    ("evalaute", 2, "Did you mean 'evaluate'?"),
    ("train --nothing", 2, "No such option"),
    ("train --way 3", 2, "Did you mean"),
    ("evaluate --tasks 1", 2, "1 is not in the range 2<=x<=10000000"),
    ("-v -q info", 2, "--verbose and --quiet: expected only one"),
    ("-v info -q", 2, "--verbose and --quiet: expected only one"),
    ("info -q -v", 2, "--verbose and --quiet: expected only one"),
    ("predict support support --json --csv", 2, "--json and --csv: expected only one"),
    ("draw --port 99999", 2, "99999"),
    ("draw --host 192.0.2.1 --no-browser", 1, "cannot listen there"),
    # Settings.
    ("train --ways 1", 2, "--ways 1: expected at least 2"),
    ("train --data own.npy --inner-lr -1", 2, "--inner-lr -1.0: expected a number above 0"),
    ("train --data own.npy --recipe quick", 2, "'quick': expected one of default"),
    ("train --recipe tutorail", 2, "did you mean 'tutorial'?"),
    ("train --algorithm metasgd", 2, "did you mean 'meta-sgd'?"),
    (f"train --data own.npy --device {ELSEWHERE}", 2,
     f"--device '{ELSEWHERE}': not available here; expected one of"),
    ("reproduce --settings 5w1", 2, "did you mean '5w1s'?"),
    ("reproduce --settings 5w2s", 2, "'5w2s': expected one of"),
    ("reproduce --settings ,", 2, "nothing to compare: expected at least one setting"),
    ("reproduce --algorithms malm", 2, "did you mean 'maml'?"),
    ("reproduce --algorithms mamlpp --data synthetic", 2, "'mamlpp': expected one of"),
    ("reproduce --backbones fc,resnet1000 --data synthetic", 5, "'resnet1000': expected one of"),
    ("reproduce --budget nan --data synthetic", 2, "nan: expected"),
    ("train --resume a --run-dir b", 2, "expected only one"),
    ("evaluate --protocol lake --weights conv4", 2, "--protocol lake without --runs: "),
    ("evaluate --runs x --weights conv4", 2, "--runs x without --protocol lake: "),
    ("evaluate --runs x --weights conv4", 2, "expected both or neither"),
    ("evaluate --protocol lake --runs x --tasks 9 --weights conv4", 2,
     "with --tasks: the protocol sets it"),
    ("evaluate --protocol lake --runs x --weights conv4", 2,
     "expected any or 20 ways on split alphabets"),
    ("evaluate --protocol snell --queries 3 --weights conv4", 2,
     "with --queries: the protocol sets it"),
    # Files of settings, and variables.
    ("--config nowhere.toml train", 2, "--config nowhere.toml: no such file"),
    ("--config latin.toml train", 2, "--config latin.toml: not a readable TOML file: "),
    ("train --config typo.toml", 2, "did you mean 'train'?"),
    ("train --config /dev/zero", 2, "/dev/zero: not a readable TOML file"),
    ("L2L_OMNIGLOT_TRAIN_WAYS=five train", 2,
     "'five' is not a valid integer (from the variable L2L_OMNIGLOT_TRAIN_WAYS)"),
    # Where to write.
    ("report --out file/it.html", 2, "file is a file; expected a folder"),
    ("report --pictures file/in/it", 2, "file is a file; expected a folder"),
    ("report --pictures /dev/null", 2, "null is a file; expected a folder"),
    ("report --out ''", 2, "'': expected a path"),
    (f"report --out {'x' * 300}.html", 2, "name too long"),
    ("report --weights a --out a.pdf", 2, "'a.pdf': expected a file name that ends in .html"),
    ("report --out loop/it.html", 2, "loop"),
    ("prepare --out file/omniglot.npy", 2, "is a file; expected a folder"),
    ("export support --out /tmp", 2, "'/tmp' is a directory"),
    ("export support --out a.txt --weights conv4", 2,
     "a.txt: the ending '.txt': expected one of .onnx, .pt2"),
    ("show data --data own.npy --out a.gif", 2,
     "'a.gif': expected a file name that ends in .png"),
    ("PYTHONIOENCODING=ascii show data --data own.npy", 2,
     "encoding ascii cannot show half blocks"),
    # Data.
    ("train --data none.npy", 3, "none.npy': no such file; expected one of omniglot"),
    ("train --data omnigolt", 3, "'omnigolt': no such file; expected one of omniglot"),
    ("train --data omnigolt", 3, "did you mean 'omniglot'?"),
    ("train --data few.npy", 3, "1 shots and 15 queries need at least 16"),
    ("train --data nan.npy", 3, "class 0 holds NaN or infinity"),
    ("train --data own.npy --ways 30", 3, "validation part has 12 classes; 30-way tasks need"),
    ("train --data own.npy --split alphabets", 3, "needs a sidecar"),
    ("train --data own.npy --split randm", 3, "did you mean 'random'?"),
    ("prepare --source nowhere", 3, "nowhere: no such file or folder"),
    ("export single --out a.pt2 --weights conv4", 3,
     "has 1 sub-folder; expected at least 2, one per class"),
    ("predict support/dots support", 3, "has 0 sub-folders; expected at least 2"),
    ("L2L_OMNIGLOT_MIRROR=http://127.0.0.1:9 prepare", 4, "could not fetch"),
    # Backbones.
    ("train --backbone cnn5", 5, "--backbone 'cnn5'"),  # before any download
    ("train --data own.npy --backbone resnet", 5, "expected one of basenet, cnn4, conv4, fc"),
    ("train --data own.npy --backbone basenett", 5, "did you mean 'basenet'?"),
    ("check-backbone resnet18", 5, "NAME 'resnet18': expected one of basenet"),
    # Runs and weights.
    ("evaluate", 6, "no run found; train one with `l2l-omniglot train`"),
    ("evaluate --weights nowhere", 6, "nowhere: no such run folder or checkpoint"),
    ("evaluate --weights resnet9", 6, "did you mean 'resnet8'?"),
    ("evaluate --weights nothing", 6,
     "nothing: no such run folder or checkpoint, nor pretrained weights; "),
    ("train --resume nowhere", 6, "nowhere: holds no run"),
    ("train --data own.npy --start-from cnov4", 6, "did you mean 'conv4'?"),
    ("train --data own.npy --run-dir own.npy/run", 6, "cannot be created"),
    ("draw --weights nothing", 6, "nothing: no such run folder"),
    ("report --weights ''", 6, "'': expected the name of weights, a run folder"),
    ("evaluate --weights ''", 6, "'': expected the name of weights, a run folder"),
    ("report --weights nowhere", 6, "nowhere: no such run folder or checkpoint, nor pretrained"),
]  # fmt: skip


def there() -> set[str]:
    return {path.name for path in Path().iterdir()}


@pytest.fixture
def files(npy: Path) -> set[str]:
    """What the table's commands are given."""
    np.save("few.npy", np.zeros((30, 6, 8, 8), np.uint8))
    np.save("nan.npy", np.full((30, 20, 8, 8), np.nan))
    Path("latin.toml").write_bytes(b'data = "\xe9.npy"')
    Path("typo.toml").write_text("[trian]\nways = 3\n")
    Path("file").touch()
    Path("loop").symlink_to("loop")
    for folder in ("support/dots", "support/lines", "single/dots"):
        Path(folder).mkdir(parents=True)
        picture = Image.new("L", (30, 30), 255)
        picture.putpixel((15, 15), 0)
        picture.save(Path(folder, "0.png"))
    return there()


@pytest.mark.parametrize(("command", "code", "said"), TABLE, ids=[row[0][:60] for row in TABLE])
def test_it_gets_one_sentence_and_the_documented_code(
    command: str, code: int, said: str, files: set[str]
):
    words = shlex.split(command)
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z\d_]+=", word))
    # What the system refuses, and what Python reads as it starts, takes a process of its own.
    call = run_cli if code == 1 or "PYTHONIOENCODING" in variables else invoke
    done = call(*words[len(variables) :], env=variables)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert any(words in done.stderr for words in said.split("|")), done.stderr
    assert "Traceback" not in done.stderr
    assert len(re.findall(r"^Error: ", done.stderr, re.MULTILINE)) == 1
    assert there() <= files | {"cache"}  # nothing is begun


def test_a_trained_head_refuses_other_ways_and_names_weights_that_would_do(trained_head: Path):
    done = run_cli("evaluate", "--ways", "7", "--weights", str(trained_head))
    assert (done.returncode, done.stdout) == (2, "")
    assert "a head trained for 5 ways; expected 5, or weights for any number: " in done.stderr
    assert "conv4" in done.stderr


def test_a_file_that_may_not_be_written_to_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "kept.png"
    path.touch()
    assert OutputPath().convert(path, None, None) == path
    may = os.access

    def refuses(file: Path | str, mode: int) -> bool:  # as the system answers others than root
        return may(file, mode) and not (Path(file) == path and mode & os.W_OK)

    monkeypatch.setattr(os, "access", refuses)
    with pytest.raises(click.BadParameter, match=r"kept\.png': may not be written to"):
        OutputPath().convert(path, None, None)
