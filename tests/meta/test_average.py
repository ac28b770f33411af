"""The average of the weights: by hand, put in place, and resumed."""

import torch

from l2l_omniglot.backbones.basenet import BaseNet
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.meta.average import WeightAverage
from l2l_omniglot.meta.learner import Learner
from l2l_omniglot.meta.trainer import Trainer


def test_it_is_the_exponential_average():
    weight = torch.zeros(2)
    average = WeightAverage([weight], decay=0.25)
    expected = torch.zeros(2)
    for updates in range(1, 6):
        weight += updates
        share = min(0.25, (1 + updates) / (10 + updates))
        expected = share * expected + (1 - share) * weight
        average.update(updates)
    torch.testing.assert_close(average.tensors[0], expected)
    with average.in_place():
        assert torch.equal(weight, average.tensors[0])
    assert weight.tolist() == [15, 15]


def trainer(stack: ImageStack) -> Trainer:
    torch.manual_seed(0)
    tasks = Tasks(stack, range(60), queries=2)
    learner = Learner(BaseNet(filters=4), 0.4)
    return Trainer(learner, tasks, meta_batch_size=2, average_weights=0.9, weight_decay=0.1)


def test_a_restored_trainer_has_the_same_average(stack: ImageStack):
    straight, stopped = trainer(stack), trainer(stack)
    for _ in range(2):
        stopped.step()
    resumed = trainer(stack)
    for own, other in zip(resumed.learner.trained, stopped.learner.trained, strict=True):
        own.data.copy_(other.data)
    resumed.restore(2, stopped.optimizer_tensors())
    for _ in range(4):
        straight.step()
    for _ in range(2):
        resumed.step()
    assert straight.average and resumed.average
    for one, other in zip(straight.average.tensors, resumed.average.tensors, strict=True):
        assert torch.equal(one, other)


def test_weight_decay_is_of_the_backbone_alone(stack: ImageStack):
    torch.manual_seed(0)
    tasks = Tasks(stack, range(60), queries=2)
    learner = Learner(BaseNet(filters=4), 0.4, head="prototypes")
    made = Trainer(learner, tasks, meta_batch_size=2, inner_steps=0, weight_decay=0.1)
    decays = {id(p): g["weight_decay"] for g in made.optimizer.param_groups for p in g["params"]}
    assert {decays[id(p)] for p in learner.backbone.parameters()} == {0.1}
    assert decays[id(learner.head.scale)] == 0.0
