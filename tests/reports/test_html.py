"""The report: what it says is what `evaluate` says, and it loads nothing from anywhere."""

import base64
import io
import json
import os
import re
import shlex
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import run_cli
from PIL import Image

from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.backbones.conv4 import Conv4
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.cli import cli
from l2l_omniglot.cli.train import train
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import RunError
from l2l_omniglot.experiments.checkpoint import load_checkpoint
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.experiments.settings import DECLARED, Settings, make_settings
from l2l_omniglot.experiments.weights import find_weights, history, train_command
from l2l_omniglot.meta.evaluation import evaluate
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.reports.confusions import QueryPredictions, TaskPredictions, confused, hardest
from l2l_omniglot.reports.html import unlike
from l2l_omniglot.reports.plots import DARK, LIGHT, Learning, learning_svg

SMALL = (
    "--ways", "3", "--queries", "4", "--meta-batch-size", "2", "--validation-tasks", "3",
    "--validation-every", "2", "--iterations", "4", "--backbone", "fc", "--schedule", "constant",
)  # fmt: skip


class Page(HTMLParser):
    """Tags with their attributes, and the text without styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._style = False
        self.feed(path.read_text(encoding="utf-8"))
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag) -> None:
        self._style = False

    def handle_data(self, data) -> None:
        if not self._style:
            self.words.append(data)


def report(*arguments: str) -> Page:
    """The page that the command writes, in this process."""
    done = CliRunner().invoke(cli, ["report", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    path = arguments[arguments.index("--out") + 1] if "--out" in arguments else "report.html"
    return Page(Path(path))


@pytest.fixture
def npy(tmp_path: Path, stack: ImageStack) -> Path:
    """A stack whose classes have names that HTML must not take for tags."""
    path = tmp_path / "own.npy"
    array = np.ascontiguousarray(stack._array)
    np.save(path, array)
    classes = [
        {"name": f"<script>alert({number})</script>&{number}", "subset": "", "alphabet": "",
         "character": ""}
        for number in range(stack.classes)
    ]  # fmt: skip
    sidecar = {
        "format": "l2l-omniglot stack 1", "source": "test", "image_size": 28,
        "background": "white", "sha256": stack.sha256, "classes": classes,
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


@pytest.fixture
def learner() -> Learner:
    torch.manual_seed(1)
    return Learner(BaseNet(filters=8), 0.4)


def test_the_answers_are_those_behind_the_accuracies(learner: Learner, stack: ImageStack):
    tasks, answers = Tasks(stack, range(60), queries=4), QueryPredictions()
    result = evaluate(learner, tasks, 35, 2, batch_norm="both", on_task=answers)
    assert result == evaluate(learner, tasks, 35, 2, batch_norm="both")
    assert [answer.number for answer in answers] == list(range(35))
    for mode, curve in result.curves.items():
        assert [answer.accuracy(mode) for answer in answers] == curve.accuracy_per_task
    assert answers[7].classes == tasks[7].classes
    assert answers[7].labels == tasks[7].query_labels.tolist()


@pytest.mark.parametrize("mode", ["transductive", "inductive"])
def test_the_answers_are_those_of_a_classifier_on_the_same_task(
    mode: str, stack: ImageStack, trained_head: Path
):
    """Computed another way: learn2learn's clone, query by query or together."""
    checkpoint = find_weights(trained_head)
    learner = Learner(Conv4(ways=5), checkpoint.settings.inner_lr)
    learner.backbone.load_state_dict(checkpoint.weights)
    tasks, answers = Tasks(stack, range(60)), QueryPredictions()
    evaluate(learner, tasks, 3, 2, batch_norm=mode, on_task=answers)
    same = 0
    for answer in answers:
        task = tasks[answer.number]
        classifier = Classifier(
            checkpoint, task.support, task.support_labels, 5, steps=2, batch_norm=mode
        )
        found = classifier.probabilities(task.query).argmax(dim=1).tolist()
        same += sum(a == b for a, b in zip(found, answer.predictions[mode], strict=True))
    assert same >= 3 * 75 - 1  # rounding may turn a tie


def answer(number: int, classes: tuple[int, ...], labels: str, taken: str) -> TaskPredictions:
    return TaskPredictions(
        number, classes, list(map(int, labels)), {"inductive": list(map(int, taken))}
    )


def test_hardest_characters_and_confused_pairs_are_counted():
    answers = [
        answer(0, (7, 9), "0011", "0101"),  # one of 7 as 9, one of 9 as 7
        answer(1, (9, 7), "0011", "0000"),  # both of 7 as 9
        answer(2, (7, 5), "0011", "0000"),  # both of 5 as 7, seen in one task only
    ]
    found = hardest(answers, "inductive", 5)
    assert [(entry.label, entry.correct, entry.total, entry.tasks) for entry in found] == [
        (7, 3, 6, 3),
        (9, 3, 4, 2),
    ]
    assert found[0].predicted_as == Counter({9: 3})
    assert [entry.label for entry in hardest(answers[2:], "inductive", 5)] == [5]
    first, second = confused(answers, "inductive", 5)
    assert (first.labels, first.mistaken, first.total) == ((7, 9), (3, 1), 8)
    assert first.examples == [(0, 1), (1, 2), (1, 3), (0, 2)]
    assert (second.labels, second.mistaken, second.total) == ((5, 7), (2, 0), 4)
    assert len(confused(answers, "inductive", 1)) == 1


def test_a_character_of_one_task_is_among_the_hardest_if_no_other_is_wrong():
    answers = [
        answer(0, (7, 9), "0011", "0011"),
        answer(1, (9, 7), "0011", "0011"),
        answer(2, (5, 3), "0011", "1011"),
    ]
    assert [entry.label for entry in hardest(answers, "inductive", 5)] == [5]


@pytest.mark.slow
def test_a_report_says_what_evaluate_says_and_stands_alone(npy: Path, tmp_path: Path):
    for seed in ("0", "1"):
        done = run_cli(
            "train", "--data", str(npy), *SMALL, "--seed", seed, "--run-dir", f"run{seed}"
        )
        assert done.returncode == 0, done.stderr
    both = ("--weights", "run0", "--weights", "run1")
    arguments = (*both, "--tasks", "6", "--out", "all.html", "--pictures", "pictures")
    done = run_cli("report", *arguments)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    page = Page(Path("all.html"))

    for run in ("run0", "run1"):
        command = f"l2l-omniglot evaluate --weights {run} --tasks 6 --part test --seed 0"
        assert command in page.text
        words = [*shlex.split(command)[1:], "--json"]
        body = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).stdout)
        for mode in ("transductive", "inductive"):
            figures = f"{100 * body[mode]['accuracy']:.2f} ± {100 * body[mode]['ci95']:.2f}"
            assert figures in page.text
    again = f"l2l-omniglot report {' '.join(both)} --out all.html --pictures pictures --tasks 6"
    assert again in page.text
    assert re.search(r"seed 0 1 differs recipe default default", page.text)
    assert load_checkpoint("run0/best.safetensors").facts["data_sha256"] in page.text
    assert "Second lines: the paired difference to run0" in page.text

    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe", "object"}]
    sources = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in {"src", "srcset", "href", "action", "style"} and value
    ]
    kinds = ("data:image/png;base64,", "data:image/svg+xml;base64,", "#")
    assert all(value.startswith((*kinds, "margin", "padding")) for value in sources)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) > 2 * 3 * 3 * 5  # two runs of three tasks of three classes of five images
    assert all(attributes["alt"] for attributes in images)
    assert "<script>" in page.text and "&lt;script&gt;" in Path("all.html").read_text()
    assert "url(" not in Path("all.html").read_text() and "@import" not in page.text

    pictures = sorted(path.name for path in Path("pictures").iterdir())
    assert {"learning.png", "steps.png", "run1-task0.png", "run2-task0.png"} <= set(pictures)
    for path in Path("pictures").iterdir():
        with Image.open(path) as image:
            assert image.size[0] > 300

    page = report("--weights", "run0/last.safetensors", "--tasks", "2", "--samples", "1")
    assert "run0/last.safetensors" in page.text and "differs" not in page.text
    assert "train and validation" not in page.text and "No learning curves" not in (page.text)


@pytest.mark.slow
def test_pretrained_weights_and_a_bare_checkpoint_say_what_is_missing(tmp_path: Path):
    checkpoint = find_weights("conv4")
    bare = tmp_path / "copy.safetensors"
    checkpoint.save(bare)
    text = report(
        "--weights", "conv4", "--weights", str(bare), "--data", "synthetic",
        "--tasks", "4", "--queries", "3",
        "--batch-norm", "inductive", "--samples", "1", "--out", "two.html",
    ).text  # fmt: skip
    assert "pretrained weights come without the metrics.csv of a run" in text
    assert "a single checkpoint comes without the metrics.csv of a run" in text
    assert "transductive, %" not in text and "inductive, %" in text
    assert "No inner step was taken" in text and "Accuracy by inner step" not in text
    assert history("conv4", checkpoint).sha256 in text
    assert "data omniglot omniglot" in text  # as trained
    assert "may have been trained on" not in text  # nothing of Omniglot is invented


def test_a_picture_in_the_report_is_the_query_that_was_mistaken(npy: Path):
    trained = run_cli("train", "--data", str(npy), *SMALL, "--run-dir", "run")
    assert trained.returncode == 0, trained.stderr
    page = report("--weights", "run", "--tasks", "2", "--samples", "1", "--pairs", "0")
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    queries = [image for image in images if image["alt"].startswith("query of class")]
    assert len(queries) == 3 * 4
    raw = np.load(npy)
    for image in queries:
        png = base64.b64decode(image["src"].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(png)))
        assert (raw == pixels).all(axis=(2, 3, 4)).any()


def test_what_cannot_be_reported_is_refused_in_a_sentence(tmp_path: Path):
    broken = tmp_path / "broken" / "matplotlib"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join([str(broken.parent), os.environ.get("PYTHONPATH", "")])
    done = run_cli("report", "--weights", "conv4", env={"PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (2, "")
    assert "the report needs matplotlib: pip install" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("report.html").exists()
    with pytest.raises(RunError, match="no run found; train one"):
        CliRunner().invoke(cli, ["report"], catch_exceptions=False)


@pytest.mark.parametrize(
    "settings",
    [
        make_settings(),
        make_settings("tutorial", ways=20, mirrors=True, rotations=True, seed=3),
        make_settings("paper", ways=20, shots=5, queries=7, train_queries=9, backbone="basenet"),
        make_settings(algorithm="maml++", inner_lr=0.05, split="alphabets"),
        make_settings(algorithm="fomaml", data="/a b/own.npy", iterations=3, first_order=True),
        make_settings("tutorial", first_order=False, algorithm="maml", start_from="conv4"),
        make_settings("best", inner_steps=2),
    ],
)
def test_the_command_that_repeats_a_training_has_its_settings(settings: Settings):
    words = shlex.split(train_command(settings))
    assert words[:2] == ["l2l-omniglot", "train"]
    given = dict(train.make_context("train", words[2:]).params)
    given = {name: value for name, value in given.items() if name in DECLARED and value is not None}
    assert make_settings(**given) == settings


ROWS = [MetricsRow(i, 1.0, 2.0, 0.25, 3.0, 0.5, 0.1, 10.0, 1e-3) for i in (5, 10)]


def test_a_plot_is_the_same_text_every_time_in_its_own_colours():
    runs = {"one": Learning(ROWS, 1, 5)}
    light, again, dark = (learning_svg(runs, "loss", look) for look in (LIGHT, LIGHT, DARK))
    assert light == again != dark
    assert LIGHT.runs[0].encode() in light and DARK.runs[0].encode() in dark


def test_a_run_without_metrics_leaves_the_others_their_colours():
    runs = {"none": Learning([], 5, 5), "one": Learning(ROWS, 5, 5)}
    plot = learning_svg(runs, "loss", LIGHT).decode()
    assert LIGHT.runs[1] in plot and LIGHT.runs[0] not in plot
    assert "validation, one" in plot and "validation, none" not in plot


def test_the_legend_names_the_steps_where_training_and_validation_differ():
    plot = learning_svg({"one": Learning(ROWS, 1, 5)}, "loss", LIGHT).decode()
    assert "<!-- train after 1 step -->" in plot and "<!-- validation after 5 steps -->" in plot
    plot = learning_svg({"one": Learning(ROWS, 5, 5)}, "loss", LIGHT).decode()
    assert "<!-- train -->" in plot and "<!-- validation -->" in plot


def test_equal_names_are_told_apart():
    assert unlike(["a", "b", "a", "a"]) == ["a", "b", "a (3)", "a (4)"]


@pytest.mark.parametrize("name", ["$\\foo{$x", "_under", "a $1$ b"])
def test_any_name_of_a_run_is_plotted(name: str):
    rows = Learning(ROWS[:1], 5, 5)
    plain = learning_svg({"one": rows, "other": rows}, "accuracy", LIGHT)
    assert learning_svg({"one": rows, name: rows}, "accuracy", LIGHT) != plain


def test_weights_that_come_along_are_repeated_by_their_cards_commands():
    checkpoint = find_weights("conv4")
    commands = history("conv4", checkpoint).commands
    assert commands and all(line.startswith("l2l-omniglot train ") for line in commands)


def test_a_report_may_be_quiet(npy: Path, tmp_path: Path, trained_head: Path):
    path = tmp_path / "quiet.html"
    options = ("--data", str(npy), "--tasks", "2", "--shots", "1", "--out", str(path), "-q")
    done = run_cli("report", "--weights", str(trained_head), *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "<title>" in path.read_text(encoding="utf-8")


def test_a_report_of_a_file_whose_name_is_no_text_is_written(trained_head: Path, tmp_path: Path):
    """Its name is in the commands on the page."""
    file = tmp_path / b"caf\xe9.safetensors".decode(errors="surrogateescape")
    file.write_bytes(trained_head.read_bytes())
    out = tmp_path / "it.html"
    own = ("--weights", str(file), "--data", "synthetic", "--tasks", "2", "--queries", "2")
    done = run_cli("report", *own, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "caf\\udce9.safetensors" in out.read_text(encoding="utf-8")
