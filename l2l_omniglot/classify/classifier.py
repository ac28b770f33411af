"""A trained network adapted to one support set, to classify one image or many."""

from __future__ import annotations

import copy
from typing import SupportsIndex

import torch
from torch import nn

from l2l_omniglot._util.rng import all_random
from l2l_omniglot.backbones.batch_norm import forward_by, record_moments
from l2l_omniglot.backbones.head_starts import class_means
from l2l_omniglot.backbones.heads import embed
from l2l_omniglot.backbones.passes import Moments
from l2l_omniglot.errors import refused
from l2l_omniglot.experiments.certainty import Certainty
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.learners import load_learner
from l2l_omniglot.meta.engines.fast_weights import inner_loop

UNSURE = (
    "does not know how sure it is after these steps; expected pretrained weights, with their own "
    "number of steps"
)


class Classifier:
    """A network adapted to a support set, as it was before adapting and after each inner step.

    Classes may have different numbers of support images.

    Args:
        checkpoint: trained weights; if their head is trained, for as many ways.
        support: images (B, channels, H, W) in [0, 1], of the size and ink of the training images.
        labels: int64 (B,) in [0, ways).
        ways: number of classes, at least 2.
        steps: gradient steps K on the support set; the evaluation steps of the training by
            default.
        batch_norm: ``inductive``: every image is normalised by the support set's statistics,
            so its prediction depends on no other image; ``transductive``: all images classified
            in one call are normalised together, as in most published figures.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Attributes:
        support: the support images, on the device of the networks.
        certainty: how sure the predictions are, if that was measured, of as many steps.
        reach: squared distance within which an image may be of each class, float64 (ways,), if that
            was measured.

    Raises:
        SettingsError: if ways or steps are out of range, or a trained head is for other ways.
        BackboneError: if the network fails on the images, or cannot be inductive.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        support: torch.Tensor,
        labels: torch.Tensor,
        ways: int,
        steps: int | None = None,
        batch_norm: str = "inductive",
        device: str = "cpu",
    ) -> None:
        settings = checkpoint.settings
        if steps is not None and (not isinstance(steps, SupportsIndex) or steps < 0):
            raise refused("steps", steps, "expected a whole number of at least 0")
        self.steps = settings.steps(steps)
        self.ways, self.batch_norm = ways, batch_norm
        channels, height, width = support.shape[1:]
        size = height if height == width else (height, width)
        learner = load_learner(checkpoint, ways, size, device, "learn2learn", channels)
        self.certainty = certainty_after(checkpoint, steps)
        self.support, labels = support.to(learner.device), labels.to(learner.device)
        self._labels = labels
        self.reach: torch.Tensor | None = None
        if self.certainty:
            shots = torch.bincount(labels.cpu(), minlength=ways).numpy()
            self.reach = torch.from_numpy(self.certainty.distance(ways, shots))
        self._moments: dict[int, Moments] = {}
        self._policy, self._inductive = learner.policy(batch_norm), learner.policy("inductive")
        with learner.evaluating(), torch.enable_grad(), all_random("classifier"):
            weights = learner.reference.start(1, learner.loop(self.steps, self._policy))
            self._networks = [
                _frozen(learner.backbone, weights.network)
                for _ in inner_loop(weights, self.support[None], labels[None])
            ]

    def probabilities(self, images: torch.Tensor, step: int = -1) -> torch.Tensor:
        """Predicts the probability of each class, calibrated if the certainty was measured.

        Args:
            images: (B, channels, H, W) in [0, 1].
            step: number of gradient steps, 0 to K; all of them by default.

        Returns:
            (B, ways) on the CPU, rows summing to 1; float32, or float64 after `double`.
        """
        return self.logits(images, step).softmax(dim=1)

    @torch.no_grad()
    def logits(self, images: torch.Tensor, step: int = -1) -> torch.Tensor:
        """Computes the logarithms of `probabilities`, up to a constant of each row."""
        network, images = self._networks[step], images.to(self.support)
        moments = self.moments(step) if self.batch_norm == "inductive" else None
        return forward_by(network, moments, images).cpu() / self.temperature

    @property
    def temperature(self) -> float:
        """Divides the network's logits; 1 if the certainty was not measured."""
        return self.certainty.temperature if self.certainty else 1.0

    @torch.no_grad()
    def distances(self, images: torch.Tensor, step: int = -1) -> torch.Tensor:
        """Measures how far images are from each class: (B, ways) on the CPU, at least 0.

        These are squared distances of embeddings, the head's input, from the mean embedding of the
        class's support images; every image independently, whatever the mode of batch normalisation.
        """
        network, moments = self._networks[step], self.moments(step)
        support = embed(network, self.support, moments)
        means = class_means(support[None], self._labels.to(support.device)[None])[0]
        embeddings = embed(network, images.to(self.support), moments)
        return torch.cdist(embeddings, means).square().cpu()

    def none_of_these(self, images: torch.Tensor) -> torch.Tensor:
        """Returns which images seem to be of no class, bool (B,).

        That is, which are farther from the nearest class than nearly all queries that are
        classified right are from theirs in validation tasks; see `Certainty`. If that was not
        measured, none is.
        """
        if self.reach is None:
            return torch.zeros(len(images), dtype=torch.bool)
        nearest, labels = self.distances(images).min(dim=1)
        return nearest > self.reach[labels]

    def double(self) -> Classifier:
        """Switches to float64 on the CPU, and returns itself.

        Batching the images differently then changes no probability visibly.
        """
        self._networks = [network.cpu().double() for network in self._networks]
        self.support = self.support.cpu().double()
        self._moments = {}
        return self

    def moments(self, step: int = -1) -> Moments:
        """Returns the statistics of inductive predictions after a number of steps.

        They are the population's, or the support set's, which are computed once.
        """
        step %= len(self._networks)
        population = self._inductive.for_support(step)
        if population is not None:  # of the learner, wherever that is
            return {name: tensor.to(self.support) for name, tensor in population.items()}
        if step not in self._moments:
            self._moments[step] = record_moments(self._networks[step], self.support)
        return self._moments[step]

    def network(self, step: int = -1) -> nn.Module:
        """Returns the adapted network, which normalises by the statistics of each batch."""
        return self._networks[step]


def certainty_after(checkpoint: Checkpoint, steps: int | None) -> Certainty | None:
    """Returns how sure predictions are after a number of steps; None if that was not measured."""
    settings = checkpoint.settings
    return checkpoint.certainty if settings.steps(steps) == settings.steps(None) else None


def _frozen(backbone: nn.Module, adapted: nn.Module) -> nn.Module:
    """Copies the backbone, with the weights of its adapted learn2learn clone."""
    network = copy.deepcopy(backbone)
    values = dict(adapted.module.named_parameters())  # type: ignore[union-attr]
    network.load_state_dict(values, strict=False)  # all but buffers
    return network.requires_grad_(False)
