"""Contact sheets of classes and tasks: as pictures, on terminals, by the command line."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import run_cli
from PIL import Image

from l2l_omniglot.cli import cli
from l2l_omniglot.data.sidecar import Sidecar
from l2l_omniglot.data.stack import ImageStack
from l2l_omniglot.data.tasks import Tasks
from l2l_omniglot.errors import DataError, SettingsError
from l2l_omniglot.experiments.experiment import Experiment
from l2l_omniglot.experiments.readers import open_data
from l2l_omniglot.experiments.settings import make_settings
from l2l_omniglot.reports.contact_sheet import (
    ContactSheet,
    Row,
    as_pixels,
    class_name,
    class_sheet,
    task_sheet,
    to_image,
)
from l2l_omniglot.reports.font import font_for, writable
from l2l_omniglot.reports.terminal import SIDE, check_encoding, to_text


@pytest.fixture
def npy(tmp_path: Path, stack: ImageStack) -> str:
    """The stack as a file, with its sidecar."""
    path = tmp_path / "own.npy"
    np.save(path, stack._array)
    sidecar = Sidecar(stack.info, "test", 28, "white", stack.sha256)
    path.with_suffix(".json").write_text(sidecar.to_json())
    return str(path)


def square(side: int = 8) -> ContactSheet:
    """One image: ink in the upper left quarter."""
    pixels = np.full((side, side), 255, np.uint8)
    pixels[: side // 2, : side // 2] = 0
    return ContactSheet("a square", ("",), (Row("quarter", ((pixels,),)),))


def test_ink_is_drawn_where_it_is():
    lines = to_text(square(), 80).split("\n")
    assert lines == ["a square", "", "quarter", "████", "████", "", ""]


def test_a_single_dot_is_drawn_where_it_is():
    pixels = np.full((5, 4), 255, np.uint8)
    pixels[3, 1] = pixels[4, 2] = 0
    sheet = ContactSheet("dot", ("",), (Row("x", ((pixels,),)),))
    assert to_text(sheet, 80).split("\n")[3:] == ["", " ▄", "  ▀"]


@pytest.mark.parametrize("width", [20, 80, 132])
def test_no_line_is_wider_than_the_terminal_but_for_one_image(stack: ImageStack, width: int):
    lines = to_text(task_sheet(Tasks(stack, range(60), queries=4), 0), width).split("\n")
    assert max(map(len, lines)) <= max(width, SIDE + 3)


def test_large_images_are_made_smaller():
    lines = to_text(square(105), 200).split("\n")[3:]
    assert len(lines) == SIDE // 2 and lines[0] == "█" * (SIDE // 2)


def test_an_encoding_without_half_blocks_is_refused():
    check_encoding("utf-8")
    check_encoding("cp437")
    for encoding in ("latin-1", "ascii", "no-such"):
        with pytest.raises(SettingsError, match=f"{encoding} cannot show half blocks; .* --out"):
            check_encoding(encoding)


def test_a_picture_of_a_task_holds_the_task(stack: ImageStack):
    tasks = Tasks(stack, range(60), ways=3, shots=2, queries=4)
    picture = np.asarray(to_image(task_sheet(tasks, 7)).convert("L"))
    task = tasks[7]
    for images in (task.support, task.query):
        for pixels in as_pixels(images, stack):
            big = pixels.repeat(2, axis=0).repeat(2, axis=1)
            assert contains(picture, big)
    elsewhere = as_pixels(tasks[8].support, stack)[0].repeat(2, axis=0).repeat(2, axis=1)
    assert not contains(picture, elsewhere)


def contains(picture: np.ndarray, part: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(picture, part.shape)
    corners = np.argwhere(
        (windows[..., 0, 0] == part[0, 0]) & (windows[..., 28, 28] == part[28, 28])
    )
    return any(np.array_equal(windows[y, x], part) for y, x in corners)


@pytest.mark.parametrize("ink", ["white", "black"])
def test_people_see_dark_ink_on_white_whatever_the_network_sees(ink):
    array = np.full((10, 3, 1, 8, 8), 255, np.uint8)
    array[:, :, :, 3] = 0
    stack = ImageStack(array, ink=ink)
    [pixels] = as_pixels(stack.images([0], [0]), stack)
    assert np.array_equal(pixels, array[0, 0, 0])


def test_coloured_images_are_shown_as_stored():
    array = np.random.default_rng(0).integers(0, 256, (10, 3, 3, 8, 8)).astype(np.uint8)
    for background in ("white", "black"):
        stack = ImageStack(array, background=background, ink="white")
        [pixels] = as_pixels(stack.images([1], [2]), stack)
        assert np.array_equal(pixels, array[1, 2].transpose(1, 2, 0))
        assert to_image(class_sheet(stack, [0, 1], 9, "colours")).mode == "RGB"


def test_rotated_and_mirrored_classes_say_so(stack: ImageStack):
    tasks = Tasks(stack, range(60), rotations=True, mirrors=True)
    name = stack.names[3]
    assert class_name(tasks, 3) == name
    assert class_name(tasks, 63) == f"{name} (rotated 90 degrees)"
    assert class_name(tasks, 3 + 6 * 60) == f"{name} (mirrored, rotated 180 degrees)"


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_show_task_shows_the_task_that_train_and_evaluate_use(part: str, npy: str):
    settings = make_settings(data=npy, queries=3, seed=5)
    experiment = Experiment.build(settings, open_data(settings))
    seed = 0 if part == "test" else 5  # evaluate's own, and the run's
    task = experiment.tasks(part, seed=seed if part == "test" else None)[4]
    arguments = ["show", "task", "4", "--data", npy, "--queries", "3", "--part", part]
    if part != "test":
        arguments += ["--seed", "5"]
    done = CliRunner().invoke(cli, [*arguments, "--out", "task.png"])
    assert done.exit_code == 0, done.output
    picture = np.asarray(Image.open("task.png").convert("L"))
    for images in (task.support, task.query):
        for pixels in as_pixels(images, experiment.stack):
            assert contains(picture, pixels.repeat(2, axis=0).repeat(2, axis=1))


def test_show_task_takes_the_settings_of_a_run(npy: str, trained_head: Path):
    arguments = ["show", "task", "0", "--weights", str(trained_head), "--data", npy]
    done = CliRunner().invoke(cli, [*arguments, "--part", "train"])
    assert done.exit_code == 0, done.output
    assert "5-way 1-shot, 5 queries per class" in done.output  # train_queries of the run
    assert "mirrored" in done.output or "rotated" in done.output
    clash = CliRunner().invoke(cli, [*arguments, "--recipe", "paper"])
    assert clash.exit_code == 2 and "expected only one" in clash.output


def test_show_data_by_part_and_by_name(npy: str):
    data = ["show", "data", "--data", npy, "--items", "3"]
    done = CliRunner().invoke(cli, [*data, "--part", "test", "--classes", "4"])
    assert done.exit_code == 0, done.output
    named = [line for line in done.output.splitlines() if line.startswith("evaluation/")]
    assert len(named) == 4 and "4 of 16 classes" in done.output
    name = "background/Invented_02/character07"
    one = CliRunner().invoke(cli, [*data, "--class", name])
    assert one.output.count("character") == 1 and name in one.output
    alphabet = CliRunner().invoke(cli, [*data, "--class", "invented_02", "--classes", "50"])
    assert alphabet.output.count("Invented_02") == 20
    with pytest.raises(DataError, match="--class 'greek': no class here has that in its name"):
        CliRunner().invoke(cli, [*data, "--class", "greek"], catch_exceptions=False)


def test_show_in_real_processes(tmp_path: Path, npy: str):
    """Piped, at a width of one's own; and into a file, where only ASCII is understood, too."""
    data = ("show", "data", "--data", npy, "--classes", "2", "--items", "6")
    plain = run_cli(*data, env={"PYTHONIOENCODING": "utf-8", "COLUMNS": "60"})
    assert plain.returncode == 0, plain.stderr
    assert "\x1b" not in plain.stdout and set("▀▄█") < set(plain.stdout)
    assert max(map(len, plain.stdout.splitlines())) <= 60
    done = run_cli(*data, "--out", "new/classes.png", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Wrote new/classes.png" in done.stderr
    assert Image.open(io.BytesIO((tmp_path / "new/classes.png").read_bytes())).format == "PNG"


def test_shown_images_are_those_of_the_stack(stack: ImageStack):
    sheet = class_sheet(stack, [3, 9], 99, "two")
    assert [row.label for row in sheet.rows] == [stack.names[3], stack.names[9]]
    shown = torch.tensor(np.stack(sheet.rows[1].groups[0]))
    assert torch.equal(shown, torch.from_numpy(np.array(stack._array[9, :, 0])))


def test_names_are_written_in_a_font_that_has_them_or_escaped():
    letters = font_for(["Zickzack"], 15)
    assert writable("Zickzack", letters) == "Zickzack"
    for text in ("汉", "字"):  # with a font for them, or without
        font = font_for([text], 15)
        assert writable(text, font) in {text, ascii(text)[1:-1]}
    assert writable("a\U0010fffe b", letters) == r"a\U0010fffe b"
