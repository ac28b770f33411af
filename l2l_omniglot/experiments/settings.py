"""Settings of a run, each declared once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

from l2l_omniglot.backbones import HEADS, INDUCTIVE_STATISTICS, NORM_WEIGHTS, STATISTICS
from l2l_omniglot.data import NAMED_SPLITS
from l2l_omniglot.errors import check_choice, check_number, refused
from l2l_omniglot.experiments.algorithms import ALGORITHMS, fitting
from l2l_omniglot.experiments.declaration import GROUPS, Declaration, setting
from l2l_omniglot.experiments.recipes import ITERATIONS, OWN, RECIPES, TRAIN_QUERIES
from l2l_omniglot.meta import ADAPTED, INNER_RATES, OPTIMISERS, RULES, SCHEDULES

PRECISIONS = ("auto", "float32", "bfloat16")


_task, _algorithm, _optimiser, _data, _run, _computing = (
    partial(setting, group) for group in GROUPS
)


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a training run computes.

    Meaning, default and bounds of each setting are declared with it below; ``train --help``
    lists them.

    Raises:
        SettingsError: if a value is of the wrong type or out of range; quotes the value and
            what was expected.
    """

    recipe: str = _algorithm("default", "Recipe to start from")
    algorithm: str = _algorithm(
        "maml", "Algorithm; sets --rule, --adapt, --inner-rates and others",
        choices=tuple(ALGORITHMS),
    )  # fmt: skip
    backbone: str = _algorithm("basenet", "Network, one of `l2l-omniglot backbones`")
    ways: int = _task(5, "Classes per task", minimum=2, maximum=100_000)
    shots: int = _task(1, "Support images per class", minimum=1, maximum=10_000)
    queries: int = _task(15, "Query images per class", minimum=1, maximum=10_000)
    train_queries: int = _task(
        TRAIN_QUERIES, "Query images per class in training", minimum=1, maximum=10_000,
        default_words="as --queries if set, else recipe",
    )  # fmt: skip
    train_ways: int = _task(
        0, "Classes per task in training", minimum=0, maximum=100_000, default_words="as --ways"
    )
    train_shots: int = _task(
        0,
        "Support images per class in training",
        minimum=0,
        maximum=10_000,
        default_words="as --shots",
    )
    train_shots_most: int = _task(
        0, "Most support images per class in training; each iteration draws a number", minimum=0,
        maximum=10_000,
        default_words="as --train-shots",
    )  # fmt: skip
    meta_batch_size: int = _optimiser(8, "Tasks per iteration", minimum=1, maximum=1_000_000)
    inner_steps: int = _algorithm(
        1, "Gradient steps on the support set in training", minimum=0, maximum=10_000
    )
    eval_steps: int = _algorithm(
        5, "Gradient steps in validation and evaluation", minimum=0, maximum=10_000
    )
    inner_lr: float = _algorithm(0.4, "Learning rate of the inner loop", above=0, maximum=1e6)
    eval_inner_lr: float = _algorithm(
        0.0, "Learning rate of the inner loop in validation and evaluation", minimum=0, maximum=1e6,
        default_words="as --inner-lr",
    )  # fmt: skip
    first_order: bool = _algorithm(
        False,
        "Treat inner gradients as constants, or differentiate through them",
        otherwise="second-order",
    )
    rule: str = _algorithm(
        "maml",
        "What makes the meta-gradient: the query loss through the inner steps (maml), the way to "
        "the adapted weights (reptile), or the implicit gradient (imaml)",
        choices=tuple(RULES),
    )
    proximal: float = _algorithm(
        0.0,
        "Factor lambda of the squared distance to the start in the loss of the inner steps; above "
        "0 for iMAML",
        minimum=0,
        maximum=1e6,
    )
    cg_damping: float = _optimiser(
        0.0,
        "Damping, added to lambda where iMAML solves for its gradient after the inner steps",
        minimum=0,
        maximum=1e6,
    )
    inner_batch: int = _task(
        0,
        "Support images that an inner step sees in training, the next ones in turn",
        minimum=0,
        maximum=10**6,
        default_words="all",
    )
    adapt: str = _algorithm(
        "all", "Parameters that the inner loop adapts; head is ANIL", choices=ADAPTED
    )
    head: str = _algorithm(
        "trained",
        "Head at the start of a task: trained, for --ways only; or for any number of ways one "
        "shared row, zero, or the prototypes",
        choices=HEADS,
    )
    norm_weights: str = _algorithm(
        "adapted",
        "Scale and shift of batch normalisation: adapted like other weights, or learned for each "
        "inner step and not adapted (MAML++)",
        choices=NORM_WEIGHTS,
    )
    train_statistics: str = _algorithm(
        "batch", "Statistics for batch normalisation in training", choices=STATISTICS
    )
    statistics: str = _algorithm(
        "support", "Statistics for inductive batch normalisation", choices=INDUCTIVE_STATISTICS
    )
    inner_rates: str = _algorithm(
        "fixed", "Inner learning rates: fixed, or learned per weight (Meta-SGD) or layer and step",
        choices=INNER_RATES,
    )  # fmt: skip
    first_order_until: float = _algorithm(
        0.0, "Fraction of the iterations, from the start, in first order", minimum=0, maximum=1
    )
    multi_step_until: float = _algorithm(
        0.0, "Fraction of the iterations, from the start, that count the loss after every step",
        minimum=0, maximum=1,
    )  # fmt: skip
    optimiser: str = _optimiser(
        "adam", "What makes the meta-updates: Adam, or gradient descent", choices=OPTIMISERS
    )
    meta_lr: float = _optimiser(2e-3, "Learning rate of the meta-updates", above=0, maximum=1e3)
    schedule: str = _optimiser("cosine", "Schedule of that learning rate", choices=SCHEDULES)
    warmup: int = _optimiser(
        0,
        "Iterations over which that learning rate rises from 0 to its start, again after the "
        "change to second order",
        minimum=0,
        maximum=10**12,
    )
    clip_gradients: float = _optimiser(
        0.0,
        "Norm that longer gradients of meta-updates are shortened to; 0: none is",
        minimum=0,
        maximum=1e6,
    )
    weight_decay: float = _optimiser(
        0.0, "Decoupled weight decay (AdamW), times the learning rate", minimum=0, maximum=1
    )
    average_weights: float = _optimiser(
        0.0,
        "Decay of an average of the weights over the iterations, which is evaluated; 0: none",
        minimum=0,
        maximum=0.99999,
    )
    precision: str = _computing(
        "auto",
        "Precision of training; auto is bfloat16 on a processor that has it, where no step is "
        "taken in the inner loop",
        choices=PRECISIONS,
    )
    checkpoint_steps: bool = _computing(
        False, "Take inner steps of MAML again on the way back, in the memory of one of them"
    )
    iterations: int = _optimiser(ITERATIONS, "Meta-updates in total", minimum=1, maximum=10**12)
    rotations: bool = _data(True, "Add rotated characters as training classes")
    mirrors: bool = _data(False, "Add mirrored characters as training classes")
    augment: bool = _data(False, "Change every training image by a small affine map")
    ink: str = _data(
        "white",
        "Value of ink in the network's input: white is 1, black is 0",
        choices=("white", "black"),
    )
    init: str = _algorithm(
        "zero", "Initial weights of BaseNet's last layer", choices=("zero", "tutorial")
    )
    start_from: str = _run(
        "",
        "Pretrained weights, run folder or checkpoint file to start from",
        default_words="random weights",
    )
    data: str = _data("omniglot", "Images: omniglot, synthetic, a .npy class stack, or a folder")
    background: str = _data(
        "auto", "Background colour of the images as stored", choices=("auto", "white", "black")
    )
    split: str = _data(
        "tutorial",
        f"Split of the classes: {', '.join(NAMED_SPLITS)}, or a JSON file of class names",
    )
    split_seed: int = _data(0, "Seed for --split random and groups, and --data synthetic")
    validation_classes: int = _data(
        0, "Validation classes of the tutorial, random and groups splits", minimum=0,
        maximum=10_000_000, default_words="100 for Omniglot",
    )  # fmt: skip
    test_classes: int = _data(
        0,
        "Test classes of these splits",
        minimum=0,
        maximum=10**7,
        default_words="423 for Omniglot",
    )
    seed: int = _data(0, "Seed for initial weights and tasks")
    validation_every: int = _run(1000, "Iterations between validations", minimum=1, maximum=10**12)
    validation_tasks: int = _run(
        100, "Tasks per validation, always the same", minimum=2, maximum=10**7
    )
    skip_bad_updates: int = _run(
        0, "Meta-updates to skip if their loss is not finite; the next one ends the training",
        minimum=0, maximum=10**12,
    )  # fmt: skip

    def __post_init__(self) -> None:
        for declared in DECLARED.values():
            value = declared.coerce(getattr(self, declared.name))
            object.__setattr__(self, declared.name, value)
            declared.check(value)
        if self.eval_inner_lr and not self.inner_steps:
            reason = "expected none without inner steps in training (inner_steps=0)"
            raise refused("eval_inner_lr", self.eval_inner_lr, reason)
        if self.checkpoint_steps and (self.rule != "maml" or self.proximal):
            reason = "expected rule 'maml' without a proximal term, or no checkpoints"
            raise refused("checkpoint_steps", self.checkpoint_steps, reason)
        names = fitting(self)  # an algorithm's name says what its parts are
        if self.algorithm not in names:
            object.__setattr__(self, "algorithm", names[0])

    @property
    def any_ways(self) -> bool:
        """Returns whether the weights fit any number of ways: no class has a row of its own."""
        return self.head != "trained"

    @property
    def validation_batch_norm(self) -> str:
        """Returns the mode of batch normalisation in validation."""
        return "transductive" if self.statistics == "support" else "inductive"

    def steps(self, asked: int | None) -> int:
        """Returns the gradient steps of an evaluation: those asked for, or `eval_steps`.

        Raises:
            SettingsError: if some are asked for, and the weights were trained without any: a step
                then only harms, as its rate was never chosen.
        """
        if asked and asked != self.eval_steps:
            self._check_adapted("steps", asked, str(self.eval_steps))
        return self.eval_steps if asked is None else asked

    @property
    def eval_rate(self) -> float:
        """Returns the inner learning rate of validation and evaluation."""
        return self.eval_inner_lr or self.inner_lr

    def tested(self, ways: int | None = None, inner_lr: float | None = None) -> Settings:
        """Returns the settings of tests with so many ways and this inner learning rate.

        The loss of a support set is a mean over classes, so with fewer of them each weighs more in
        a step. Unless a rate is asked for, it therefore goes down in proportion.

        Raises:
            SettingsError: if a rate is asked for that is not above 0, or the weights were trained
                without inner steps.
        """
        ways = self.ways if ways is None else ways
        if inner_lr is not None:
            check_number("inner_lr", inner_lr, above=0)
            self._check_adapted("inner_lr", inner_lr, "none")
        elif self.inner_steps and ways < self.ways:
            inner_lr = self.eval_rate * ways / self.ways
        return dataclasses.replace(self, ways=ways, eval_inner_lr=inner_lr or self.eval_inner_lr)

    def _check_adapted(self, argument: str, asked: float, expected: str) -> None:
        """Refuses what counts in inner steps only, where the weights were trained without any."""
        if not self.inner_steps:
            reason = f"the weights were trained without inner steps ({self.algorithm})"
            raise refused(argument, asked, f"{reason}; expected {expected}")

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain values, for JSON."""
        return dataclasses.asdict(self)


_FROM_RECIPES = frozenset[str]().union(*(recipe(5, 1) for recipe in RECIPES.values()))

DECLARED: dict[str, Declaration] = {
    entry.name: Declaration(
        entry.name,
        str(entry.type),
        entry.default,
        from_recipe=entry.name in _FROM_RECIPES,
        **entry.metadata,
    )
    for entry in dataclasses.fields(Settings)
}


def make_settings(recipe: str = "default", **overrides: Any) -> Settings:
    """Returns the settings of a recipe, with single values overridden.

    Args:
        recipe: ``default`` (MAML of BaseNet, its best accuracy in 20 CPU minutes), ``tutorial``,
            ``paper`` (Finn et al. 2017, or the paper of Reptile or iMAML), ``family`` (any of the
            MAML family, near its paper's figures in an hour) or ``best`` (prototypical networks).
        overrides: any field of `Settings`; None counts as not given. `queries` also sets
            `train_queries`, unless that is given.

    Raises:
        SettingsError: if recipe or field are unknown, a value is out of range, or the values make
            up another algorithm than the one given.
    """
    check_choice("recipe", recipe, RECIPES)
    given = {name: value for name, value in overrides.items() if value is not None}
    if "queries" in given:
        given.setdefault("train_queries", given["queries"])
    for name, value in given.items():
        check_choice("setting", name, sorted(DECLARED))
        given[name] = DECLARED[name].coerce(value)  # the recipes count with ways and shots
    size = given.get("ways", Settings.ways), given.get("shots", Settings.shots)
    values = RECIPES[recipe](*size)
    if "algorithm" in given:
        DECLARED["algorithm"].check(given["algorithm"])
        values |= ALGORITHMS[given["algorithm"]]
        if recipe_values := OWN.get((recipe, given["algorithm"])):
            values |= recipe_values(*size)
    settings = Settings(**{**values, **given, "recipe": recipe})
    if settings.algorithm != given.get("algorithm", settings.algorithm):
        raise refused(
            "algorithm", given["algorithm"],
            f"with the other settings that is {settings.algorithm}; expected {settings.algorithm}, "
            "or the settings of this algorithm",
        )  # fmt: skip
    return settings
