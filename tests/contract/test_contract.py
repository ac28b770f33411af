"""The contract: good backbones keep it, and each defect of a broken one is named."""

import json
import os
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_cli

from l2l_omniglot.backbones.registry import make_backbone
from l2l_omniglot.contract import CHECKS, BackboneReport, check_backbone
from l2l_omniglot.errors import BackboneError

# Good but for what its class is named for.
BROKEN = '''
import numpy as np
import torch
from torch import nn
from torch.nn.functional import batch_norm, dropout


class Net(nn.Module):
    """A sound network of smooth functions; the others differ from it in one thing each."""

    def __init__(self, ways=5, channels=1, image_size=28, **_):
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.first = nn.Linear(channels * height * width, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, ways)

    def hidden(self, images):
        return torch.tanh(self.norm(self.first(images.flatten(1))))

    def forward(self, images):
        return self.head(self.hidden(images))


class NoKeywords(Net):
    def __init__(self, ways, channels, image_size):
        super().__init__(ways, channels, image_size)


class FixedWays(Net):
    def __init__(self, ways, **others):
        if ways == 20:
            raise ValueError("20 is too many")
        super().__init__(ways, **others)


class NotTheWays(Net):
    def __init__(self, ways, **others):
        super().__init__(5, **others)


class FixedSize(Net):
    def __init__(self, ways, **_):
        super().__init__(ways)


class Flat(Net):
    def forward(self, images):
        return super().forward(images).flatten()


class Halves(Net):
    def forward(self, images):
        return super().forward(images).half()


class NotANumber(Net):
    def forward(self, images):
        return super().forward(images) * float("nan")


class RunningStatistics(Net):
    def hidden(self, images):
        values = self.first(images.flatten(1)) - self.norm.running_mean
        return torch.tanh(values)


class OnlyPairs(Net):
    def forward(self, images):
        if len(images) < 2:
            raise ValueError("expected two images")
        return super().forward(images)


class InPlace(Net):
    def forward(self, images):
        return super().forward(images.sub_(0.5))


class Unseeded(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        drawn = np.random.default_rng().normal(size=self.head.weight.shape)
        self.head.weight.data = torch.tensor(drawn, dtype=torch.float32)


class Drops(Net):
    def hidden(self, images):
        return dropout(super().hidden(images), 0.5)


class NoParameters(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.requires_grad_(False)


class Unused(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.spare = nn.Parameter(torch.zeros(3))
        self.head = self._modules.pop("head")


class SinglePrecision(Net):
    def forward(self, images):
        return super().forward(images) + torch.ones(len(images), 8) @ self.head.weight.T


class Detached(Net):
    def hidden(self, images):
        hidden = self.first(images.flatten(1))
        return torch.tanh(self.norm(hidden)) + torch.sin(hidden.detach())


class _WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values.square()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]  # the 2 is missing


class WrongBackward(Net):
    def hidden(self, images):
        return _WrongBackward.apply(super().hidden(images))


class _FirstOrder(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values.square()

    @staticmethod
    def backward(ctx, grad):
        return grad * 2 * ctx.saved_tensors[0].detach()


class FirstOrder(Net):
    def hidden(self, images):
        return _FirstOrder.apply(super().hidden(images))


class Distances(Net):
    def forward(self, images):
        return -torch.cdist(self.hidden(images), self.head.weight, p=1.5) + self.head.bias


class SecondReference(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.layers = [self.first]

    def hidden(self, images):
        return torch.tanh(self.norm(self.layers[0](images.flatten(1))))


class WritesHome(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.register_buffer("seen", torch.zeros(1))
        self.home = [self.seen]

    def forward(self, images):
        self.home[0].add_(1)
        return super().forward(images)


class Remembers(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.memory = {}

    def hidden(self, images):
        hidden = super().hidden(images)
        return hidden - self.memory.setdefault("first", hidden.detach().mean(0))


class RemembersInTraining(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.memory = []

    def hidden(self, images):
        hidden = super().hidden(images)
        if self.training:
            self.memory.append(hidden.detach().mean(0))
            hidden = hidden - self.memory[0]
        return hidden


class CountsInTraining(Net):
    passes = 0

    def forward(self, images):
        if self.training:
            type(self).passes += 1
        return super().forward(images) * (1 + 0.1 * self.passes * self.training)


class SystemNoise(Net):
    def forward(self, images):
        import random
        noise = random.SystemRandom().random() if self.training else 0.0
        return super().forward(images) * (1 + noise)


class InPlaceInTraining(Net):
    def forward(self, images):
        if self.training:
            images.sub_(0.5)
        return super().forward(images)


class Ignores(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        layer = self.first
        self.apply_first = lambda images: layer(images.flatten(1))

    def hidden(self, images):
        own = self.first(images.flatten(1))
        return torch.tanh(self.norm(own + self.apply_first(images)))


class Counts(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.passes = 0

    def forward(self, images):
        self.passes += 1
        return super().forward(images) * (1 + 0.1 * self.passes)


class OwnAverages(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.register_buffer("average", torch.zeros(8))

    def hidden(self, images):
        hidden = super().hidden(images)
        if self.training:
            self.average.lerp_(hidden.detach().mean(0), 0.1)
        return hidden


class OwnNorm(Net):
    def hidden(self, images):
        values = self.first(images.flatten(1))
        return torch.tanh((values - values.mean(0)) / (values.var(0) + 1e-3).sqrt())


class Conv1d(Net):
    head_name = "head"

    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.smooth = nn.Conv1d(1, 1, 3, padding=1)

    def hidden(self, images):
        return self.smooth(super().hidden(images)[:, None])[:, 0]


class HeadFirst(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.last_made = nn.Linear(8, 8)

    def hidden(self, images):
        return self.last_made(super().hidden(images))


class ListedNorm(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.norms = [nn.BatchNorm1d(8, affine=False)]

    def hidden(self, images):
        return super().hidden(images) + self.norms[0](self.first(images.flatten(1)))


class AsksForTheClass(Net):
    def hidden(self, images):
        hidden = super().hidden(images)
        return 2 * hidden if isinstance(self.norm, nn.BatchNorm1d) else hidden


class WrongHeadName(Net):
    head_name = "classifier"


class FrozenHead(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.head.requires_grad_(False)


class Unsaved(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.projection = torch.randn(8, 8)

    def hidden(self, images):
        return super().hidden(images) @ self.projection.to(images)


class WaysInside(Net):
    def __init__(self, ways=5, **others):
        super().__init__(ways, **others)
        self.first = nn.Linear(self.first.in_features, 4 * ways)
        self.norm = nn.BatchNorm1d(4 * ways)
        self.head = nn.Linear(4 * ways, ways)


class Four(Net):
    """Takes no other keywords, refuses 20 ways, drops in evaluation, names no head of its."""

    head_name = "classifier"

    def __init__(self, ways, channels=1, image_size=28):
        if ways == 20:
            raise ValueError("20 is too many")
        super().__init__(ways, channels, image_size)

    def hidden(self, images):
        return dropout(super().hidden(images), 0.5)


class Three(Net):
    """Has one output too many, a parameter that nothing uses, and one that cannot learn."""

    def __init__(self, ways=5, **others):
        super().__init__(ways + 1, **others)
        self.spare = nn.Parameter(torch.zeros(3))
        self.scale = nn.Parameter(torch.ones(1))
        self.head = self._modules.pop("head")

    def hidden(self, images):
        with torch.no_grad():
            scaled = images * self.scale
        return super().hidden(scaled)


def no_module(**_):
    return "not a module"
'''
# Of each: the checks that fail, and what the reason of the first says.
DEFECTS = {
    "NoKeywords": (["tolerates keywords"], "unexpected keyword argument 'init'"),
    "FixedWays": (["builds"], "ways=20, .*20 is too many"),
    "NotTheWays": (["ways"], r"returned \(5, 5\); expected \(5, 2\)"),
    "FixedSize": (["other images"], r"fails on images of shape \(5, 3, 28, 28\)"),
    "Flat": (["logits"], r"returned \(4,\); expected logits \(2, ways\)"),
    "Halves": (["logits"], "returned torch.float16 for torch.float32 images"),
    "NotANumber": (["logits"], "NaN or infinity"),
    "RunningStatistics": (["no running statistics"], "without running statistics .*NoneType"),
    "OnlyPairs": (["one image"], "expected two images"),
    "InPlace": (["input unchanged"], "in place, by up to 0.5"),
    "Unseeded": (["same seed, same weights"], "'head.weight' differs when built again"),
    "Drops": (["same output", "stacked"], "two forward passes in evaluation mode differ"),
    "NoParameters": (["parameters"], "NoParameters has no parameter that can be trained"),
    "Unused": (["every gradient", "stacked"], "does not depend on 'spare'"),
    "SinglePrecision": (["float64", "stacked"], "same dtype"),
    "Detached": (["gradient"], "the gradient by 'first.weight' differs from finite"),
    "WrongBackward": (["gradient"], "the gradient by 'first.weight' differs from finite"),
    "FirstOrder": (["second order"], "the second derivative by 'first.weight' differs from"),
    "Distances": (
        ["second order", "stacked", "head"],
        "the second derivative .* cannot be",
    ),
    "SecondReference": (["clone adapts", "stacked"], "does not change 'first.weight'"),
    "Ignores": (
        ["clone adapts", "independent training", "stacked"],
        "does not change 'first.weight'",
    ),
    "WritesHome": (["backbone untouched", "buffers unchanged"], "changes 'seen' of the backbone"),
    "Remembers": (
        ["independent tasks", "independent training", "stacked"],
        "scored differently after another task",
    ),
    "RemembersInTraining": (["independent training"], "when the same task comes again"),
    "CountsInTraining": (["independent training"], "when the same task comes again"),
    "SystemNoise": (["independent training"], "in training mode a task's meta-gradient differs"),
    "InPlaceInTraining": (["input unchanged"], "in place, by up to 0.5"),
    "Counts": (["same output"], "two forward passes"),
    "OwnAverages": (["buffers unchanged"], "its buffer 'average' changes"),
    "OwnNorm": (["inductive", "every gradient", "stacked"], "query images affect each other"),
    "Conv1d": (["stacked"], "Conv1d has no stacked form"),
    "HeadFirst": (["head"], "its head 'last_made' does not make the logits"),
    "ListedNorm": (
        ["converted", "one image", "float64", "stacked"],
        "'norms' is a list that holds batch normalisation",
    ),
    "AsksForTheClass": (["converted"], "it may ask isinstance"),
    "WrongHeadName": (["head"], "its head 'classifier' is no layer of it"),
    "FrozenHead": (["head"], "its head 'head' has no parameter that is trained"),
    "Unsaved": (["saved and loaded"], "loads the saved weights has different logits"),
    "WaysInside": (["resized"], "'head.weight' has shape"),
    "no_module": (["builds"], "returned str; expected a torch.nn.Module"),
}
ADVICE = {"every gradient", "float64", "buffers unchanged", "inductive", "stacked", "other images"}


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution on the path with backbones that break the contract, each in its way."""
    (tmp_path / "broken_nets.py").write_text(BROKEN)
    info = tmp_path / "broken_nets-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-nets\nVersion: 0.3\n")
    (tmp_path / "needy_nets.py").write_text("import no_such_library\n")
    names = [*DEFECTS, "Net", "Three", "Four"]
    points = "".join(f"{name} = broken_nets:{name}\n" for name in names)
    points += "Nowhere = no_such_module:Net\nNeedy = needy_nets:Net\n"
    (info / "entry_points.txt").write_text(f"[l2l_omniglot.backbones]\n{points}")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def failed(report: BackboneReport) -> dict[str, str]:
    return {f.check: f.reason for f in report.findings if f.outcome == "failed"}


@pytest.mark.parametrize(
    "name", ["basenet", "cnn4", "Net", pytest.param("fc", marks=pytest.mark.slow)]
)
def test_good_backbones_pass_every_check(broken: Path, name: str):
    report = check_backbone(name)
    assert [f.check for f in report.findings] == [check.name for check in CHECKS]
    assert {f.outcome for f in report.findings} == {"passed"}, report
    assert report.broken == []


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_named(broken: Path, name: str):
    checks, reason = DEFECTS[name]
    report = check_backbone(name)
    found = failed(report)
    assert set(found) == set(checks), found
    assert re.search(reason, found[checks[0]]), found[checks[0]]
    assert set(report.broken) == set(checks) - ADVICE
    assert all(f.fix for f in report.findings if f.outcome == "failed")


def test_advice_is_advice():
    assert {check.name for check in CHECKS if not check.required} == ADVICE


def test_what_a_failed_check_may_explain_is_unclear(broken: Path):
    found = {f.check: f for f in check_backbone("no_module").findings}
    assert (found["imports"].outcome, found["builds"].outcome) == ("passed", "failed")
    assert found["logits"].after == ("builds", "tolerates keywords", "no running statistics")
    others = {f.outcome for name, f in found.items() if name not in {"imports", "builds"}}
    assert others == {"unclear"}


def test_one_fault_does_not_hide_the_next(broken: Path):
    report = check_backbone("Four")
    assert set(failed(report)) == {
        "builds", "tolerates keywords", "same output", "head", "stacked",
    }, failed(report)  # fmt: skip
    assert "unless they draw the same random numbers" in failed(report)["same output"]
    assert not [f.check for f in report.findings if f.outcome == "unclear"]


def test_a_wrong_number_of_outputs_does_not_hide_what_cannot_learn(broken: Path):
    found = failed(check_backbone("Three"))
    assert found["ways"] == "returned (5, 3); expected (5, 2)"
    assert "'spare', 'scale'" in found["every gradient"]
    assert set(found) == {"ways", "every gradient", "gradient"}, found


def test_a_missing_module_is_said_to_be_missing(broken: Path):
    for name, said in {
        "Nowhere": "there is no module 'no_such_module', which its entry point "
        "'no_such_module:Net' names",
        "Needy": "it needs the module 'no_such_library', which is not installed",
    }.items():
        reason = f"backbone '{name}' of broken-nets 0.3 does not import: {said}"
        assert failed(check_backbone(name)) == {"imports": reason}
        with pytest.raises(BackboneError, match=re.escape(reason)):
            make_backbone(name, ways=5)


def test_every_need_is_a_check_before_it():
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    for number, check in enumerate(CHECKS):
        assert set(check.needs) <= set(names[:number]), check.name


def test_global_random_state_is_left_alone(broken: Path):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    check_backbone("Drops")
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


def test_the_command_prints_reason_and_fix_and_ends_with_5(broken: Path):
    done = run_cli("check-backbone", "HeadFirst", env=on_path(broken))
    assert done.returncode == 5
    assert re.search(r"^HeadFirst of broken-nets 0\.3$", done.stdout, re.M)
    assert max(map(len, done.stdout.split("\n\n")[1].splitlines())) <= 80  # the table
    assert re.search(r"^builds +passed +2, 5, 20 ways$", done.stdout, re.M)
    assert re.search(r"^head +FAILED", done.stdout, re.M)
    assert "does not make the logits" in done.stdout
    assert "Fix: set the attribute head_name" in done.stdout
    assert done.stderr == "Error: backbone 'HeadFirst' breaks its contract: head\n"


def test_the_command_lets_advice_pass(broken: Path):
    done = run_cli("check-backbone", "Conv1d", env=on_path(broken))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^stacked +advice", done.stdout, re.M)


def test_the_command_prints_json(broken: Path):
    done = run_cli("check-backbone", "Drops", "--json", env=on_path(broken))
    assert done.returncode == 5
    found = json.loads(done.stdout)
    assert (found["backbone"], found["package"]) == ("Drops", "broken-nets 0.3")
    assert found["broken"] == ["same output"]
    assert [f["check"] for f in found["findings"]] == [check.name for check in CHECKS]
    assert set(found["findings"][0]) == {
        "check", "required", "outcome", "reason", "fix", "after",
    }  # fmt: skip


def test_an_unknown_name_lists_the_known():
    with pytest.raises(BackboneError, match="'resnet18': expected one of basenet, cnn4, conv4, fc"):
        check_backbone("resnet18")
    assert run_cli("check-backbone", "resnet18").returncode == 5


def on_path(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
