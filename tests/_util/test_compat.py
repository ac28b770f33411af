import importlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # new processes, for what they import


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def test_learn2learn_imports_quietly_beside_this_numpy_and_torch():
    done = python("import l2l_omniglot._util.compat as c; print(c.l2l.__version__)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.2.0\n", "")


def test_plain_import_works_once_the_package_was_imported():
    done = python("import l2l_omniglot._util.compat, learn2learn, torchvision; print('ok')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_operators_are_declared_only_where_they_are_missing():
    done = python(
        "import l2l_omniglot._util.compat as c, torch; c._declare_torchvision_operators(); "
        "print(hasattr(torch.ops.torchvision, 'nms'), hasattr(torch.ops.torchvision, 'qnms'))"
    )
    assert (done.returncode, done.stdout) == (0, "True True\n")


def test_gym_notice_table_is_empty():
    importlib.import_module("l2l_omniglot._util.compat")
    notices = pytest.importorskip("gym_notices.notices")
    assert notices.notices == {}


def test_what_is_seldom_used_is_loaded_when_it_is_used():
    done = python(
        "import sys, l2l_omniglot._util.compat as c; "
        "print([name in sys.modules for name in c._SPARED]); "
        "import torchvision; "
        "print(torchvision.models.resnet18.__name__, torchvision.ops.nms.__name__)"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[False, False, False]\nresnet18 nms\n"


def test_what_is_used_while_learn2learn_is_imported_is_loaded_at_once():
    compat = importlib.import_module("l2l_omniglot._util.compat")
    name = "xml.dom.minicompat"
    sys.modules.pop(name, None)
    with compat._loaded_when_used(name):
        assert importlib.import_module(name).StringTypes == (str,)
        assert sys.modules[name].__file__
    assert sys.modules[name].__file__
