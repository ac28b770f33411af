"""The family of errors, through pickle and back, as processes hand them to each other."""

import pickle

import pytest

from l2l_omniglot import errors

KINDS = [errors.L2LOmniglotError, *errors.L2LOmniglotError.__subclasses__()]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_the_same_after_pickling(kind: type[errors.L2LOmniglotError]):
    error = kind("worker 1 died")
    for _ in range(2):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind and str(again) == str(error)
        error = again


def test_a_worker_error_says_how_to_go_on_once():
    said = str(errors.WorkerError("worker 1 died"))
    assert said.startswith("worker 1 died; a training goes on from its last checkpoint")
    assert said.count("--resume") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_argument_survives_pickling(kind: type[errors.L2LOmniglotError]):
    error = errors.refused("ways", 1, "expected at least 2", kind)
    assert str(error).startswith("ways=1: expected at least 2")
    error.option, error.source = "--ways", " (from the variable W)"
    again = pickle.loads(pickle.dumps(error))
    assert str(again).startswith("--ways 1: expected at least 2 (from the variable W)")
    assert (again.argument, again.value, again.why) == ("ways", 1, "expected at least 2")
