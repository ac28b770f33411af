"""Every reader with damaged files: those of the corpus, and some that hypothesis makes.

`python tests/fuzz.py` searches for longer, guided by coverage.
"""

import io
import time
import zipfile

import fuzz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SEEDS = fuzz.seeds()


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_a_whole_file_is_taken(name: str):
    assert all(fuzz.feed(name, content) for content in SEEDS[name])


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_the_corpus_is_taken_or_refused(name: str):
    paths = fuzz.corpus(name)
    assert paths
    for path in paths:
        start = time.process_time()
        try:
            fuzz.feed(name, path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path}: {error!r}") from error
        assert time.process_time() - start < 5, path


def damage(content: bytes, wounds: list[tuple[float, int, bytes]]) -> bytes:
    """Replaces parts: (place as a fraction, bytes taken out, bytes put in)."""
    for place, out, put in wounds:
        start = int(place * len(content))
        content = content[:start] + put + content[start + out :]
    return content


WOUNDS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=12)), min_size=1, max_size=5
)


@pytest.mark.parametrize("name", fuzz.TARGETS)
@settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data())
def test_a_damaged_file_is_taken_or_refused(name: str, data: st.DataObject):
    whole = data.draw(st.sampled_from(SEEDS[name]))
    fuzz.feed(name, damage(whole, data.draw(WOUNDS)))


@pytest.mark.parametrize("name", fuzz.ARCHIVES)
@settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(seed=st.integers(0, 2**32), wounds=WOUNDS)
def test_an_archive_with_a_damaged_entry_is_taken_or_refused(
    name: str, seed: int, wounds: list[tuple[float, int, bytes]]
):
    whole = SEEDS[name][0]
    changed = fuzz.repacked(whole, seed, lambda part: damage(part, wounds))
    with zipfile.ZipFile(io.BytesIO(changed)) as file:
        assert file.testzip() is None
    fuzz.feed(name, changed)


def test_a_finding_would_be_noticed(monkeypatch: pytest.MonkeyPatch):
    def broken(content: bytes) -> None:
        raise IndexError(content)

    monkeypatch.setitem(fuzz.TARGETS, "npy", broken)
    with pytest.raises(IndexError):
        fuzz.feed("npy", b"x")
