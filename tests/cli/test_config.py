"""Settings from a file and from the environment: who wins over whom, and what is refused."""

import os
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import run_cli

from l2l_omniglot._util.files import CACHE_VARIABLE
from l2l_omniglot.cli import cli
from l2l_omniglot.cli.config import OTHER_VARIABLES, commands, read_config
from l2l_omniglot.data.omniglot import MIRROR_VARIABLE, SOURCE_VARIABLE
from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.run_folder import RunFolder
from l2l_omniglot.experiments.runs import RUNS_VARIABLE

FILE = """
ways = 3
data = "own.npy"

[train]
backbone = "fc"
queries = 3
iterations = 2
meta-batch-size = 1
inner-lr = 1
rotations = false
validation-every = 2
validation-tasks = 2
"""


@pytest.fixture
def config(npy: Path) -> str:
    assert npy.resolve() == Path("own.npy").resolve()
    Path("own.toml").write_text(FILE)
    return "own.toml"


def values(arguments: list[str], env: dict[str, str], monkeypatch: Any) -> dict[str, Any]:
    """What the command is called with."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    seen: dict[str, Any] = {}
    for command in commands(cli).values():
        monkeypatch.setattr(command, "callback", lambda **given: seen.update(given))
    cli.main(arguments, standalone_mode=False)
    return seen


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("text", "env", "typed", "ways"),
    [
        ("", None, None, None),
        ("ways = 3", None, None, 3),
        ("ways = 3\n[train]\nways = 4", None, None, 4),
        ("[train]\nways = 4", "6", None, 6),
        ("[train]\nways = 4", "6", "7", 7),
        ("[evaluate]\nways = 4", None, None, None),
        ("ways = 3", "", None, 3),  # an empty variable is none
    ],
)
def test_the_stronger_source_wins(
    before: bool, text: str, env: str | None, typed: str | None, ways: int | None, monkeypatch
):
    Path("own.toml").write_text(text)
    file = ["--config", "own.toml"]
    arguments = [*file, "train"] if before else ["train", *file]
    arguments += ["--ways", typed] if typed else []
    variables = {} if env is None else {"L2L_OMNIGLOT_TRAIN_WAYS": env}
    assert values(arguments, variables, monkeypatch)["ways"] == ways


def test_every_kind_of_option_has_a_key_and_a_variable(monkeypatch):
    Path("own.toml").write_text(
        '[train]\nfirst-order = false\nmeta-lr = 1\nrun-dir = "r"\nresume = "newest"\n'
        'time-limit = 0.5\ninit = "zero"\n[prepare]\nsource = ["a", "b"]\n[evaluate]\n'
        "json = true\ntasks = 9\n"
    )
    found = values(["--config", "own.toml", "train"], {}, monkeypatch)
    assert (found["first_order"], found["meta_lr"], found["run_dir"]) == (False, 1.0, Path("r"))
    assert (found["resume"], found["time_limit"]) == ("newest", 0.5)
    found = values(["--config", "own.toml", "prepare"], {}, monkeypatch)
    assert found["source"] == (Path("a"), Path("b"))
    found = values(["--config", "own.toml", "evaluate"], {}, monkeypatch)
    assert (found["json"], found["tasks"]) == (True, 9)

    variables = {
        "L2L_OMNIGLOT_TRAIN_FIRST_ORDER": "false", "L2L_OMNIGLOT_TRAIN_RUN_DIR": "r",
        "L2L_OMNIGLOT_TRAIN_RESUME": "newest", "L2L_OMNIGLOT_EVALUATE_TASKS": "9",
        "L2L_OMNIGLOT_EVALUATE_JSON": "1", "L2L_OMNIGLOT_PREPARE_SOURCE": f"a{os.pathsep}b",
    }  # fmt: skip
    found = values(["train"], variables, monkeypatch)
    assert (found["first_order"], found["run_dir"]) == (False, Path("r"))
    assert found["resume"] == "newest"
    found = values(["evaluate"], {}, monkeypatch)
    assert (found["json"], found["tasks"]) == (True, 9)
    assert values(["prepare"], {}, monkeypatch)["source"] == (Path("a"), Path("b"))


def sample(option: click.Option) -> tuple[str, object]:
    """A value for an option in the environment, and what the command gets of it."""
    if option.is_flag:
        return "1", True
    kind = option.type
    if isinstance(kind, click.Choice):
        return kind.choices[-1], kind.choices[-1]
    if isinstance(kind, click.types.IntParamType):
        return "9", 9
    if isinstance(kind, click.types.FloatParamType):
        return "0.5", 0.5
    text = "5w1s" if option.name == "settings" else "some"
    text += "".join(getattr(kind, "suffixes", ())[:1])
    value: object = Path(text) if isinstance(kind, click.Path) else text
    return text, [text] if option.callback and option.default else value


@pytest.mark.parametrize("name", sorted(commands(cli)))
def test_every_option_has_the_variable_that_is_named_after_it(name: str, monkeypatch):
    seen: dict[str, object] = {}
    program = commands(cli)
    monkeypatch.setattr(program[name], "callback", lambda **given: seen.update(given))
    arguments = ["0"] if name == "show task" else ["x", "y"][: len(arguments_of(program[name]))]
    for option in program[name].params:
        if not isinstance(option, click.Option) or not option.expose_value:
            continue
        word = max(option.opts, key=len).lstrip("-")
        variable = f"L2L_OMNIGLOT_{name}_{word}".replace("-", "_").replace(" ", "_").upper()
        text, expected = sample(option)
        with monkeypatch.context() as changed:
            changed.setenv(variable, text)
            required = [] if name != "export" or word == "out" else ["--out", "a.onnx"]
            cli.main([*name.split(), *arguments, *required], standalone_mode=False)
        found = seen[str(option.name)]
        assert found == ((expected,) if option.multiple else expected), variable


def arguments_of(command: click.Command) -> list[click.Argument]:
    return [each for each in command.params if isinstance(each, click.Argument) and each.required]


def test_no_option_has_the_variable_of_something_else():
    for name, command in commands(cli).items():
        names = [option.name for option in command.params]
        assert len(set(names)) == len(names), name
    taken = {CACHE_VARIABLE, SOURCE_VARIABLE, MIRROR_VARIABLE, RUNS_VARIABLE}
    assert taken == set(OTHER_VARIABLES)
    assert not taken & {f"L2L_OMNIGLOT_{option.name}".upper() for option in cli.params}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("way = 3", "'way': expected an option of any command; did you mean 'ways'?"),
        ("[train]\nway = 3", "[train] 'way': expected an option of train; did you mean 'ways'?"),
        ("[train]\ninner_lr = 3", "[train] 'inner_lr': expected an option of train; did you mean"),
        ("[trian]", "section [trian]: no such command; expected one of "),
        ("[train]\nways = '3'", '[train] ways = "3": expected a whole number'),
        ("[train]\nways = 3.0", "[train] ways = 3.0: expected a whole number"),
        ("[train]\nways = true", "[train] ways = true: expected a whole number"),
        ("[train]\nmeta-lr = true", "[train] meta-lr = true: expected a number"),
        ("[train]\nrotations = 1", "[train] rotations = 1: expected true or false"),
        ("[train]\nbackbone = 1", "[train] backbone = 1: expected a text in quotes"),
        ('[train]\ndata = "a\\u0000b"', r"[train] data = 'a\x00b': expected a text without null"),
        ('[predict]\nout = "a\\u0000b"', r"[predict] out = 'a\x00b': expected a text without null"),
        ("[train]\nbackbone = []", "[train] backbone = []: expected a text in quotes"),
        ("[train]\nseed = 2026-01-01", '[train] seed = "2026-01-01": expected a whole number'),
        ("[prepare]\nsource = 'a'", '[prepare] source = "a": expected a list of texts'),
        ("[train]\nno-rotations = true", "the other side of an option; expected rotations = false"),
        ("[train]\nrecipe = 'papr'", "[train] recipe: 'papr': expected one of default, tutorial, "),
        ("[evaluate]\ntasks = 1", "[evaluate] tasks: 1 is not in the range 2<=x<=10000000"),
        ("config = 'x'", "'config': expected an option of any command"),
        ("train = 5", "'train': expected an option of any command"),
        ("ways = '3'", 'ways (of train) = "3": expected a whole number'),
        ("ways = ", "not a readable TOML file: Invalid value"),
        (f"seed = {'9' * 5000}", "not a readable TOML file: a number of too many digits"),
        ("ways = 1\nways = 2", "not a readable TOML file: Cannot overwrite"),
    ],
)
def test_what_is_wrong_with_a_file_is_quoted_with_what_was_needed(text: str, said: str):
    path = Path("own.toml")
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_config(path, cli)
    assert said in str(caught.value)
    assert "own.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_variable_of_no_option_is_named():
    done = run_cli("pretrained", env={"L2L_OMNIGLOT_TRAIN_WAY": "5"})
    assert done.returncode == 0
    assert "Note: unknown variable L2L_OMNIGLOT_TRAIN_WAY; " in done.stderr
    assert "did you mean 'L2L_OMNIGLOT_TRAIN_WAYS'?" in done.stderr


def test_a_run_by_file_is_resumed_with_it(config: str):
    done = run_cli("--config", config, "train", "--run-dir", "run", "--verbose")
    assert done.returncode == 0, done.stderr
    settings = RunFolder(Path("run")).read_settings()
    assert (settings.ways, settings.backbone, settings.rotations) == (3, "fc", False)
    assert (settings.inner_lr, settings.meta_lr) == (1.0, 2e-3)  # of the file, of the recipe
    assert "--ways 3 (from own.toml)" in done.stderr
    assert "own.npy, 60 classes of 20 images" in done.stderr
    assert "The command train took" in done.stderr

    again = run_cli("train", "--config", config, "--resume", "run", "--iterations", "4")
    assert again.returncode == 0, again.stderr
    assert "iterations 2 to 4" in again.stderr
    typed = run_cli("train", "--config", config, "--resume", "run", "--inner-lr", "0.5")
    assert typed.returncode == 2
    assert "with inner-lr 0.5: the run has 1.0; only --iterations" in typed.stderr
    Path(config).write_text(FILE.replace("ways = 3", "ways = 4"))
    other = run_cli("train", "--config", config, "--resume", "run")
    assert other.returncode == 2
    assert "with ways 4 (from own.toml): the run has 3; only --iterations" in other.stderr
    named = run_cli("train", "--resume", "run", env={"L2L_OMNIGLOT_TRAIN_SEED": "1"})
    assert named.returncode == 2
    assert "with seed 1 (from the variable L2L_OMNIGLOT_TRAIN_SEED): the run" in named.stderr


def test_two_options_that_exclude_each_other_are_an_error_wherever_they_come_from(config: str):
    assert run_cli("--config", config, "train", "--run-dir", "one").returncode == 0
    Path(config).write_text(FILE + 'run-dir = "other"\n')
    for done in (
        run_cli("--config", config, "train", "--resume", "one"),
        run_cli("train", "--resume", "one", env={"L2L_OMNIGLOT_TRAIN_RUN_DIR": "other"}),
        run_cli("train", "--resume", "one", "--run-dir", "other"),
    ):
        assert (done.returncode, "expected only one" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("text", "typed", "said"),
    [
        ("", ["--protocol", "lake"], "expected any or 20 ways"),
        ('[evaluate]\nprotocol = "lake"', [], "expected any or 20 ways"),
        ("seed = 1", ["--protocol", "lake"], r"with --seed \(from own.toml\): the protocol"),
        ('[evaluate]\nprotocol = "lake"', ["--shots", "2"], "with --shots: the protocol"),
        ("", ["--protocol", "lake", "--tasks", "500"], "with --tasks: the protocol"),
        ("", [], "expected both or neither"),
    ],
)
def test_the_one_shot_runs_go_with_no_options_for_tasks(text: str, typed: list[str], said: str):
    Path("own.toml").write_text(text)
    arguments = ["--config", "own.toml", "evaluate", "--weights", "conv4", "--runs", "x"]
    with pytest.raises(click.UsageError, match=said):
        cli.main([*arguments, *typed], standalone_mode=False)


def test_sections_are_stronger_than_keys_at_the_top():
    for text in ("ways = 3\n[train]\nways = 4\n", "\ufeffways = 3\n[train]\nways = 4\n"):
        Path("own.toml").write_text(text)
        found = read_config(Path("own.toml"), cli)
        assert (found["train"]["ways"], found["evaluate"]["ways"]) == (4, 3)


def test_the_later_file_goes_before_the_earlier(monkeypatch):
    Path("one.toml").write_text("ways = 3\nshots = 3\n")
    Path("two.toml").write_text("ways = 4\n")
    arguments = ["--config", "one.toml", "train", "--config", "two.toml"]
    found = values(arguments, {}, monkeypatch)
    assert (found["ways"], found["shots"]) == (4, 3)


@pytest.mark.parametrize(
    ("text", "variable", "said"),
    [
        ("[train]\nways = 1", "", "^--ways 1: expected at least 2 \\(from own.toml\\)$"),
        ("", "1", "^--ways 1: .* \\(from the variable L2L_OMNIGLOT_TRAIN_WAYS\\)$"),
    ],
)
def test_a_value_out_of_range_is_told_with_its_option_and_where_it_came_from(
    text: str, variable: str, said: str, monkeypatch
):
    Path("own.toml").write_text(text)
    monkeypatch.setenv("L2L_OMNIGLOT_TRAIN_WAYS", variable)
    with pytest.raises(SettingsError, match=said):
        cli.main(["--config", "own.toml", "train"], standalone_mode=False)


def test_a_command_of_a_command_has_its_section_and_variables(tmp_path: Path):
    path = tmp_path / "show.toml"
    path.write_text('data = "synthetic"\n[show.data]\nclasses = 2\nitems = 3\n')

    def shown(*arguments: str, **variables: str) -> str:
        done = run_cli(*arguments, env={**os.environ, **variables})
        assert done.returncode == 0, done.stderr
        assert "unknown variable" not in done.stderr
        return done.stdout + done.stderr

    for arguments in (
        ("--config", str(path), "show", "data"),
        ("show", "--config", str(path), "data"),
        ("show", "data", "--config", str(path)),
    ):
        assert "2 of " in shown(*arguments)
        assert "4 of " in shown(*arguments, L2L_OMNIGLOT_SHOW_DATA_CLASSES="4")
        assert "3 of " in shown(*arguments, "--classes", "3", L2L_OMNIGLOT_SHOW_DATA_CLASSES="4")
    for wrong, said in (
        ("[show.dta]\nclasses = 2\n", "did you mean 'show.data'"),
        ("[show]\nclasses = 2\n", "expected one of show.data, show.task"),
        ("[show.data]\nclases = 2\n", "did you mean 'classes'"),
    ):
        path.write_text(wrong)
        done = run_cli("--config", str(path), "show", "data")
        assert done.returncode in {2, 5}, done.stderr
        assert said in done.stderr
