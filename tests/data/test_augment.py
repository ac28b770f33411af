"""Augmented images: small maps, the background stays, the same for the same task."""

import torch

from l2l_omniglot.data.augment import affine
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import MixedTasks, Tasks


def ring(size: int = 28) -> torch.Tensor:
    y, x = torch.meshgrid(*(torch.arange(size) - (size - 1) / 2,) * 2, indexing="ij")
    radius = (x.square() + y.square()).sqrt()
    return ((radius > 5) & (radius < 8)).float()[None, None]


def test_a_map_is_small_and_every_image_has_its_own():
    images = ring().repeat(200, 1, 1, 1)
    found = affine(images, torch.Generator().manual_seed(0), background=0.0)
    assert found.shape == images.shape and float(found.min()) >= 0 and float(found.max()) <= 1.001
    ink = found.sum(dim=(1, 2, 3)) / images.sum(dim=(1, 2, 3))
    assert 0.5 < float(ink.min()) < 0.85 and 1.15 < float(ink.max()) < 1.7
    places = torch.arange(28.0)
    centres = (found.sum(dim=(1, 2)) * places).sum(dim=1) / found.sum(dim=(1, 2, 3))
    shifts = centres - 13.5
    assert 2.5 < float(shifts.abs().max()) < 0.12 * 28 + 1 and abs(float(shifts.mean())) < 0.4
    assert len({one.numpy().tobytes() for one in found}) == 200


def test_paper_of_either_value_comes_in_from_outside():
    images = ring()
    draw = torch.Generator().manual_seed
    white = affine(images, draw(1), background=0.0)
    black = affine(1 - images, draw(1), background=1.0)
    torch.testing.assert_close(black, 1 - white)


def test_augmented_tasks_are_numbered_like_others(stack: ImageStack):
    plain, augmented = (Tasks(stack, range(60), queries=2, augment=on) for on in (False, True))
    assert augmented[3].classes == plain[3].classes
    assert torch.equal(augmented[3].query_labels, plain[3].query_labels)
    assert not torch.equal(augmented[3].query, plain[3].query)
    assert torch.equal(augmented[3].query, augmented[3].query)


def test_the_number_of_shots_changes_with_the_meta_batch(stack: ImageStack):
    streams = [Tasks(stack, range(60), shots=shots, queries=2) for shots in (1, 2, 3)]
    mixed = MixedTasks(streams, 4)
    shots = [len(task.support) // 5 for task in mixed.batch(0, 80)]
    by_batch = [set(shots[i : i + 4]) for i in range(0, 80, 4)]
    assert all(len(found) == 1 for found in by_batch)
    assert set.union(*by_batch) == {1, 2, 3}
    assert torch.equal(mixed[5].query, streams[shots[5] - 1][5].query)
