import json
from pathlib import Path

import pytest

from l2l_omniglot.data.sidecar import ClassInfo
from l2l_omniglot.data.splits import make_splits
from l2l_omniglot.data.stack import ImageStack, load_stack
from l2l_omniglot.errors import DataError

OMNIGLOT = [
    ClassInfo(f"{subset}/A{n // 20:02d}/c{n % 20:02d}", subset, f"A{n // 20:02d}", f"c{n % 20:02d}")
    for subset, count in (("background", 964), ("evaluation", 659))
    for n in range(count)
]


def disjoint(splits) -> bool:
    return len(set().union(*splits)) == sum(len(part) for part in splits)


def test_tutorial_split_of_omniglot():
    splits = make_splits(OMNIGLOT, "tutorial")
    assert [len(part) for part in splits] == [1100, 100, 423]
    assert splits.test == tuple(range(1200, 1623))
    assert splits.validation == tuple(range(1100, 1200))
    assert sorted(splits.train + splits.validation) == list(range(1200))


def test_random_split_depends_on_the_seed_only():
    first, again, other = (make_splits(OMNIGLOT, "random", seed) for seed in (1, 1, 2))
    assert first == again != other
    assert [len(part) for part in first] == [1100, 100, 423]
    assert disjoint(first)


def test_alphabets_split_keeps_alphabets_whole():
    splits = make_splits(OMNIGLOT, "alphabets")
    assert disjoint(splits)
    assert splits.test == tuple(range(964, 1623))
    where = [{OMNIGLOT[n].alphabet for n in part} for part in splits[:2]]
    assert not where[0] & where[1]
    assert len(splits.train) + len(splits.validation) == 964


def test_small_stacks_are_cut_in_proportion():
    info = [ClassInfo(str(n)) for n in range(40)]
    splits = make_splits(info)
    assert [len(part) for part in splits] == [22, 8, 10]
    assert disjoint(splits)
    with pytest.raises(DataError, match="expected some in each part"):
        make_splits(info[:3])


def test_alphabets_need_a_sidecar():
    with pytest.raises(DataError, match="needs a sidecar"):
        make_splits([ClassInfo(str(n)) for n in range(40)], "alphabets")


def test_unknown_split():
    with pytest.raises(
        DataError, match=r"'own': expected one of tutorial, random, groups, alphabets"
    ):
        make_splits(OMNIGLOT, "own")


def test_split_from_a_file(stack: ImageStack, tmp_path: Path):
    path = tmp_path / "own.json"
    names = stack.names
    body = {"train": list(names[5:]), "validation": list(names[:2]), "test": list(names[2:5])}
    path.write_text(json.dumps(body))
    splits = make_splits(stack.info, str(path))
    assert (splits.validation, splits.test) == ((0, 1), (2, 3, 4))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "not a readable JSON file"),
        ("[]", "expected a list of class names under 'train'"),
        ('{"train": [1], "validation": [], "test": []}', "expected a list of class names"),
        ('{"train": ["x"], "validation": [], "test": []}', "the first is 'x'; the stack's names"),
        ('{"train": ["0"], "validation": ["1"], "test": []}', "1 train, 1 validation, 0 test"),
        (
            '{"train": ["0", "1"], "validation": ["1"], "test": ["2"]}',
            "class 1 is twice",
        ),
    ],
)
def test_bad_split_files(body: str, said: str, tmp_path: Path):
    path = tmp_path / "own.json"
    path.write_text(body)
    with pytest.raises(DataError, match=said):
        make_splits([ClassInfo(str(n)) for n in range(4)], str(path))
    with pytest.raises(DataError, match="not a readable JSON file"):
        make_splits([ClassInfo("0")], str(tmp_path / "none.json"))


@pytest.mark.real
def test_vinyals_split_on_real_omniglot(real_npy: Path, real_source: Path):
    splits = make_splits(load_stack(real_npy).info, str(real_source / "vinyals_split.json"))
    assert [len(part) for part in splits] == [1028, 172, 423]
    assert disjoint(splits)


def test_fewer_classes_validate_and_more_train():
    usual, few = make_splits(OMNIGLOT), make_splits(OMNIGLOT, validation_classes=20)
    assert [len(part) for part in few] == [1180, 20, 423]
    assert few.test == usual.test
    assert set(few.validation) < set(usual.validation)
    assert len(make_splits(OMNIGLOT, "random", 1, validation_classes=20).train) == 1180


@pytest.mark.parametrize("split, number", [("alphabets", 20), ("a.json", 20)])
def test_splits_that_say_what_validates_take_no_number(split: str, number: int):
    with pytest.raises(DataError, match="validation_classes=20: .* tutorial or random or groups"):
        make_splits(OMNIGLOT, split, validation_classes=number)


def test_too_many_validation_classes_are_refused():
    with pytest.raises(DataError, match="validation_classes=1200: expected 1 to 1199"):
        make_splits(OMNIGLOT, validation_classes=1200)


@pytest.mark.real
def test_the_split_of_vinyals_is_the_published_list(real_npy: Path, real_source: Path):
    info = load_stack(real_npy).info
    assert make_splits(info, "vinyals") == make_splits(info, real_source / "vinyals_split.json")
    assert make_splits(info, "vinyals").test == make_splits(info, "tutorial").test


@pytest.mark.real
def test_the_split_of_maml_plus_plus_is_made_as_its_code_does(real_npy: Path):
    info = load_stack(real_npy).info
    splits = make_splits(info, "maml++")
    assert disjoint(splits) and [len(part) for part in splits] == [1150, 50, 423]
    evaluation = sum(info[number].subset == "evaluation" for number in splits.test)
    common = len({*splits.test} & {*make_splits(info, "vinyals").test})
    assert (evaluation, common) == (176, 106)  # counted by hand from its seed


@pytest.mark.parametrize("split", ["vinyals", "maml++"])
def test_published_splits_are_of_omniglot_only(split: str):
    expected = "expected Omniglot's 1623, with their names"
    with pytest.raises(DataError, match=f"40 classes without names of alphabets; {expected}"):
        make_splits([ClassInfo(str(n)) for n in range(40)], split)
    named = [ClassInfo(str(n), alphabet="A") for n in range(40)]
    with pytest.raises(DataError, match=f"40 classes; {expected}"):
        make_splits(named, split)
