"""A tiny learner, the finite differences of its meta-loss, and an observer that says nothing."""

from collections.abc import Sequence

import torch
from torch import nn

from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Task
from l2l_omniglot.experiments.metrics import MetricsRow
from l2l_omniglot.meta.engines import Engine
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.trainer import StepResult


class TinyNet(nn.Module):
    """Smooth and small, so that finite differences are exact: 4x4 images, 3 ways."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2, track_running_stats=False)
        self.linear = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.tanh(self.norm(self.conv(images))).flatten(1))


class Uneven:
    """30 classes of 4 to 20 images of a larger stack: a `Stack` that is no `ImageStack`."""

    name, height, width, channels, ink, background = "uneven", 4, 4, 1, "white", "black"
    image_size, sha256, summary, pictures = 4, "0" * 64, "30 classes of unequal sizes.", ""

    def __init__(self, whole: ImageStack) -> None:
        self._whole, self.info = whole, whole.info[:30]
        self.names = tuple(f"class {number}" for number in range(30))
        self.images_per_class = tuple(4 + number % 17 for number in range(30))

    def images(self, classes, items, transforms=None) -> torch.Tensor:
        for number, item in zip(classes, items, strict=True):
            assert item < self.images_per_class[number]
        return self._whole.images(classes, items, transforms)

    def on(self, device: torch.device) -> "Uneven":
        return self


class Silent:
    """Watches a training run, and keeps it to itself."""

    def on_step(self, result: StepResult) -> None: ...

    def on_log(self, row: MetricsRow) -> None: ...

    def on_validation(self, row: MetricsRow, best: bool) -> None: ...


def tiny_task(seed: int = 0) -> Task:
    """3 ways, 1 shot, 3 queries of 4x4 pixels, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return Task(
        torch.rand(3, 1, 4, 4, generator=generator, dtype=torch.float64),
        torch.arange(3),
        torch.rand(9, 1, 4, 4, generator=generator, dtype=torch.float64),
        torch.arange(3).repeat(3),
        (0, 1, 2),
    )


def meta_loss(learner: Learner, task: Task, step_weights: Sequence[float]) -> float:
    """The weighted query losses after 0, 1, ..., K steps, from scores alone."""
    scores = learner.score_steps(learner.batch([task]), len(step_weights) - 1)
    return sum(w * s.losses.item() for w, (s,) in zip(step_weights, scores, strict=True))


def finite_differences(
    learner: Learner, task: Task, step_weights: Sequence[float], eps: float = 1e-6
) -> torch.Tensor:
    """Central differences of the meta-loss, number by number of all that is trained."""
    found = []
    for parameter in learner.trained:
        flat = parameter.data.view(-1)
        for i in range(flat.numel()):
            value = flat[i].item()
            around = []
            for shifted in (value + eps, value - eps):
                flat[i] = shifted
                around.append(meta_loss(learner, task, step_weights))
            flat[i] = value
            found.append((around[0] - around[1]) / (2 * eps))
    return torch.tensor(found, dtype=torch.float64)


def flat_gradient(
    learner: Learner,
    task: Task,
    step_weights: Sequence[float],
    engine: Engine | None = None,
    first_order: bool | None = None,
) -> torch.Tensor:
    """The meta-gradient as one vector; zeros for what plays no part."""
    found = learner.meta_gradient(
        learner.batch([task]), len(step_weights) - 1, engine, first_order, step_weights
    ).gradients
    pairs = zip(found, learner.trained, strict=True)
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in pairs]
    )
