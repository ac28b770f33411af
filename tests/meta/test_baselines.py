import copy

import pytest
import torch

from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import BackboneError, SettingsError
from l2l_omniglot.experiments.experiment import Experiment, baselines
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.meta.baselines import nearest_pixels, prototype_baseline
from l2l_omniglot.meta.learner import Learner


@pytest.fixture
def tasks(stack: ImageStack) -> Tasks:
    return Tasks(stack, range(60), shots=2, queries=4)


def test_nearest_pixels_written_out(tasks: Tasks):
    right = []
    for task in tasks.batch(0, 5):
        for image, label in zip(task.query, task.query_labels, strict=True):
            distances = [float(((image - other) ** 2).sum()) for other in task.support]
            nearest = distances.index(min(distances))
            right.append(float(task.support_labels[nearest] == label))
    found = nearest_pixels(tasks, 5)
    assert found.accuracy == pytest.approx(sum(right) / len(right))
    assert 0.2 < found.accuracy < 1 and found.ci95 > 0


@pytest.mark.parametrize("mode", ["transductive", "inductive"])
def test_class_means_written_out(tasks: Tasks, mode: str):
    network = BaseNet()
    learner = Learner(copy.deepcopy(network), 0.4)  # converted; this one keeps torch's layers
    right = []
    for task in tasks.batch(0, 3):
        with torch.no_grad():
            support = network.features(task.support)
            if mode == "transductive":
                query = network.features(task.query)
            else:  # the support set and one query, with the statistics of the support set
                norms = [block.norm for block in network.children() if hasattr(block, "norm")]
                query = _by_statistics_of(network, norms, task.support, task.query)
        means = torch.stack([support[task.support_labels == way].mean(0) for way in range(5)])
        distances = ((query[:, None] - means) ** 2).sum(2)
        right.append(float((distances.argmin(1) == task.query_labels).float().mean()))
    found = prototype_baseline(learner, tasks, 3, mode)
    assert found.accuracy == pytest.approx(sum(right) / 3)


def _by_statistics_of(network, norms, support, query):
    """By torch's running statistics with momentum 1, corrected for their unbiased variance."""
    seen = {}
    hooks = [
        norm.register_forward_pre_hook(lambda layer, given: seen.__setitem__(layer, given[0]))
        for norm in norms
    ]
    network.features(support)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        norm.running_mean = seen[norm].mean((0, 2, 3))
        norm.running_var = seen[norm].var((0, 2, 3), unbiased=False)
    network.eval()
    result = network.features(query)
    network.train()
    for norm in norms:
        norm.running_mean = norm.running_var = None
    return result


def test_all_baselines_by_name(stack: ImageStack, tasks: Tasks):
    experiment = Experiment.build(make_settings(), stack)
    with torch.no_grad():
        experiment.learner.backbone.block1.conv.weight.normal_()
    found = baselines(experiment, tasks, 4, ("transductive", "inductive"))
    assert list(found) == [
        "nearest neighbour, pixels",
        "class means, untrained features, transductive",
        "class means, untrained features, inductive",
        "class means, trained features, transductive",
        "class means, trained features, inductive",
    ]
    untrained = Experiment.build(make_settings(), stack).learner
    for what, learner in (("untrained", untrained), ("trained", experiment.learner)):
        for mode in ("transductive", "inductive"):
            expected = prototype_baseline(learner, tasks, 4, mode).accuracy
            assert found[f"class means, {what} features, {mode}"].accuracy == expected
    assert (
        found["class means, untrained features, transductive"].accuracy
        != found["class means, trained features, transductive"].accuracy
    )


def test_wrong_arguments(tasks: Tasks):
    learner = Learner(BaseNet(), 0.4)
    with pytest.raises(SettingsError, match="'inductiv': expected one of transductive"):
        prototype_baseline(learner, tasks, 2, "inductiv")
    with pytest.raises(SettingsError, match="count=1: expected at least 2"):
        nearest_pixels(tasks, 1)


class HeadTwice(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(784, 784)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.head(images.flatten(1)))[:, :5]


def test_a_head_used_twice_has_no_features(tasks: Tasks):
    with pytest.raises(BackboneError, match="uses its last layer 2 times"):
        prototype_baseline(Learner(HeadTwice(), 0.1), tasks, 2)
