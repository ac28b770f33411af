"""The page as a folder: what is written, what is refused; no browser."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import run_cli

from l2l_omniglot.errors import DownloadError, SettingsError
from l2l_omniglot.experiments.checkpoint import Checkpoint
from l2l_omniglot.experiments.weights import find_weights
from l2l_omniglot.page.folder import POLICY, check_weights, write_folder


def test_weights_that_adapt_are_refused(zero_head: Path, trained_head: Path, tmp_path: Path):
    for weights, head in ((zero_head, "zero"), (trained_head, "trained")):
        done = run_cli("draw", "--export", "site", "--weights", str(weights))
        assert done.returncode == 2 and not (tmp_path / "site").exists()
        assert f"5 inner steps, head '{head}', statistics 'support'" in done.stderr
        assert "expected weights without steps" in done.stderr
    with pytest.raises(SettingsError, match="mine: 0 inner steps, .* statistics 'support'"):
        check_weights(support_statistics(), "mine")


def support_statistics() -> Checkpoint:
    found = find_weights("resnet8")
    return replace(found, settings=replace(found.settings, statistics="support"))


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine.txt").touch()
    done = run_cli("draw", "--export", "site")
    assert done.returncode == 2
    assert "site: is not empty; expected a new folder, or an empty one" in done.stderr


def test_offline_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("L2L_OMNIGLOT_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"onnxruntime-web-[\d.]+tgz: not downloaded, because"):
        write_folder(find_weights("resnet8"), "resnet8", tmp_path / "site")
    assert list(tmp_path.iterdir()) == []


def test_the_policy_allows_web_assembly_and_nothing_from_elsewhere():
    assert POLICY.startswith("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src")
    assert "unsafe-inline" not in POLICY and "frame-ancestors" not in POLICY


def test_what_a_server_needs_is_refused(tmp_path: Path):
    done = run_cli("draw", "--export", "site", "--port", "80")
    assert done.returncode == 2 and not (tmp_path / "site").exists()
    assert "--export with --port: no server is started; expected one of both" in done.stderr
