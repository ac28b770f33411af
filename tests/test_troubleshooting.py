"""The messages in docs/troubleshooting.md are the source code's; the extras, those of setup.cfg."""

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEAST = 12  # letters that a message must have of its own, beside what is filled in


def _messages() -> Iterator[re.Pattern[str]]:
    """Every text of the package, with what is filled in left open."""
    for path in (ROOT / "l2l_omniglot").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.JoinedStr | ast.Constant):
                continue
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            fixed = [p.value if isinstance(p, ast.Constant) else None for p in parts]
            if sum(len(text) for text in fixed if isinstance(text, str)) >= LEAST:
                yield re.compile(
                    "".join(".*" if text is None else re.escape(str(text)) for text in fixed)
                )


def test_every_message_is_one_of_the_package():
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    shown = re.findall(r"^Error: (.+)$", blocks, re.MULTILINE)
    known = list(_messages())
    assert len(shown) >= 12
    for message in shown:
        why = message.partition(": ")[2]  # after the option, which the command line puts there
        assert any(p.fullmatch(message) or p.fullmatch(why) for p in known), message


def test_a_message_nobody_gives_would_be_noticed():
    assert not any(p.fullmatch("the loss went up and nobody knows why") for p in _messages())


def test_every_extra_is_listed_with_its_packages():
    extras = ConfigParser()
    extras.read(ROOT / "setup.cfg")
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.MULTILINE)
    listed = {name: set(re.findall("`([^`]+)`", packages)) for name, packages in rows}
    for name, packages in extras["options.extras_require"].items():
        if name not in {"all", "test", "dev", "docs"}:
            assert listed[name] == set(packages.split()), name
