import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.settings import (
    DECLARED,
    Settings,
    make_settings,
)
from l2l_omniglot.experiments.weights import load_pretrained_checkpoint
from l2l_omniglot.meta.inner_rates import InnerRates
from l2l_omniglot.meta.trainer import Schedule


def test_tutorial_recipe_is_the_tutorials_numbers():
    settings = make_settings("tutorial")
    assert (settings.ways, settings.shots, settings.queries, settings.train_queries) == (
        5,
        1,
        15,
        15,
    )
    assert (settings.meta_batch_size, settings.inner_steps, settings.eval_steps) == (8, 5, 5)
    assert (settings.inner_lr, settings.meta_lr, settings.schedule) == (0.04, 2e-4, "constant")
    assert (settings.iterations, settings.first_order, settings.rotations) == (60_000, True, False)
    assert (settings.ink, settings.init, settings.backbone) == ("black", "tutorial", "basenet")


def test_paper_recipe_is_finn_et_al():
    five, twenty = make_settings("paper", ways=5), make_settings("paper", ways=20)
    assert (five.inner_lr, five.inner_steps, five.eval_steps, five.meta_batch_size) == (
        0.4,
        1,
        3,
        32,
    )
    assert (twenty.inner_lr, twenty.inner_steps, twenty.meta_batch_size) == (0.1, 5, 16)
    for settings in (five, twenty):
        assert (settings.meta_lr, settings.iterations, settings.rotations) == (1e-3, 60_000, True)
        assert (settings.first_order, settings.ink, settings.backbone) == (False, "white", "cnn4")


@pytest.mark.parametrize("name", ["maml", "fomaml", "reptile", "meta-sgd", "anil", "maml++"])
def test_family_recipe_is_what_the_included_weights_were_trained_by(name: str):
    split = name if name == "maml++" else "random"  # that of its paper
    made = make_settings("family", algorithm=name, ways=20, shots=1, split=split).to_dict()
    shipped = load_pretrained_checkpoint(name).settings.to_dict()
    other = {"recipe", "validation_every", "validation_tasks"}
    assert {key: value for key, value in made.items() if key not in other} == {
        key: value for key, value in shipped.items() if key not in other
    }
    five = make_settings("family", algorithm=name, ways=5, shots=5)
    assert (five.train_ways, five.train_shots) == (20, made["train_shots"] or 1)
    assert five.eval_inner_lr == pytest.approx(made["eval_inner_lr"] / 4)


def test_any_single_value_can_be_overridden():
    base = make_settings("tutorial").to_dict()
    for name, value in {
        "inner_lr": 0.1, "first_order": False, "ink": "white", "meta_batch_size": 3, "seed": 9,
        "rotations": True, "schedule": "cosine", "backbone": "cnn4",
    }.items():  # fmt: skip
        changed = make_settings("tutorial", **{name: value}).to_dict()
        name_of = {"algorithm": "maml"} if name == "first_order" else {}
        assert changed == {**base, name: value, **name_of}
    assert make_settings("tutorial", inner_lr=None).to_dict() == base


def test_queries_hold_for_training_too_unless_said_otherwise():
    assert make_settings(queries=7).train_queries == 7
    assert make_settings(queries=7, train_queries=2).train_queries == 2
    assert make_settings(train_queries=2).queries == 15


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"ways": 1}, "^ways=1: expected at least 2"),
        ({"shots": 0}, "shots=0: expected at least 1"),
        ({"inner_lr": 0.0}, r"inner_lr=0\.0: expected a number above 0"),
        ({"meta_lr": float("inf")}, "meta_lr=inf: expected a number above 0"),
        ({"schedule": "step"}, "schedule='step': expected one of constant, cosine"),
        ({"ink": "red"}, "ink='red': expected one of white, black"),
        ({"inner_step": 3}, "setting='inner_step': expected one of"),
        ({"validation_tasks": 1}, "validation_tasks=1: expected at least 2"),
        ({"inner_steps": 0, "eval_inner_lr": 0.1}, r"eval_inner_lr=0\.1: expected none without"),
    ],
)
def test_values_out_of_range(override, said):
    with pytest.raises(SettingsError, match=said):
        make_settings(**override)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"ways": "5"}, "ways='5': expected a whole number"),
        ({"shots": True}, "shots=True: expected a whole number"),
        ({"inner_lr": "0.4"}, "inner_lr='0.4': expected a number"),
        ({"mirrors": 1}, "mirrors=1: expected true or false"),
        ({"backbone": 4}, "backbone=4: expected text"),
    ],
)
def test_values_of_another_type(override: dict[str, object], said: str):
    with pytest.raises(SettingsError, match=re.escape(said)):
        make_settings(**override)


def test_numbers_of_numpy_and_paths_become_plain_values():
    settings = make_settings(
        ways=np.int64(5), inner_lr=np.float32(0.5), mirrors=np.bool_(True), data=Path("a.npy")
    )
    assert json.loads(json.dumps(settings.to_dict()))["data"] == "a.npy"
    assert (settings.ways, settings.inner_lr, type(settings.ways)) == (5, 0.5, int)
    assert settings.mirrors is True


def test_unknown_recipe():
    with pytest.raises(SettingsError, match="'quick': expected one of default, tutorial, paper"):
        make_settings("quick")


def test_settings_survive_a_round_trip():
    settings = make_settings("paper", seed=4)
    assert Settings(**settings.to_dict()) == settings


@pytest.mark.parametrize("name", ["ways", "validation_tasks", "first_order_until", "inner_lr"])
def test_every_bound_holds(name: str):
    declared = DECLARED[name]
    for bound, step in ((declared.minimum, -1), (declared.maximum, 1), (declared.above, 0)):
        if bound is None:
            continue
        with pytest.raises(SettingsError, match=f"^{name}=.*: expected ") as caught:
            make_settings(**{name: declared.coerce(bound + step)})
        assert caught.value.argument == name
        if step:
            assert getattr(make_settings(**{name: declared.coerce(bound)}), name) == bound


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused(value: float):
    for name, declared in DECLARED.items():
        if declared.kind == "float":
            with pytest.raises(SettingsError, match=f"^{name}="):
                make_settings(**{name: value})


def test_what_refuses_a_setting_directly_does_it_in_the_same_words():
    for build, said in (
        (lambda: Schedule(0, 1e-3), "iterations=0: expected at least 1"),
        (lambda: Schedule(1, 0.0), "meta_lr=0.0: expected a number above 0"),
        (lambda: InnerRates(nn.Linear(1, 1), -1.0), "inner_lr=-1.0: expected a number above 0"),
    ):
        with pytest.raises(SettingsError, match=f"^{re.escape(said)}$"):
            build()


def test_the_core_imports_no_settings():
    package = Path(__file__).parents[2] / "l2l_omniglot"
    for path in [*(package / "meta").rglob("*.py"), package / "classify" / "classifier.py"]:
        assert "l2l_omniglot.experiments.settings" not in path.read_text(), path.name


def test_with_fewer_ways_a_step_is_shorter_unless_a_rate_is_asked_for():
    """A class's share of the support loss grows as their number falls."""
    trained = make_settings(ways=20, inner_lr=0.4, eval_inner_lr=0.1, head="shared")
    assert trained.tested() == trained
    assert trained.tested(5).eval_rate == pytest.approx(0.025)
    assert trained.tested(5).ways == 5 and trained.tested(5).inner_lr == 0.4
    assert trained.tested(30).eval_rate == trained.tested(20).eval_rate == 0.1
    assert trained.tested(5, 0.3).eval_rate == 0.3
    assert make_settings(ways=20, inner_lr=0.4).tested(5).eval_rate == pytest.approx(0.1)
    for rate in (0.0, -1.0):
        with pytest.raises(SettingsError, match=f"inner_lr={rate}: expected a number above 0"):
            trained.tested(5, rate)
    still = make_settings("best", ways=20)
    assert still.tested(5) == dataclasses.replace(still, ways=5)
    with pytest.raises(SettingsError, match="inner_lr=0.3: the weights were trained without"):
        still.tested(5, 0.3)
