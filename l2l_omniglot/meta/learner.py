"""The learner: a backbone that adapts to tasks, computed by one of the engines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pkgutil import resolve_name

import torch
from torch import nn

from l2l_omniglot.backbones import BATCH_NORMS, INDUCTIVE_STATISTICS, STATISTICS
from l2l_omniglot.backbones.batch_norm import (
    BY_BATCH,
    BY_SUPPORT,
    Policy,
    average_moments,
    check_inductive,
    of_step,
    step_of,
)
from l2l_omniglot.backbones.head_starts import make_head
from l2l_omniglot.backbones.heads import convert, head_parameters
from l2l_omniglot.backbones.modes import evaluation_mode
from l2l_omniglot.backbones.passes import Moments
from l2l_omniglot.data.tasks import Task, TaskBatch
from l2l_omniglot.errors import BackboneError, SettingsError, check_choice, check_number
from l2l_omniglot.meta import ENGINES, RULES
from l2l_omniglot.meta.engines import Choice, Engine, choose_engine
from l2l_omniglot.meta.engines.fast_weights import Inner, inner_loop
from l2l_omniglot.meta.engines.learn2learn_engine import Learn2learnEngine
from l2l_omniglot.meta.inner_rates import make_rates
from l2l_omniglot.meta.rules import MetaGradient, Rule, Scores, score
from l2l_omniglot.meta.step_norms import StepNorms

TRIED = 40  # images to try an engine on


class Learner(nn.Module):
    """A backbone that adapts to tasks: MAML (Finn et al. 2017, algorithm 1 and 2).

    With ``adapt="head"`` it is ANIL, with ``rates="parameter"`` Meta-SGD, with ``"layer-step"``
    it has the learned rates of MAML++; they can be combined.

    The backbone is converted in place, see `l2l_omniglot.backbones.heads.convert`: its batch
    normalisation keeps no running statistics, so that no task can influence the next. The
    learner's `state_dict` holds all that training changes or measures.

    Args:
        backbone: module from float32 (B, channels, H, W) to logits (B, ways).
        inner_lr: step size of the inner loop (alpha), above 0.
        first_order: treat the inner gradients as constants (FOMAML, section 5.2 of the paper).
        engine: ``learn2learn`` (its clone and adapt, task by task), ``stacked`` (several tasks as
            one batch of every layer; the same up to rounding) or ``auto`` (stacked if it can).
        rates: ``fixed`` (all `inner_lr`), or learned from there: ``parameter`` (one per weight)
            or ``layer-step`` (one per layer and step).
        adapt: what the inner loop changes: ``all`` or the ``head``.
        inner_steps: gradient steps K in training, for ``layer-step`` and ``per-step``. With 0
            nothing adapts, and ``auto`` is ``learn2learn``.
        head: how each task's head starts: ``trained``, ``shared``, ``zero`` or ``prototypes``, see
            `l2l_omniglot.backbones.head_starts`. All but the first fit any number of ways.
        norm_weights: scale and shift of batch normalisation: ``adapted``, or learned ``per-step``.
        train_statistics: ``batch``, ``support``, ``population`` or ``per-step``, by which images
            are normalised in training; see `l2l_omniglot.backbones.batch_norm.Policy`.
        statistics: all but ``batch``: those of inductive scores.
        bfloat16: compute layers in bfloat16 in training (autocast); weights stay as they are.
        rule: ``maml``, ``reptile``, ``imaml``, or a function, see `l2l_omniglot.meta.rules`.
        proximal: lambda of the inner loop, see `Inner`; above 0 for ``imaml``.
        inner_batch: see `Inner`, in training; 0 for ``imaml``.
        eval_inner_lr: step size where nothing trains; learned rates change by the same factor.

    Attributes:
        backbone: the meta-learned module itself; adapting never changes it.
        rates: of the inner loop, see `l2l_omniglot.meta.inner_rates`.
        head: how each task's head starts, see `l2l_omniglot.backbones.head_starts`.
        norms: of batch normalisation, see `l2l_omniglot.meta.step_norms`.
        eval_factor: of the step sizes, where nothing trains.
        population: the population statistics, None before `measure_population`.
        reference: the learn2learn engine.

    Raises:
        SettingsError: if `inner_lr` is not above 0 or a name unknown.
        BackboneError: if the backbone has nothing to train.
    """

    def __init__(
        self,
        backbone: nn.Module,
        inner_lr: float,
        first_order: bool = False,
        engine: str = "auto",
        rates: str = "fixed",
        adapt: str = "all",
        inner_steps: int = 1,
        head: str = "trained",
        train_statistics: str = "batch",
        statistics: str = "support",
        bfloat16: bool = False,
        rule: str | Rule = "maml",
        proximal: float = 0.0,
        norm_weights: str = "adapted",
        inner_batch: int = 0,
        eval_inner_lr: float | None = None,
    ) -> None:
        super().__init__()
        check_number("proximal", proximal, minimum=0)
        check_number("inner_batch", inner_batch, minimum=0)
        if eval_inner_lr is not None:
            check_number("eval_inner_lr", eval_inner_lr, above=0)
        if isinstance(rule, str):
            check_choice("rule", rule, RULES)
        check_choice("engine", engine, ENGINES)
        check_choice("train_statistics", train_statistics, STATISTICS)
        check_choice("statistics", statistics, INDUCTIVE_STATISTICS)
        if not any(p.requires_grad for p in backbone.parameters()):
            raise BackboneError(f"{type(backbone).__name__} has no parameter that can be trained")
        self.backbone = backbone = convert(backbone)
        self.inner_lr, self.first_order, self.inner_steps = inner_lr, first_order, inner_steps
        norms = StepNorms(norm_weights, backbone, inner_steps)
        start = make_head(head, backbone)
        alike = head_parameters(backbone) if start.computed else ()
        self.rates = make_rates(rates, backbone, inner_lr, adapt, inner_steps, norms.names, alike)
        self.head, self.norms = start, norms
        self.train_statistics, self.statistics = train_statistics, statistics
        self.eval_factor = 1.0 if eval_inner_lr is None else eval_inner_lr / inner_lr
        self.population: Moments | None = None
        self.rule: Rule = resolve_name(RULES[rule]) if isinstance(rule, str) else rule
        self.in_bfloat16, self.proximal, self.inner_batch = bfloat16, proximal, inner_batch
        self.reference = Learn2learnEngine(backbone, self.rates, self.head, norms)
        self.draws: dict[bool, bool] = {}  # see `l2l_omniglot.meta.chunks`
        self._engine = "learn2learn" if engine == "auto" and inner_steps == 0 else engine
        self._choice: Choice | None = None

    def __repr__(self) -> str:
        kinds = ", ".join(type(part).__name__ for part in (self.backbone, self.rates, self.head))
        count = sum(parameter.numel() for parameter in self.trained)
        order = "first" if self.first_order else "second"
        about = f"inner_lr={self.inner_lr:g}, {order} order, on {self.device}"
        return f"Learner({kinds}, {count:,} trained parameters, {about})"

    @property
    def trained(self) -> list[nn.Parameter]:
        """Returns what is trained: of backbone, rates, head's start, normalisation, in order."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def get_extra_state(self) -> Moments:
        """Returns what `state_dict` holds besides parameters and buffers: the population's."""
        return self.population or {}

    def set_extra_state(self, state: Moments) -> None:
        """Inverts `get_extra_state`."""
        self.population = {name: tensor.to(self.device) for name, tensor in state.items()} or None

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Learner:
        """Moves or casts the population statistics along, as `to` and `double` do the rest."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.set_extra_state({name: fn(tensor) for name, tensor in self.get_extra_state().items()})
        return self

    @property
    def device(self) -> torch.device:
        """Returns the device of the parameters."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Returns the type of the parameters, hence of the images."""
        return next(self.backbone.parameters()).dtype

    def choose(self, task: Task) -> Choice:
        """Chooses the engine for tasks like this one, once; says why it was chosen."""
        if self._choice is None:
            images = torch.cat([task.support, task.query])[:TRIED]
            self._choice = choose_engine(self._engine, self.reference, self.backbone, images)
        return self._choice

    def loop(
        self,
        steps: int = 0,
        policy: Policy = BY_BATCH,
        first_order: bool = True,
        bfloat16: bool = False,
        training: bool = False,
    ) -> Inner:
        """Returns how an inner loop of this learner runs; see `Inner`."""
        batch, factor = (self.inner_batch, 1.0) if training else (0, self.eval_factor)
        return Inner(steps, first_order, policy, bfloat16, self.proximal, batch, factor)

    def batch(self, tasks: Sequence[Task]) -> TaskBatch:
        """Joins tasks of the same sizes, on the learner's device and of its type."""
        return TaskBatch.of(tasks, self.device, self.dtype)

    def adapt(
        self, support: torch.Tensor, support_labels: torch.Tensor, steps: int
    ) -> Iterator[nn.Module]:
        """Adapts a learn2learn clone of the backbone to one task.

        Args:
            support: images (ways * shots, channels, H, W) in [0, 1].
            support_labels: int64 (ways * shots,) in [0, ways).
            steps: gradient steps K, 0 or more.

        Yields:
            The clone after 0, 1, ..., K steps; each time the same module, so use it before
            the next. Its parameters are functions of the backbone's.

        Raises:
            BackboneError: if the backbone fails on the images, returns anything but (B, ways)
                logits, or its loss does not depend on its parameters.
        """
        clone = self.reference.start(1, self.loop(steps, first_order=self.first_order))
        for _ in inner_loop(clone, support[None], support_labels[None]):
            yield clone.network

    def score_steps(
        self,
        tasks: TaskBatch,
        steps: int,
        engine: Engine | None = None,
        batch_norms: Sequence[str] = BATCH_NORMS[:1],
    ) -> list[tuple[Scores, ...]]:
        """Adapts to T tasks and scores their query sets after every step.

        Args:
            tasks: see `TaskBatch`.
            steps: gradient steps K, 0 or more.
            engine: the learn2learn engine by default, for which T is 1.
            batch_norms: how query images are normalised. ``transductive``: a task's images are
                one batch; ``inductive``: each by the statistics of the task's support set
                under the adapted weights, or by those of the population, so that no query image
                sees another.

        Returns:
            After 0 to K steps, one `Scores` per entry of `batch_norms` each, without graphs.
        """
        policies = {how: self.policy(how) for how in batch_norms}
        scores: dict[str, list[Scores]] = {how: [] for how in batch_norms}
        # Policies that normalise the support set alike share an inner loop.
        loops = {id(policy.population): policy.population for policy in policies.values()}
        with self.evaluating(), torch.enable_grad():
            for moments in loops.values():
                alike = [how for how, policy in policies.items() if policy.population is moments]
                # Nothing differentiates through these steps: first order keeps no graph of them.
                loop = self.loop(steps, policies[alike[0]])
                weights = (engine or self.reference).start(len(tasks.support), loop)
                for adapted in inner_loop(weights, tasks.support, tasks.support_labels):
                    with torch.no_grad():
                        for how in alike:
                            scores[how].append(score(adapted, tasks, policies[how]))
        return list(zip(*scores.values(), strict=True))

    def meta_gradient(
        self,
        tasks: TaskBatch,
        steps: int,
        engine: Engine | None = None,
        first_order: bool | None = None,
        step_weights: Sequence[float] | None = None,
    ) -> MetaGradient:
        """Computes the contribution of T tasks to the meta-gradient, after K steps.

        Args:
            tasks: see `TaskBatch`.
            steps: gradient steps K, 0 or more.
            engine: the learn2learn engine by default, for which T is 1.
            first_order: the learner's own by default.
            step_weights: K + 1 weights of the query losses after 0, 1, ..., K steps, the last
                above 0; by default only the last step's loss counts.

        Raises:
            BackboneError: as `adapt`, or if no parameter is to be trained.
            SettingsError: if the step weights are wrong.
        """
        order = self.first_order if first_order is None else first_order
        shares = (*(0.0,) * steps, 1.0) if step_weights is None else tuple(step_weights)
        if len(shares) != steps + 1 or not shares[-1] > 0:
            raise SettingsError(f"step weights {shares}: expected {steps + 1}, the last above 0")
        policy = self._policy(self.train_statistics)
        loop = self.loop(steps, policy, order, self.in_bfloat16, training=True)
        weights = (engine or self.reference).start(len(tasks.support), loop)
        return self.rule(weights, tasks, self.trained, shares)

    def check_inductive(self, task: Task) -> None:
        """Checks on a task that inductive scores are independent of other queries.

        Raises:
            BackboneError: if query images influence each other.
        """
        batch, policy = self.batch([task]), self.policy("inductive")
        with self.evaluating(), torch.no_grad():
            start = self.reference.start(1, self.loop(0, policy))
            weights = next(inner_loop(start, batch.support, batch.support_labels))
            moments = policy.for_query(0, lambda: weights.record(batch.support))
            check_inductive(lambda images: weights.logits(images[None], moments)[0], batch.query[0])

    def measure_population(self, tasks: Iterable[Task]) -> None:
        """Measures the population statistics of the present weights on some (training) tasks.

        Those of ``per-step`` are measured after each of 0 to K inner steps.
        """
        needed = {self.statistics, self.train_statistics}
        steps = self.inner_steps if "per-step" in needed else 0
        recorded: dict[int, list[Moments]] = defaultdict(list)
        with self.evaluating(), torch.enable_grad():
            for task in (self.batch([task]) for task in tasks):
                whole = torch.cat([task.support, task.query], dim=1)
                weights = self.reference.start(1, self.loop(steps))
                for adapted in inner_loop(weights, task.support, task.support_labels):
                    with torch.no_grad():
                        recorded[adapted.taken].append(adapted.record(whole))
        averages = {step: average_moments(moments) for step, moments in recorded.items()}
        self.population = averages[0] if needed != {"per-step"} else {}
        if "per-step" in needed:
            for step, moments in averages.items():
                self.population |= of_step(step, moments)

    def policy(self, batch_norm: str) -> Policy:
        """Returns the policy of ``transductive`` or ``inductive`` scores.

        Raises:
            SettingsError: if it is unknown.
            BackboneError: if it needs population statistics and there are none.
        """
        check_choice("batch_norm", batch_norm, BATCH_NORMS)
        return BY_BATCH if batch_norm == "transductive" else self._policy(self.statistics)

    def _policy(self, statistics: str) -> Policy:
        if statistics in ("batch", "support"):
            return BY_SUPPORT if statistics == "support" else BY_BATCH
        known = self.population or {}
        if not any((step_of(key) >= 0) == (statistics == "per-step") for key in known):
            raise BackboneError(
                f"the weights have no {statistics} statistics; expected those of a run that has "
                "validated at least once"
            )
        return Policy(statistics, self.population)

    def evaluating(self) -> AbstractContextManager[None]:
        """Puts the backbone into evaluation mode for a block, see `evaluation_mode`."""
        return evaluation_mode(self.backbone)
