"""Fast weights: a backbone's weights while they adapt to tasks, and the one inner loop on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from l2l_omniglot._util.compat import l2l
from l2l_omniglot.backbones.batch_norm import BY_BATCH, Policy, check_norms
from l2l_omniglot.backbones.head_starts import HeadStart
from l2l_omniglot.backbones.heads import head_name, head_parameters, the_features
from l2l_omniglot.backbones.passes import Moments, Pass
from l2l_omniglot.errors import BackboneError
from l2l_omniglot.meta.engines.kept import Kept
from l2l_omniglot.meta.inner_rates import InnerRates
from l2l_omniglot.meta.step_norms import StepNorms


@dataclass(frozen=True)
class Inner:
    """All that is decided about an inner loop before it starts.

    Attributes:
        steps: gradient steps K, 0 or more.
        first_order: treat inner gradients as constants, and keep no graph of them.
        policy: by which statistics images are normalised.
        bfloat16: compute layers in bfloat16 (autocast); the head and all weights do not.
        proximal: lambda, 0 or more: to a task's loss, lambda / 2 times the squared distance to
            where its weights started is added (Rajeswaran et al. 2019, equation 3).
        batch: support images that a step sees, the next ones in turn; 0: all.
        rate_factor: above 0; times the inner learning rates.
    """

    steps: int = 0
    first_order: bool = True
    policy: Policy = BY_BATCH
    bfloat16: bool = False
    proximal: float = 0.0
    batch: int = 0
    rate_factor: float = 1.0


class Engine(ABC):
    """Computes tasks with learn2learn's clones of a module.

    Args:
        backbone: see `Learner`; converted.
        module: what is cloned and adapted; has the backbone's parameters, by the same names.
        rates: of the inner loop.
        head: how each task's head starts; as trained by default.
        norms: whether the inner loop adapts batch normalisation's scale and shift; by default.

    Attributes:
        name: as `--engine` takes it.
        threads_share: what a CPU's threads share: ``operations`` (all of them compute each), or
            ``chunks`` (each thread computes a chunk of tasks of its own).
        leading: whether a clone's weights have a leading T.
        head_is_last: whether the head's logits are the network's, as far as is known.
        maml: learn2learn's ``MAML`` around the module.
    """

    name: str
    threads_share: str
    leading: bool

    def __init__(
        self,
        backbone: nn.Module,
        module: nn.Module,
        rates: InnerRates,
        head: HeadStart | None,
        norms: StepNorms | None,
    ) -> None:
        self.backbone, self.rates, self.head = backbone, rates, head or HeadStart()
        self.head_is_last = True
        self.norms = norms or StepNorms("adapted", backbone, 0)
        self._parameters = dict(backbone.named_parameters())
        # With allow_nograd, learn2learn's adapt() lets autograd's errors through; without it
        # prints and swallows them. Parameters a forward pass does not use stay as they are.
        self.maml: Any = l2l.algorithms.MAML(
            module, rates.initial, allow_unused=True, allow_nograd=True
        )

    @abstractmethod
    def tasks_at_once(self, pixels: int) -> int:
        """Returns how many tasks are best computed together, if a larger set has so many pixels."""

    @abstractmethod
    def prepare(self, clone: nn.Module, tasks: int) -> None:
        """Prepares a clone of the module for T tasks."""

    @abstractmethod
    def forward(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Passes images (T, B, channels, H, W) through a prepared clone: (T, B, ways)."""

    def check(self) -> None:
        """Refuses a backbone whose parameters are not those that the engine was made with.

        Raises:
            BackboneError: if one was replaced since, or frozen or unfrozen.
        """
        self.rates.check(self.backbone)
        for name, parameter in self.backbone.named_parameters():
            if parameter is not self._parameters.get(name):
                raise BackboneError(
                    f"its parameter {name!r} was replaced after the learner was built; change its "
                    "values in place, or build the learner again"
                )

    def start(self, tasks: int, inner: Inner) -> FastWeights:
        """Copies the backbone's weights for each of `tasks` tasks."""
        return FastWeights(self, tasks, inner)


class FastWeights:
    """A backbone's weights, one copy for each of T tasks, which learn2learn adapts.

    Attributes:
        engine, tasks, inner: that made it, for how many tasks, and how.
        taken: number of steps so far.
        network: the clone; of the learn2learn engine from (B, channels, H, W) to (B, ways).
    """

    def __init__(self, engine: Engine, tasks: int, inner: Inner) -> None:
        engine.check()
        self.engine, self.tasks, self.inner, self.taken = engine, tasks, inner, 0
        self.network = _clone(engine.maml, inner.first_order)
        self.network.lr *= inner.rate_factor
        body = engine.rates.adapt == "all" or engine.norms.names or inner.batch
        self._kept = Kept(stays=not body)
        for layer in self.network.modules():  # as made, it shares its original's buffers
            for name, buffer in layer._buffers.items():
                layer._buffers[name] = None if buffer is None else buffer.clone()
        engine.prepare(self.network.module, tasks)
        self.replace(engine.norms.at(0, tasks))

    def logits(self, images: torch.Tensor, moments: Moments | None = None) -> torch.Tensor:
        """Passes each task's images (T, B, channels, H, W) through its own copy: (T, B, ways).

        A task's images are one batch to be normalised; with given moments, of T tasks or of 1 for
        all, no image affects another.

        Raises:
            BackboneError: if the backbone fails, or returns another shape.
        """
        found = self._kept.once(lambda: self._last_input(images, moments), images, moments)
        return self._run(images, Pass(given=moments)) if found is None else self._by_head(found)

    def embeddings(self, images: torch.Tensor, moments: Moments | None = None) -> torch.Tensor:
        """Computes the head's input, (T, B, features); see `logits`.

        Raises:
            BackboneError: as `logits`, or if the head is not used exactly once per forward pass.
        """
        now = Pass(given=moments, features=[])
        self._run(images, now)
        return the_features(now).view(*images.shape[:2], -1)

    def record(self, images: torch.Tensor) -> Moments:
        """Computes the moments of each task's images (T, B, channels, H, W) as one batch.

        They are those of the present weights, to which gradients flow.

        Raises:
            BackboneError: as `logits`, or if a layer does more than normalise.
        """

        def run() -> Moments:
            moments: Moments = {}
            self._run(images, Pass(recorded=moments))
            return moments

        kept = self._kept.once(run, images)
        return run() if kept is None else kept

    def _last_input(self, images: torch.Tensor, moments: Moments | None) -> torch.Tensor | None:
        """Computes the head's input, as it is given it; None unless it is the last layer."""
        if not self.engine.head_is_last:
            return None
        logits = self._run(images, now := Pass(given=moments, features=[]))
        seen = now.features or []
        self.engine.head_is_last = len(seen) == 1 and torch.equal(  # NaN says nothing of the head
            self._by_head(*seen).nan_to_num(), logits.nan_to_num()
        )
        return seen[0] if self.engine.head_is_last else None

    def _by_head(self, features: torch.Tensor) -> torch.Tensor:
        head = self.network.module.get_submodule(head_name(self.engine.backbone))
        with Pass(), self._autocast(features):
            logits: torch.Tensor = head(features)
        return logits.view(self.tasks, -1, logits.shape[-1])

    def _run(self, images: torch.Tensor, now: Pass) -> torch.Tensor:
        check_norms(self.engine.backbone, not now.plain)
        with now, self._autocast(images):
            return self.engine.forward(self.network, images)

    def _autocast(self, images: torch.Tensor) -> torch.autocast:
        """For forward passes only: gradients follow in the precision of what was computed."""
        return torch.autocast(images.device.type, torch.bfloat16, enabled=self.inner.bfloat16)

    def named(self) -> dict[str, torch.Tensor]:
        """Returns the present weights by name, each with a leading T."""
        named = self.network.module.named_parameters()
        return {name: weight if self.engine.leading else weight[None] for name, weight in named}

    def replace(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Replaces weights, by name, each with a leading T."""
        if not weights:
            return
        self._kept.clear()
        parameters = dict(self.network.module.named_parameters())
        new = {id(parameters[n]): w if self.engine.leading else w[0] for n, w in weights.items()}
        for layer in self.network.module.modules():
            for name, old in layer._parameters.items():  # of which several may be one
                layer._parameters[name] = new.get(id(old), old)

    def restart(self, head: Mapping[str, torch.Tensor]) -> None:
        """Replaces the head's parameters, and forgets what they were computed from.

        The next steps differentiate with respect to weights equal to those before, which do not
        lead to `head`; the meta-gradient passes through both.

        Args:
            head: by name, each with a leading T.
        """
        self.network = _clone(self.network, self.inner.first_order)
        self.replace(head)

    def step(self, losses: torch.Tensor) -> None:
        """Takes one gradient step of every copy on its own task's loss (T,).

        Raises:
            BackboneError: if the losses do not depend on the weights.
        """
        try:
            self._adapt(losses.sum())
        except RuntimeError as error:
            raise BackboneError(f"the inner loop cannot differentiate: {error}") from error
        self.taken += 1
        self.replace(self.engine.norms.at(self.taken, self.tasks))

    def _adapt(self, loss: torch.Tensor) -> None:
        """Adapts by learn2learn; if some parameters or rates differ, as its `MetaSGD.adapt`."""
        rates = self.engine.rates
        if rates.plain:
            self.network.adapt(loss)
            return
        parameters = dict(self.network.module.named_parameters())
        gradients = torch.autograd.grad(
            loss, [parameters[name] for name in rates.names],
            create_graph=not self.inner.first_order, allow_unused=True,
        )  # fmt: skip
        for name, gradient in zip(rates.names, gradients, strict=True):
            if gradient is not None:
                rate = rates.rate(name, self.taken) * self.inner.rate_factor
                parameters[name].update = -rate * gradient
        self.network.module = l2l.update_module(self.network.module)


def _clone(maml: Any, first_order: bool) -> Any:
    """Clones, and makes one layer of those that are one; learn2learn clones each place."""
    clone = maml.clone(first_order=first_order)
    first: dict[nn.Module, str] = {}
    for name, layer in maml.module.named_modules(remove_duplicate=False):
        if first.setdefault(layer, name) != name:
            parent, _, child = name.rpartition(".")
            same = clone.module.get_submodule(first[layer])
            clone.module.get_submodule(parent)._modules[child] = same
    return clone


def inner_loop(
    weights: FastWeights, support: torch.Tensor, labels: torch.Tensor
) -> Iterator[FastWeights]:
    """Takes gradient steps on the support sets (Finn et al. 2017, algorithm 1, lines 5 to 7).

    Args:
        weights: the backbone's own.
        support: images (T, ways * shots, channels, H, W) in [0, 1].
        labels: int64 (T, ways * shots) in [0, ways).

    Yields:
        The weights after 0, 1, ..., K steps: each time the same object.
    """
    head, policy = weights.engine.head, weights.inner.policy
    if head.computed:
        names, parameters = head_parameters(weights.engine.backbone), weights.named()
        embeddings = weights.embeddings(support, policy.for_support(0)) if head.embeds else None
        start = head(parameters[names[0]], embeddings, labels)
        weights.restart(dict(zip(names, start, strict=True)))
    anchor = weights.named() if weights.inner.proximal else {}
    yield weights
    for step in range(weights.inner.steps):
        images, answers = in_turn(support, labels, step, weights.inner.batch)
        losses = task_losses(weights.logits(images, policy.for_support(step)), answers)
        if anchor:
            losses = losses + weights.inner.proximal / 2 * squared_distances(weights, anchor)
        weights.step(losses)
        yield weights


def in_turn(
    support: torch.Tensor, labels: torch.Tensor, step: int, batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Takes the next `batch` images of each support set, after the last from the first on; or all.

    A task's support set is in random order, so these are random batches without replacement.

    Args:
        support: (T, ways * shots, channels, H, W).
        labels: (T, ways * shots).
        step: steps that were taken before.
        batch: 0: all of them.
    """
    count = labels.shape[1]
    if not 0 < batch < count:
        return support, labels
    chosen = torch.arange(step * batch, (step + 1) * batch, device=labels.device) % count
    return support[:, chosen], labels[:, chosen]


def squared_distances(
    weights: FastWeights, anchor: Mapping[str, torch.Tensor]
) -> torch.Tensor | float:
    """Computes how far each task's weights are from others, (T,), in those that adapt."""
    now = weights.named()
    moves = (now[name] - anchor[name] for name in weights.engine.rates.names)
    return sum(move.square().flatten(1).sum(dim=1) for move in moves)


def task_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Computes the mean cross-entropy of each task in nats: (T, B, ways) and (T, B) to (T,).

    Raises:
        BackboneError: if a label is beyond the backbone's ways.
    """
    try:
        losses = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    except IndexError as error:
        raise BackboneError(
            f"the backbone has {logits.shape[2]} ways; the task has {int(labels.max()) + 1}"
        ) from error
    return losses.view(labels.shape).mean(dim=1)
