import csv
import json
import shutil
import signal
from pathlib import Path

import pytest
from conftest import put_into_cache, run_cli
from PIL import Image
from processes import Started

from l2l_omniglot.errors import SettingsError
from l2l_omniglot.experiments.reproduce import Condition, ConditionResult, conditions, read_result
from l2l_omniglot.meta.evaluation import Evaluation

SMALL = (
    "reproduce", "--settings", "5w1s", "--backbones", "fc", "--algorithms", "maml,anil",
    "--data", "synthetic", "--iterations", "2", "--tasks", "3", "--out", "grid",
)  # fmt: skip


@pytest.mark.slow
def test_a_grid_is_trained_evaluated_and_written_down():
    done = run_cli(*SMALL)
    assert done.returncode == 0, done.stderr
    page = Path("grid/results.md").read_text()
    assert "| ours | 5w1s | fc | anil | default | 2 of 2 | 2 |" in page
    for line in done.stdout.splitlines()[2:4]:  # what is printed is in the page, too
        *what, transductive, _, ci95, inductive, _, _ = line.split()
        assert f"| {' | '.join(what)} |" in page
        assert f"{transductive} ± {ci95} %" in page and f"{inductive} ± " in page
    results = json.loads(Path("grid/results.json").read_text())
    assert [result["algorithm"] for result in results] == ["maml", "anil"]
    for result in results:
        assert (result["tasks"], result["iteration"], result["published"]) == (3, 2, None)
        for mode in ("transductive", "inductive"):
            assert len(result[mode]["accuracy_per_step"]) == result["steps"] + 1
    with Path("grid/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["algorithm"] for row in rows] == ["maml", "anil"]
    for row, result in zip(rows, results, strict=True):
        last = result["inductive"]["accuracy_per_step"][-1]
        assert float(row["inductive_accuracy"]) == last
    with Image.open("grid/steps.png") as image:
        assert image.size[0] > 800 and len(image.convert("RGB").getcolors(10**6)) > 10

    weights = Path("grid/5w1s-fc-anil/last.safetensors").read_bytes()
    again = run_cli(*SMALL)  # nothing is left to train
    assert again.returncode == 0, again.stderr
    assert Path("grid/5w1s-fc-anil/last.safetensors").read_bytes() == weights
    assert (
        json.loads(Path("grid/results.json").read_text())[0]["transductive"]
        == (results[0]["transductive"])
    )

    other = run_cli(*SMALL, "--seed", "1")
    assert other.returncode == 6
    assert "holds a run with other settings" in other.stderr


@pytest.mark.slow
def test_a_budget_stops_each_cell_and_the_same_command_goes_on():
    arguments = [word.replace("2", "1000000") if word == "2" else word for word in SMALL]
    first = run_cli(*arguments, "--budget", "0.015")
    assert first.returncode == 0, first.stderr
    iterations = [r["iteration"] for r in json.loads(Path("grid/results.json").read_text())]
    assert all(0 < iteration < 1000000 for iteration in iterations)
    second = run_cli(*arguments, "--budget", "0.015")
    assert second.returncode == 0, second.stderr
    more = [r["iteration"] for r in json.loads(Path("grid/results.json").read_text())]
    assert all(now > before for now, before in zip(more, iterations, strict=True))


def start(*arguments: str) -> Started:
    """Starts the command, with a line of progress after a tenth of a second instead of ten."""
    code = "from l2l_omniglot.cli import console, main; console.SECONDS_A_LINE = 0.1; main()"
    return Started(["-c", code, *arguments])


@pytest.mark.slow
def test_ctrl_c_in_training_saves_and_in_evaluation_ends_at_once():
    long = [word.replace("2", "1000000") if word == "2" else word for word in SMALL]
    process = start(*long)
    process.wait_for("iteration ")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert Path("grid/5w1s-fc-maml/last.safetensors").is_file()

    shutil.rmtree("grid")
    many = [word.replace("3", "100000") if word == "3" else word for word in SMALL]
    process = start(*many)
    process.wait_for("evaluating: ")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Stopped" in said
    assert not Path("grid/5w1s-fc-anil").exists()
    again = run_cli(*SMALL)
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_processes_share_the_conditions_and_go_on_with_those_of_a_killed_one():
    code = (
        "import signal, sys; from l2l_omniglot.experiments.training import TrainingRun\n"
        "def pause(*_): print('training', file=sys.stderr, flush=True); signal.pause()\n"
        "TrainingRun.train = pause; from l2l_omniglot.cli import main; main()"
    )
    killed = Started(["-c", code, *SMALL])
    killed.wait_for("training")
    other = start(*SMALL)
    other.wait_for("Waiting for 5w1s-fc-maml, where other processes are.")
    assert Path("grid/5w1s-fc-anil/result.json").is_file()
    killed.kill()
    killed.communicate(timeout=60)
    _, said = other.communicate(timeout=60)
    assert other.returncode == 0, said
    results = json.loads(Path("grid/results.json").read_text())
    assert [result["algorithm"] for result in results] == ["maml", "anil"]
    for name, sessions in (("maml", 2), ("anil", 1)):  # the killed one's was begun, no more
        config = json.loads(Path(f"grid/5w1s-fc-{name}/config.json").read_text())
        assert len(config["sessions"]) == sessions

    written = [path.stat().st_mtime_ns for path in sorted(Path("grid").glob("*/result.json"))]
    two = [start(*SMALL), start(*SMALL)]
    assert [process.communicate(timeout=60)[0] and process.returncode for process in two] == [0, 0]
    again = [path.stat().st_mtime_ns for path in sorted(Path("grid").glob("*/result.json"))]
    assert again == written


@pytest.mark.slow
def test_results_of_several_grids_in_a_folder_stay_together():
    def algorithms() -> list[str]:
        return [r["algorithm"] for r in json.loads(Path("grid/results.json").read_text())]

    one = [word.replace("maml,anil", "maml") for word in SMALL]
    other = [word.replace("maml,anil", "anil") for word in SMALL]
    assert run_cli(*one).returncode == 0
    assert algorithms() == ["maml"]
    written = Path("grid/5w1s-fc-maml/result.json").stat().st_mtime_ns
    assert run_cli(*other).returncode == 0
    assert sorted(algorithms()) == ["anil", "maml"]
    assert Path("grid/5w1s-fc-maml/result.json").stat().st_mtime_ns == written
    Path("grid/5w1s-fc-maml/result.json").write_text("{")
    broken = run_cli(*one)
    assert broken.returncode == 6 and "result.json: cannot be read" in broken.stderr


@pytest.mark.slow
def test_a_papers_protocol_sets_split_tasks_and_queries_and_shows_its_figures(raw_npy: Path):
    put_into_cache(raw_npy)
    words = (
        "reproduce", "--settings", "5w1s", "--backbones", "fc", "--iterations", "1",
        "--protocol", "maml++", "--tasks", "3", "--algorithms", "maml++",
    )  # fmt: skip
    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    assert "99.47 % (Antoniou et al. 2019, transductive)" in done.stdout
    (result,) = json.loads(Path("reproduce/results.json").read_text())
    assert (result["protocol"], result["settings"]["split"]) == ("maml++", "maml++")
    per_task = result["inductive"]["accuracy_per_task"]
    assert all(accuracy * 5 == pytest.approx(round(accuracy * 5)) for accuracy in per_task)
    assert read_result(Path("reproduce/5w1s-fc-maml++/result.json")).to_dict() == result
    clash = run_cli(*words, "--split", "random")
    assert clash.returncode == 2 and "--split random: the protocol sets it" in clash.stderr


def published(protocol: str, algorithm: str, setting: str, data: str = "omniglot") -> str:
    condition = Condition(setting, "basenet", algorithm)
    evaluation = Evaluation(2, 0, {})
    settings = condition.settings(data=data)
    result = ConditionResult(condition, settings, protocol, 1, 1, 0.1, evaluation)
    return str(result.published or "")


def test_published_figures_stand_beside_ours_under_the_same_protocol_only():
    assert published("snell", "protonet", "20w1s") == "96 % (Snell et al. 2017, inductive)"
    assert published("finn", "maml", "5w1s") == "98.7 ± 0.4 % (Finn et al. 2017, transductive)"
    nichol = "(Nichol et al. 2018, transductive)"
    assert published("finn", "anil", "20w1s") == "96.2 ± 0.5 % (Raghu et al. 2020, transductive)"
    assert published("finn", "anil", "5w1s") == ""
    assert published("finn", "reptile", "20w5s") == f"97.12 ± 0.32 % {nichol}"
    assert published("ours", "maml", "5w1s") == published("snell", "maml", "5w1s") == ""
    assert published("snell", "protonet", "20w1s", "synthetic") == ""
    assert Condition("20w5s", "cnn4", "maml").settings().ways == 20
    assert len(conditions(["5w1s", "5w5s"], ["fc"], ["maml", "anil"])) == 4
    paper = conditions(["20w1s"], ["cnn4"], ["reptile"], "paper")[0]
    assert paper.name == "20w1s-cnn4-reptile-paper"
    assert paper.settings().iterations == 200_000  # Nichol et al.'s, not the default's
    with pytest.raises(SettingsError, match="'6w': expected one of 5w1s"):
        conditions(["6w"], ["fc"], ["maml"])
