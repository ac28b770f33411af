"""The scikit-learn classifier: scikit-learn's own checks, images in many forms."""

import io
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rounding import PROBABILITY
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

import l2l_omniglot as lo
from l2l_omniglot.classify.classifier import Classifier
from l2l_omniglot.classify.export import export_classifier, load_exported
from l2l_omniglot.classify.inputs import InputError
from l2l_omniglot.classify.predictor import predict
from l2l_omniglot.classify.preparation import Preparation
from l2l_omniglot.data.drawing import find_drawing
from l2l_omniglot.data.picture_folders import Collection, read_queries, read_support
from l2l_omniglot.experiments.weights import find_weights

NAME = "cnn4"


@pytest.fixture
def task(stack: lo.ImageStack) -> lo.Task:
    return lo.Tasks(stack, range(60), ways=5, shots=2, queries=4, name="test")[0]


@pytest.fixture
def fitted(task: lo.Task) -> lo.FewShotClassifier:
    return lo.FewShotClassifier(NAME).fit(task.support.numpy(), task.support_labels.numpy())


@pytest.mark.slow
def test_scikit_learns_own_checks_pass():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        results = check_estimator(lo.FewShotClassifier(NAME, redraw="never"), on_fail=None)
    failed = [result["check_name"] for result in results if result["status"] == "failed"]
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert not failed
    # These two ask for pandas, and for an environment variable before scipy is imported.
    assert skipped <= {"check_array_api_input", "check_classifier_data_not_an_array"}
    assert len(results) > 45


@pytest.mark.parametrize("batch_norm", ["inductive", "transductive"])
def test_it_says_what_the_classifier_says(task: lo.Task, batch_norm: str):
    expected = Classifier(
        find_weights(NAME), task.support, task.support_labels, 5, batch_norm=batch_norm
    ).probabilities(task.query)
    fitted = lo.FewShotClassifier(NAME, batch_norm=batch_norm, redraw="never")
    fitted.fit(task.support.numpy(), task.support_labels.numpy())
    found = fitted.predict_proba(task.query.numpy())
    assert found.dtype == np.float64
    torch.testing.assert_close(torch.from_numpy(found).float(), expected, atol=PROBABILITY, rtol=0)
    assert (fitted.predict(task.query.numpy()) == found.argmax(axis=1)).all()


def test_images_may_be_flat_or_grey_bytes_or_on_white_paper(fitted, task):
    expected = fitted.predict_proba(task.query.numpy())
    labels = task.support_labels.numpy()

    def same(support: np.ndarray, query: np.ndarray, **settings: str) -> bool:
        other = lo.FewShotClassifier(NAME, **settings).fit(support, labels)
        return np.allclose(other.predict_proba(query), expected, atol=PROBABILITY, rtol=0)

    support, query = task.support.numpy()[:, 0], task.query.numpy()[:, 0]
    assert same(support, query)
    assert same(support.reshape(10, -1), query.reshape(20, -1))
    assert same(255 * support, 255 * query)
    assert same(1 - support, 1 - query)  # which is ink is found out
    assert same(1 - support, 1 - query, picture_ink="dark")
    assert not same(1 - support, 1 - query, picture_ink="light")


def test_other_sizes_are_resized(task: lo.Task):
    larger = torch.nn.functional.interpolate(task.support, 56).numpy()
    query = torch.nn.functional.interpolate(task.query, 56).numpy()
    fitted = lo.FewShotClassifier(NAME).fit(larger, task.support_labels.numpy())
    assert (fitted.predict(query) == task.query_labels.numpy()).mean() > 0.6
    with pytest.raises(InputError, match=r"shape \(28, 28\): expected \(56, 56\)"):
        fitted.predict(task.query.numpy())


@pytest.mark.parametrize("redraw", ["auto", "always", "never"])
def test_images_are_prepared_as_predict_prepares_pictures(task: lo.Task, redraw: str):
    """Small drawings in a corner of the paper."""
    wide = torch.nn.functional.pad(torch.cat([task.support, task.query]), (0, 40, 0, 40))
    grey = [Image.fromarray(picture) for picture in (255 * (1 - wide[:, 0])).byte().numpy()]
    labels = [str(label) for label in task.support_labels.tolist()]
    found = [find_drawing(picture, "a") for picture in grey]
    support = Collection([Path("a")] * 10, found[:10], labels)
    query = Collection([Path("a")] * 20, found[10:], [None] * 20)
    expected = predict(find_weights(NAME), support, query, redraw=redraw)
    assert ("redrawn" in expected.prepared) == (redraw != "never")
    ink = np.stack([255 - np.asarray(picture) for picture in grey])
    fitted = lo.FewShotClassifier(NAME, redraw=redraw).fit(ink[:10], labels)
    rows = [list(entry.probabilities.values()) for entry in expected.entries]
    answers = fitted.predict_proba(ink[10:])
    np.testing.assert_allclose(answers, rows, atol=PROBABILITY, rtol=0)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(ink[10:]), answers)


def test_another_range_of_values_is_found_out(fitted, task: lo.Task):
    """As of scikit-learn's digits: 0 to 16, not 0 to 255."""
    levels = [(16 * images.numpy()).round() for images in (task.support, task.query)]
    labels = task.support_labels.numpy()
    one, other = (
        lo.FewShotClassifier(NAME, redraw="never").fit(scale * levels[0], labels)
        for scale in (1, 1 / 16)
    )
    found = other.predict_proba(levels[1] / 16)  # a power of two rounds nothing
    np.testing.assert_array_equal(one.predict_proba(levels[1]), found)


def test_what_is_of_no_class_is_known(fitted, task: lo.Task):
    square = np.zeros((1, 28, 28))
    square[0, 6:22, 6:22] = 1
    images = np.concatenate([task.query.numpy()[:, 0], square])
    told = fitted.none_of_these(images)
    assert told.dtype == bool and told[-1] and told[:-1].mean() < 0.5


def test_what_is_of_no_class_is_not_guessed(task: lo.Task):
    images = task.support.numpy()
    unsure = lo.FewShotClassifier("maml", steps=1).fit(images, task.support_labels.numpy())
    with pytest.raises(InputError, match="'maml': it does not know how sure it is after these"):
        unsure.none_of_these(images)


def test_steps_that_were_never_trained_are_refused(task: lo.Task):
    with pytest.raises(lo.L2LOmniglotError, match="steps=3: the weights were trained without"):
        lo.FewShotClassifier(NAME, steps=3).fit(task.support.numpy(), task.support_labels.numpy())


def test_a_fitted_one_can_be_exported(fitted, task: lo.Task, tmp_path: Path):
    """Its networks are float64; the file's is float32."""
    exported = export_classifier(
        fitted.classifier_, tmp_path / "a.pt2", [str(name) for name in fitted.classes_], ink="white"
    )
    run, _ = load_exported(exported.path)
    expected = fitted.predict_proba(task.query.numpy())
    usual = Preparation.of(find_weights(NAME)).images(
        [find_drawing(Image.fromarray(grey), "a", "light") for grey in
         (255 * task.query[:, 0]).round().byte().numpy()]
    )  # fmt: skip
    np.testing.assert_allclose(run(usual).detach().numpy(), expected, atol=PROBABILITY, rtol=0)


def test_labels_may_be_words_and_classes_uneven(task: lo.Task):
    words = np.array(["a", "b", "c", "d", "e"])[task.support_labels.numpy()]
    keep = [i for i in range(10) if words[i] != "c" or i == int(np.argmax(words == "c"))]
    fitted = lo.FewShotClassifier(NAME).fit(task.support.numpy()[keep], words[keep])
    assert list(fitted.classes_) == ["a", "b", "c", "d", "e"]
    assert set(fitted.predict(task.query.numpy())) <= set(words)


def test_it_pickles_and_goes_through_a_grid_search(fitted, task, trained_head: Path):
    again = pickle.loads(pickle.dumps(fitted))
    query = task.query.numpy()
    assert np.array_equal(again.predict_proba(query), fitted.predict_proba(query))
    search = GridSearchCV(lo.FewShotClassifier(NAME), {"picture_ink": ["dark", "light"]}, cv=2)
    search.fit(query.reshape(20, -1), task.query_labels.numpy())
    assert search.best_params_ == {"picture_ink": "light"}


@pytest.mark.parametrize("batch_norm", ["inductive", "transductive"])
def test_a_pickle_holds_weights_and_support_set_alone(
    task: lo.Task, trained_head: Path, batch_norm: str
):
    fitted = lo.FewShotClassifier(str(trained_head), steps=2, batch_norm=batch_norm)
    fitted.fit(task.support.numpy(), task.support_labels.numpy())
    expected = fitted.predict_proba(task.query.numpy())
    content = pickle.dumps(fitted.set_params(steps=9))  # as fitted, whatever is set afterwards
    assert len(content) < 500_000
    assert {name for name in named_in(content) if not name.startswith("numpy")} == {
        "l2l_omniglot FewShotClassifier"
    }
    again = pickle.loads(content)
    assert np.array_equal(again.predict_proba(task.query.numpy()), expected)
    assert again.classifier_.steps == 2 and again.get_params() == fitted.get_params()
    cloned = clone(again)
    assert isinstance(cloned, lo.FewShotClassifier) and not hasattr(cloned, "classifier_")
    assert np.array_equal(
        pickle.loads(pickle.dumps(again)).predict_proba(task.query.numpy()), expected
    )


def named_in(content: bytes) -> set[str]:
    """What a pickle imports: module and name."""
    found = set()

    class Recorder(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            found.add(f"{module} {name}")
            return super().find_class(module, name)

    Recorder(io.BytesIO(content)).load()
    return found


@pytest.mark.slow
def test_cross_validation_in_several_processes_gives_the_same(task: lo.Task):
    images, labels = task.query.numpy().reshape(20, -1), task.query_labels.numpy()
    found = [
        cross_val_score(lo.FewShotClassifier(NAME), images, labels, cv=2, n_jobs=jobs)
        for jobs in (1, 2)
    ]
    assert np.array_equal(*found)


def test_images_may_be_a_list(fitted, task: lo.Task):
    expected = fitted.predict(task.query.numpy())
    labels = task.support_labels.numpy()
    other = lo.FewShotClassifier(NAME).fit(list(task.support.numpy()[:, 0]), labels)
    assert (other.predict(list(task.query.numpy()[:, 0])) == expected).all()
    uneven = [np.zeros((28, 28)), np.zeros((30, 28))]
    with pytest.raises(
        InputError, match=r"shapes \(28, 28\) and \(30, 28\): expected equal shapes"
    ):
        lo.FewShotClassifier(NAME).fit(uneven, [0, 1])


@pytest.mark.parametrize("kind", ["paths", "array of paths", "images", "colours", "floats"])
def test_pictures_are_prepared_as_files_are(kind: str):
    """Those of examples/pictures, as paths, Pillow images or arrays of colours."""
    root = Path(__file__).parents[2] / "examples" / "pictures"
    support = read_support(root / "support")
    queries = read_queries([root / "query"], support.names)
    make = {
        "paths": str,
        "array of paths": str,
        "images": lambda path: Image.open(path).copy(),
        "colours": lambda path: np.asarray(Image.open(path).copy().convert("RGB")),
        "floats": lambda path: np.asarray(Image.open(path).convert("RGB"), np.float32) / 255,
    }[kind]
    several = np.array if kind == "array of paths" else list
    examples = several([make(f) for f in support.files])
    found = lo.FewShotClassifier().fit(examples, support.classes)
    probabilities = found.predict_proba(several([make(f) for f in queries.files]))
    expected = predict(find_weights("resnet8"), support, queries)
    rows = [list(entry.probabilities.values()) for entry in expected.entries]
    assert np.abs(probabilities - rows).max() < PROBABILITY
    assert (found.predict([make(f) for f in queries.files]) == queries.classes).all()
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.predict_proba([make(queries.files[0])]), probabilities[:1])
    listed = "expected a list of pictures, as in fit: paths, Pillow images"
    with pytest.raises(InputError, match=rf"array of shape \(1, 28, 28\): {listed}"):
        found.predict(np.zeros((1, 28, 28)))
    with pytest.raises(
        InputError, match=rf"^one picture \(array of shape \(30, 20, 3\)\): {listed}"
    ):
        found.predict(np.zeros((30, 20, 3), np.uint8))
    with pytest.raises(InputError, match=f"^a list of ndarray: {listed}"):
        found.predict([np.zeros((28, 28))])
    with pytest.raises(InputError, match="ndarray among pictures: expected paths, Pillow images"):
        found.predict([make(queries.files[0]), np.zeros((28, 28))])


def test_pictures_after_arrays_and_files_that_are_none_are_refused(fitted, tmp_path: Path):
    with pytest.raises(InputError, match="pictures: expected arrays, as in fit"):
        fitted.predict([Image.fromarray(np.eye(30, dtype=np.uint8) * 255)])
    (tmp_path / "a.png").write_text("none")
    with pytest.raises(InputError, match=r"a\.png: not a readable picture"):
        lo.FewShotClassifier(NAME).fit([tmp_path / "a.png"] * 2, [0, 1])


def test_queries_in_another_range_than_fitted_are_refused(fitted, task: lo.Task):
    support, query = task.support.numpy()[:, 0], task.query.numpy()[:, 0]
    with pytest.raises(InputError, match="values 0 to 255: expected 0 to 1, as in fit"):
        fitted.predict((255 * query).astype(np.uint8))
    with pytest.raises(InputError, match="values -1 to 1: expected 0 to 1"):
        fitted.predict(2 * query - 1)
    other = lo.FewShotClassifier(NAME).fit(255 * support, task.support_labels.numpy())
    for wrong in (query, query > 0.5):
        with pytest.raises(InputError, match="values 0 to 1: expected 0 to 255"):
            other.predict(wrong)
    assert len(other.predict(np.zeros((1, 28, 28)))) == 1  # blank in either


def test_images_that_show_nothing_give_finite_answers(task: lo.Task):
    fitted = lo.FewShotClassifier(NAME).fit(np.full((10, 28, 28), 300.0), task.support_labels)
    assert np.isfinite(fitted.predict_proba(np.full((2, 28, 28), 300.0))).all()


def test_bad_input_is_one_sentence(task: lo.Task, trained_head: Path):
    images, labels = task.support.numpy(), task.support_labels.numpy()
    with pytest.raises(InputError, match="1 class.*expected at least 2"):
        lo.FewShotClassifier(NAME).fit(images, np.zeros(10))
    colours = np.concatenate([np.zeros((10, 4, 8, 3)), np.full((10, 4, 8, 3), 255.0)], axis=1)
    with pytest.raises(InputError, match=r"values 0 to 255: .*\(B, H, W, 3\), uint8 or floats in"):
        lo.FewShotClassifier(NAME).fit(colours, labels)
    with pytest.raises(InputError, match="expected \\(B, H, W\\)"):
        lo.FewShotClassifier(NAME).fit(np.zeros((10, 3, 28, 28)), labels)
    with pytest.raises(lo.L2LOmniglotError, match="picture_ink='green'"):
        lo.FewShotClassifier(NAME, picture_ink="green").fit(images, labels)
    with pytest.raises(lo.L2LOmniglotError, match="redraw='yes': expected one of auto, always"):
        lo.FewShotClassifier(NAME, redraw="yes").fit(images, labels)
    with pytest.raises(InputError, match=r"one image of shape \(28, 28\): expected several"):
        lo.FewShotClassifier(NAME).fit(images[:, 0], labels).predict(images[0, 0])
    with pytest.raises(InputError, match=r"one picture \('a.png'\): expected a list of pictures"):
        lo.FewShotClassifier(NAME).fit("a.png", labels)
    with pytest.raises(lo.L2LOmniglotError, match="steps='3': expected a whole number"):
        lo.FewShotClassifier(NAME, steps="3").fit(images, labels)  # type: ignore[arg-type]
    with pytest.raises(lo.L2LOmniglotError, match="trained for 5 ways; expected 5, or weights for"):
        lo.FewShotClassifier(trained_head).fit(images[:6], [0, 1, 0, 1, 0, 1])
    with pytest.raises(NotFittedError):
        lo.FewShotClassifier(NAME).predict(images)
    with pytest.raises(ValueError, match="0 sample"):
        lo.FewShotClassifier(NAME).fit(images, labels).predict(images[:0])
