"""Readers of data sets: those that come along, and one that is added."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import Silent, Uneven

from l2l_omniglot.data.splits import Splits
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.experiments import READERS
from l2l_omniglot.experiments import experiment as experiments
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.readers import open_data
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.experiments.training import TrainingRun
from l2l_omniglot.meta.evaluation import evaluate


def test_open_data_gives_the_stack_as_the_recipe_wants_it(stack: ImageStack, tmp_path):
    np.save(tmp_path / "own.npy", stack._array)
    settings = make_settings("tutorial", data=str(tmp_path / "own.npy"))
    opened = open_data(settings)
    assert (opened.ink, opened.background) == ("black", "white")
    torch.testing.assert_close(opened.images([1], [2]), 1 - stack.images([1], [2]))


def test_a_folder_is_prepared_again_only_if_a_picture_has_changed(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("L", (20, 20), 128).save(tmp_path / "set" / name / "0.png")
    settings, said = make_settings(data=str(tmp_path / "set")), []
    first, again = open_data(settings, said.append), open_data(settings, said.append)
    assert len(said) == 1 and said[0].startswith("Preparing ") and first.sha256 == again.sha256
    Image.new("L", (20, 20), 200).save(tmp_path / "set" / "one" / "0.png")
    assert open_data(settings, said.append).sha256 != first.sha256 and len(said) == 2


def test_a_reader_is_a_function_and_a_line_of_the_table(
    stack: ImageStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Classes of unequal size, from a stack of its own: trained on, saved, evaluated."""
    small = Uneven(ImageStack(stack._array[..., ::7, ::7]))
    monkeypatch.setitem(READERS, "mine", f"{__name__}:read_mine")
    monkeypatch.setitem(globals(), "read_mine", lambda *_: small)
    parts = Splits(tuple(range(12, 22)), tuple(range(22, 26)), tuple(range(26, 30)))
    monkeypatch.setattr(experiments, "settings_splits", lambda *_: parts)
    settings = make_settings(
        data="mine", backbone="fc", ways=2, queries=3, meta_batch_size=2, iterations=2,
        validation_every=2, validation_tasks=2,
    )  # fmt: skip
    experiment = Experiment.build(settings, open_data(settings))
    run = TrainingRun(experiment, RunFolder(tmp_path / "run"), Silent())
    run.begin(resume=False)
    assert run.train().iteration == 2
    again = Experiment.load(tmp_path / "run", open_data(settings))
    assert evaluate(again.learner, again.tasks("test", queries=2), 2, 1).accuracy >= 0
