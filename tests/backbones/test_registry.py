import sys
from pathlib import Path

import pytest
import torch

from l2l_omniglot.backbones.registry import list_backbones, make_backbone
from l2l_omniglot.errors import BackboneError

PLUGIN = """
from torch import nn

def good(*, ways, channels, image_size, **options):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, ways))

def narrow(*, ways):
    return nn.Linear(1, ways)

def no_module(**options):
    return "not a module"
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution on the path, with good and bad entry points."""
    (tmp_path / "stranger_nets.py").write_text(PLUGIN)
    (tmp_path / "stranger_broken.py").write_text("import no_such_package_anywhere")
    info = tmp_path / "stranger_nets-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-nets\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[l2l_omniglot.backbones]\n"
        "tiny = stranger_nets:good\n"
        "narrow = stranger_nets:narrow\n"
        "text = stranger_nets:no_module\n"
        "broken = stranger_broken:net\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_own_backbones_are_registered():
    entries = {entry.name: entry for entry in list_backbones()}
    assert {"basenet", "cnn4", "fc"} <= set(entries)
    assert entries["cnn4"].package.startswith("l2l-omniglot ")


@pytest.mark.parametrize("name", ["basenet", "cnn4", "fc"])
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 28), (1, 40), (2, (16, 24))])
def test_own_backbones_keep_the_contract(name, channels, size):
    height, width = (size, size) if isinstance(size, int) else size
    network = make_backbone(name, ways=4, channels=channels, image_size=size, unknown="ignored")
    logits = network(torch.rand(6, channels, height, width))
    assert logits.shape == (6, 4)
    logits.sum().backward()


def test_cnn4_is_learn2learns_network():
    network = make_backbone("cnn4", ways=5)
    assert type(network).__module__.startswith("learn2learn")
    assert sum(p.numel() for p in network.parameters()) == 112_261
    assert type(make_backbone("fc", ways=5)).__name__ == "OmniglotFC"


def test_unknown_name_lists_the_known():
    with pytest.raises(BackboneError, match=r"'resnet': expected one of basenet, cnn4, conv4, fc"):
        make_backbone("resnet", ways=5)


def test_a_strangers_plugin_works_and_a_broken_one_breaks_nothing(stranger: None):
    entries = {entry.name: entry for entry in list_backbones()}
    assert entries["tiny"].package == "stranger-nets 1.2"
    assert "broken" in entries and "stranger_nets" not in sys.modules  # nothing is imported
    assert make_backbone("tiny", ways=3)(torch.rand(2, 1, 28, 28)).shape == (2, 3)


def test_plugins_that_break_the_contract_are_told_how(stranger: None):
    with pytest.raises(BackboneError, match=r"'broken' of stranger-nets 1\.2 does not import"):
        make_backbone("broken", ways=5)
    with pytest.raises(BackboneError, match="'narrow' .* could not be built with ways=5"):
        make_backbone("narrow", ways=5)
    with pytest.raises(BackboneError, match=r"returned str; expected a torch\.nn\.Module"):
        make_backbone("text", ways=5)
