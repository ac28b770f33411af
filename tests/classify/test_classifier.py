"""Certainty of an adapted classifier: its temperature and distances."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from rounding import rounding

from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.certainty import SHOTS, WAYS, Certainty
from l2l_omniglot.experiments.checkpoint import Checkpoint, read_checkpoint
from l2l_omniglot.experiments.weights import find_weights


def alike(temperature: float, distance: float) -> Certainty:
    """The same distance for all ways and shots."""
    return Certainty(temperature, ((distance,) * len(SHOTS),) * len(WAYS))


CERTAIN = alike(2.0, 3.0)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return dataclasses.replace(find_weights("conv4"), certainty=CERTAIN)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def adapted(checkpoint: Checkpoint, images: torch.Tensor) -> Classifier:
    """Of three classes with one, two and three support images."""
    return Classifier(checkpoint, images, torch.tensor([0, 1, 1, 2, 2, 2]), 3)


def test_a_temperature_divides_the_logits(checkpoint, images):
    warm = adapted(checkpoint, images).logits(images)
    plain = adapted(dataclasses.replace(checkpoint, certainty=None), images)
    assert torch.equal(2 * warm, plain.logits(images))  # halving rounds nothing
    assert torch.equal(warm.argmax(dim=1), plain.logits(images).argmax(dim=1))
    assert torch.equal(plain.logits(images).softmax(dim=1), plain.probabilities(images))


def test_distances_are_those_of_the_prototypes(checkpoint, images):
    """A prototype head's logits are the negative squared distances, scaled, up to a constant."""
    classifier = adapted(dataclasses.replace(checkpoint, certainty=None), images)
    distances, logits = classifier.distances(images), classifier.logits(images)
    scale = float(checkpoint.head["scale"])
    differences = logits - logits[:, :1] + scale * (distances - distances[:, :1])
    assert differences.abs().max() < rounding(logits, scale * distances)
    assert distances[0, 0] < rounding(distances) and (distances >= 0).all()


def test_in_float64_the_populations_statistics_are_so_too(images):
    """They come from the learner, and are not copied into the classifier's networks."""
    classifier = adapted(find_weights("resnet8"), images)
    assert {value.dtype for value in classifier.moments().values()} == {torch.float32}
    before = classifier.logits(images)
    classifier.double()
    assert {value.dtype for value in classifier.moments().values()} == {torch.float64}
    after = classifier.logits(images.double())
    assert (after - before).abs().max() < rounding(before)


def test_the_reach_of_a_class_shrinks_with_its_shots(checkpoint, images):
    far = torch.zeros(1, 1, 28, 28)
    classifier = adapted(checkpoint, images)
    nearest, label = (part.item() for part in classifier.distances(far).min(dim=1))
    shots = (1, 2, 3)[label]
    for factor, unlike in ((0.99, True), (1.01, False)):
        reach = factor * nearest / (1 + 1 / shots)
        found = adapted(dataclasses.replace(checkpoint, certainty=alike(1.0, reach)), images)
        assert found.none_of_these(far).tolist() == [unlike]
    unsure = adapted(dataclasses.replace(checkpoint, certainty=None), images)
    assert unsure.none_of_these(far).tolist() == [False]


def test_certainty_is_kept_in_the_file(checkpoint):
    again = read_checkpoint(checkpoint.to_bytes(), "memory")
    assert again.certainty == CERTAIN
    none = read_checkpoint(dataclasses.replace(checkpoint, certainty=None).to_bytes(), "memory")
    assert none.certainty is None
    with pytest.raises(SettingsError, match=r"temperature=0\.0: expected a number above 0"):
        alike(0.0, 1.0)
    with pytest.raises(SettingsError, match="distances=0.0: expected a number above 0"):
        alike(1.0, 0.0)
    with pytest.raises(
        SettingsError, match=r"distances=\(\(3.0,\),\): has shape \(1, 1\); expected"
    ):
        Certainty(1.0, ((3.0,),))


def test_distances_lie_between_those_that_were_measured():
    certainty = Certainty(1.0, ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0)))
    assert certainty.distance(2, [1, 5]).tolist() == [2 * 2.0, 1.2 * 1.0]
    assert certainty.distance(20, 1) == certainty.distance(200, 1) == 2 * 8.0
    assert certainty.distance(10, 50) == pytest.approx((1 + 1 / 50) * 5.0)
    assert 6.0 < certainty.distance(14, 1) / 2 < 8.0
    assert 5.0 < certainty.distance(10, 2) / 1.5 < 6.0


def test_eight_threads_adapt_and_predict_as_one(checkpoint, images):
    """With one classifier, and each with one of its own that adapts beside the others."""
    shared, state = adapted(checkpoint, images), torch.get_rng_state()
    batches = [images[:1], images[1:3], images]

    def predict(number: int) -> list[torch.Tensor]:
        found = []
        for classifier in (shared, adapted(checkpoint, images * (1 - 0.05 * number))):
            for step in (0, -1):
                batch = batches[number % 3]
                found += [classifier.probabilities(batch, step), classifier.distances(batch, step)]
        return found

    alone = [predict(number) for number in range(8)]
    shared = adapted(checkpoint, images)  # has no statistics of its support set yet
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for found, expected in zip(pool.map(predict, range(8)), alone, strict=True):
                assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
