"""How many places something new touches: each kind is added to a copy of the package, and trained.

docs/architecture.md, "What to change to add something", has the same numbers.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]


class Edit(NamedTuple):
    """What is put in front of a text that stands in a file once; of a new file, all of it."""

    file: str
    text: str
    before: str = ""


# Prototypes moved so that their mean is the origin.
HEAD = (
    Edit("backbones/__init__.py", '"centred", ', '"trained", "shared", '),
    Edit("backbones/head_starts.py", """class CentredHead(PrototypeHead):
    def forward(self, weight, embeddings, labels):
        middle = embeddings.mean(dim=1, keepdim=True)
        return super().forward(weight, embeddings - middle, labels)


""", "def class_means("),
    Edit("backbones/head_starts.py", '"centred": CentredHead, ', '"shared": SharedHead, '),
)  # fmt: skip

# Both sets by the support set's mean, and by a variance of one.
STATISTICS = (
    Edit("backbones/__init__.py", '"means", ', '"support", "population", '),
    Edit("backbones/batch_norm.py", """        if self.by == "means":
            return {name: torch.stack([torch.ones_like(own[0]), own[1]])
                    for name, own in record_support().items()}
""", '        return record_support() if self.by == "support"'),
    Edit("meta/learner.py", """        if statistics == "means":
            return Policy("means")
""", '        if statistics in ("batch", "support"):'),
)  # fmt: skip

# A loss of an inner step counts as no more than this.
OPTION = (
    Edit("meta/engines/fast_weights.py", "    highest: float = 0.0\n", "    rate_factor: float"),
    Edit("meta/engines/fast_weights.py", """        if self.inner.highest:
            losses = losses.clamp(max=self.inner.highest)
""", "        try:\n            self._adapt(losses.sum())"),
    Edit("meta/learner.py", "        highest: float = 0.0,\n", "    ) -> None:\n        super()."),
    Edit("meta/learner.py", "        self.highest = highest\n", "        self.rule: Rule = "),
    Edit("meta/learner.py", "highest=self.highest, rate_factor=", "factor)\n\n    def batch("),
)  # fmt: skip
OPTION_OF_TRAIN = (
    Edit("experiments/settings.py", '    highest: float = _algorithm(0.0, "Highest loss")\n',
         "    adapt: str = _algorithm("),
    Edit("experiments/learners.py", "        highest=settings.highest,\n",
         "    )\n\n\ndef _rule("),
)  # fmt: skip

# Half of the way that Reptile goes.
RULE = (
    Edit("meta/halfway.py", """from l2l_omniglot.meta.reptile import reptile


def halfway(*arguments):
    whole = reptile(*arguments)
    return whole._replace(gradients=[way if way is None else way / 2 for way in whole.gradients])
"""),
    Edit("meta/__init__.py", '    "halfway": f"{__name__}.halfway:halfway",\n', '    "imaml": f"'),
)  # fmt: skip

KINDS = {
    "head": (HEAD, (), ["--head", "centred"]),
    "mode of normalisation": (STATISTICS, (), ["--statistics", "means"]),
    "option of the inner loop": (OPTION, OPTION_OF_TRAIN, ["--highest", "1.5"]),
    "rule for the meta-gradient": (RULE, (), ["--rule", "halfway", "--first-order"]),
}


def added(copy: Path, edits: tuple[Edit, ...]) -> None:
    for edit in edits:
        path = copy / edit.file
        if not edit.before:
            path.write_text(edit.text)
            continue
        text = path.read_text()
        assert text.count(edit.before) == 1, edit
        path.write_text(text.replace(edit.before, edit.text + edit.before))


@pytest.mark.slow  # in new interpreters, which load the modules of the copy
@pytest.mark.parametrize("kinds", [["head"], [kind for kind in KINDS if kind != "head"]])
def test_new_parts_train(kinds: list[str], tmp_path: Path):
    shutil.copytree(ROOT / "l2l_omniglot", tmp_path / "copy/l2l_omniglot")
    chosen = []
    for kind in kinds:
        edits, options, typed = KINDS[kind]
        added(tmp_path / "copy/l2l_omniglot", (*edits, *options))
        chosen += typed
    done = subprocess.run(
        [sys.executable, "-m", "l2l_omniglot", "train", "--data", "synthetic", "--ways", "3",
         "--backbone", "basenet", "--meta-batch-size", "2", "--iterations", "2",
         "--validation-every", "2", "--validation-tasks", "2", *chosen],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "copy")}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "Finished at iteration 2" in done.stdout, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_says_how_many_places_that_are(kind: str):
    edits = KINDS[kind][0]
    files = {edit.file for edit in edits}
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    row = re.search(rf"(?m)^\| {kind} \|(.*)$", page)
    assert row and f"{len(edits)} in {len(files)} files" in row[1]
    assert not [file for file in files if file != "meta/halfway.py" and f"`{file}`" not in row[1]]
