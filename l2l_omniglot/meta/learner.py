"""The learner: a backbone that adapts to tasks, computed by one of the engines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from l2l_omniglot.backbones import BATCH_NORMS, STATISTICS
from l2l_omniglot.backbones.batch_norm import (
    BY_BATCH,
    BY_SUPPORT,
    BatchMoments,
    Policy,
    average_moments,
    check_inductive,
    use_batch_statistics,
)
from l2l_omniglot.backbones.heads import make_head
from l2l_omniglot.data.tasks import Task, TaskBatch
from l2l_omniglot.errors import BackboneError, SettingsError, check_choice
from l2l_omniglot.meta import ENGINES
from l2l_omniglot.meta.engines import Choice, Engine, choose_engine
from l2l_omniglot.meta.engines.fast_weights import (
    FastWeights,
    inner_loop,
    task_losses,
    trained_parameters,
)
from l2l_omniglot.meta.engines.learn2learn_engine import Learn2learnEngine
from l2l_omniglot.meta.inner_rates import make_rates

TRIED = 40  # images to try an engine on


class Scores(NamedTuple):
    """Losses, accuracies and predictions on the query sets of T tasks.

    Attributes:
        losses: (T,), each task's mean cross-entropy in nats.
        accuracies: float64 (T,) on the CPU, fractions of query images classified correctly.
        predictions: int64 (T, queries of a task), the label predicted for each query image.
    """

    losses: torch.Tensor
    accuracies: torch.Tensor
    predictions: torch.Tensor


class MetaGradient(NamedTuple):
    """The contribution of T tasks to the meta-gradient.

    Attributes:
        scores: of the query sets after the last step, without a graph.
        gradients: of the sum of the query losses, one for each of the learner's `parameters`,
            of its shape; None if the losses do not depend on it.
    """

    scores: Scores
    gradients: tuple[torch.Tensor | None, ...]


class Learner:
    """A backbone that adapts to tasks: MAML (Finn et al. 2017, algorithm 1 and 2).

    With ``adapt="head"`` it is ANIL, with ``rates="parameter"`` Meta-SGD, and with
    ``rates="layer-step"`` it has the learned rates of MAML++; they can be combined.

    Batch normalisation in the backbone loses its running statistics, in place: it then always
    uses the current batch's, so that no task can influence the next.

    Args:
        backbone: module from float32 (B, channels, H, W) to logits (B, ways).
        inner_lr: step size of the inner loop (alpha), above 0.
        first_order: treat the inner gradients as constants (FOMAML, section 5.2 of the paper)
            instead of differentiating through them.
        engine: ``learn2learn`` (its clone and adapt, task by task), ``stacked`` (several tasks
            as one batch of every layer; the same numbers up to rounding) or ``auto``
            (stacked for backbones that it supports).
        rates: ``fixed`` (all `inner_lr`), or learned from there: ``parameter`` (one per weight)
            or ``layer-step`` (one per layer and step).
        adapt: what the inner loop changes: ``all`` or the ``head``.
        inner_steps: gradient steps K in training, for ``layer-step``. With 0 nothing adapts, and
            ``auto`` is ``learn2learn``.
        head: how each task's head starts: ``trained``, ``shared``, ``zero`` or ``prototypes``, see
            `l2l_omniglot.backbones.heads`. All but the first fit any number of ways.
        train_statistics: by which statistics images are normalised in training: ``batch``,
            ``support`` or ``population``, see `l2l_omniglot.backbones.batch_norm.Policy`.
        statistics: ``support`` or ``population``: those of inductive scores.
        bfloat16: compute layers in bfloat16 in training (autocast); weights stay as they are.

    Attributes:
        backbone: the meta-learned module itself; adapting never changes it.
        rates: of the inner loop, see `l2l_omniglot.meta.inner_rates`.
        head: how each task's head starts, see `l2l_omniglot.backbones.heads`.
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
    ) -> None:
        check_choice("engine", engine, ENGINES)
        check_choice("train_statistics", train_statistics, STATISTICS)
        check_choice("statistics", statistics, STATISTICS[1:])
        if not any(p.requires_grad for p in backbone.parameters()):
            raise BackboneError(f"{type(backbone).__name__} has no parameter that can be trained")
        use_batch_statistics(backbone)
        self.backbone, self.inner_lr, self.first_order = backbone, inner_lr, first_order
        self.rates = make_rates(rates, backbone, inner_lr, adapt, inner_steps)
        self.head = make_head(head, backbone)
        self.train_statistics, self.statistics = train_statistics, statistics
        self.population: BatchMoments | None = None
        self.bfloat16 = bfloat16
        self.reference = Learn2learnEngine(backbone, self.rates, self.head)
        self.draws: dict[bool, bool] = {}  # see `l2l_omniglot.meta.chunks`
        self._engine = "learn2learn" if engine == "auto" and inner_steps == 0 else engine
        self._choice: Choice | None = None

    def __repr__(self) -> str:
        kinds = ", ".join(type(part).__name__ for part in (self.backbone, self.rates, self.head))
        count = sum(parameter.numel() for parameter in self.parameters())
        order = "first" if self.first_order else "second"
        about = f"inner_lr={self.inner_lr:g}, {order} order, on {self.device}"
        return f"Learner({kinds}, {count:,} trained parameters, {about})"

    def parameters(self) -> list[nn.Parameter]:
        """Returns what is trained: of the backbone, then the rates, then the head's start."""
        return trained_parameters(self.backbone, self.rates, self.head)

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the parameters, hence of the images."""
        return next(self.backbone.parameters()).dtype

    def choose(self, task: Task) -> Choice:
        """Chooses the engine for tasks like this one, once; says why it was chosen."""
        if self._choice is None:
            images = torch.cat([task.support, task.query])[:TRIED]
            self._choice = choose_engine(self._engine, self.reference, self.backbone, images)
        return self._choice

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
        clone = self.reference.start(1, self.first_order)
        for _ in inner_loop(clone, support[None], support_labels[None], steps):
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
            K + 1 entries, before adaptation and after each step, each with one `Scores` per
            entry of `batch_norms`, without graphs.
        """
        policies = {how: self.policy(how) for how in batch_norms}
        scores: dict[str, list[Scores]] = {how: [] for how in batch_norms}
        # Policies that normalise the support set alike share an inner loop.
        loops = {id(policy.population): policy.population for policy in policies.values()}
        with self.evaluating(), torch.enable_grad():
            for moments in loops.values():
                # Nothing differentiates through these steps: first order keeps no graph of them.
                weights = (engine or self.reference).start(len(tasks.support), first_order=True)
                alike = [how for how, policy in policies.items() if policy.population is moments]
                for adapted in inner_loop(
                    weights, tasks.support, tasks.support_labels, steps, moments
                ):
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
        weights = (engine or self.reference).start(len(tasks.support), order)
        weights.bfloat16 = self.bfloat16
        adapting = inner_loop(
            weights, tasks.support, tasks.support_labels, steps, policy.population
        )
        for share, adapted in zip(shares, adapting, strict=True):
            if share:
                result = score(adapted, tasks, policy)
                adapted.add_loss(share * result.losses)
        gradients = weights.meta_gradient()
        return MetaGradient(result._replace(losses=result.losses.detach()), gradients)

    def check_inductive(self, task: Task) -> None:
        """Checks on a task that inductive scores are independent of other queries.

        Raises:
            BackboneError: if query images influence each other.
        """
        batch, policy = self.batch([task]), self.policy("inductive")
        with self.evaluating(), torch.no_grad():
            start = self.reference.start(1, first_order=True)
            weights = next(
                inner_loop(start, batch.support, batch.support_labels, 0, policy.population)
            )
            moments = policy.for_query(lambda: weights.record(batch.support))
            check_inductive(lambda images: weights.logits(images[None], moments)[0], batch.query[0])

    def measure_population(self, tasks: Iterable[Task]) -> None:
        """Measures the population statistics of the present weights on some (training) tasks."""
        with self.evaluating(), torch.no_grad():
            weights = self.reference.start(1, first_order=True)
            self.population = average_moments([
                weights.record(torch.cat([task.support, task.query])[None])
                for task in (task.to(self.device, self.dtype) for task in tasks)
            ])  # fmt: skip

    def policy(self, batch_norm: str) -> Policy:
        """Returns the policy of ``transductive`` or ``inductive`` scores.

        Raises:
            SettingsError: if it is unknown.
            BackboneError: if it needs population statistics and there are none.
        """
        check_choice("batch_norm", batch_norm, BATCH_NORMS)
        return BY_BATCH if batch_norm == "transductive" else self._policy(self.statistics)

    def _policy(self, statistics: str) -> Policy:
        if statistics != "population":
            return BY_SUPPORT if statistics == "support" else BY_BATCH
        if self.population is None:
            raise BackboneError(
                "the weights have no population statistics; expected those of a run that has "
                "validated at least once"
            )
        return Policy(statistics, self.population)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Puts the backbone into evaluation mode (no dropout) for the block."""
        modes = {module: module.training for module in self.backbone.modules()}
        self.backbone.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training


def score(weights: FastWeights, tasks: TaskBatch, batch_norm: Policy = BY_BATCH) -> Scores:
    """Scores T networks on the query sets of T tasks; see `Learner.score_steps`.

    Raises:
        BackboneError: if the backbone's ways are not the tasks'.
    """
    moments = batch_norm.for_query(lambda: weights.record(tasks.support))
    logits = weights.logits(tasks.query, moments)
    if logits.shape[2] != tasks.ways:
        raise BackboneError(f"the backbone has {logits.shape[2]} ways; the task has {tasks.ways}")
    predictions = logits.argmax(dim=2)
    correct = (predictions == tasks.query_labels).sum(dim=1)
    accuracies = correct.to("cpu", torch.float64) / logits.shape[1]
    return Scores(task_losses(logits, tasks.query_labels), accuracies, predictions)
