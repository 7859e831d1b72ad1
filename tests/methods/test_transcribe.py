"""Long recordings in windows and pieces, and the times of words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.methods.transcribe import aligned, pieces, windowed
from deeplearn.models.ctc import ConvCTC

LETTERS = " abc"


@pytest.mark.parametrize("count", [50, 240, 241, 500, 1009])
def test_windows_say_what_the_whole_says(count):
    """The margin of 60 frames is wider than the 44 to each side that two layers behind the stem see."""
    model = ConvCTC(symbols=4, width=8, layers=2)
    features = jax.random.normal(jax.random.key(1), (count, 6))
    learnt = model.init(jax.random.key(0), features[None], jnp.array([count]), train=False)
    run = jax.jit(lambda x, frames: model.apply(learnt, x, frames, train=False)[0])
    whole = run(features[None], jnp.array([count]))[0]
    parts = windowed(run, np.asarray(features), window=240, margin=60, stride=3)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_pieces_are_cut_where_it_is_quiet_and_cover_all():
    symbols = np.ones(100, int)
    symbols[33:38] = 0  # the longest quiet stretch of the first second half
    symbols[28] = symbols[60] = 0
    logp = np.eye(3)[symbols]
    found = pieces(logp, 40)
    assert found[0] == slice(0, 35)
    assert [piece.start for piece in found[1:]] == [piece.stop for piece in found[:-1]]
    assert found[-1].stop == 100
    assert all(piece.stop - piece.start <= 40 for piece in found)


def test_words_are_found_at_their_times_with_their_certainty():
    symbols = [0, 0, 2, 2, 3, 0, 1, 0, 4, 4, 0, 0]  # "ab c"
    chance = np.full((12, 5), 0.025)
    chance[np.arange(12), symbols] = 0.9
    chance[8:10] = 0.2
    chance[8:10, 4] = 0.4  # an uncertain "c"
    logp = np.log(chance / chance.sum(1, keepdims=True)).astype(np.float32)
    (words,) = aligned(logp[None], np.array([11]), ["ab c"], LETTERS, seconds=0.03)
    assert [word.text for word in words] == ["ab", "c"]
    assert (words[0].start, words[0].end) == pytest.approx((0.06, 0.15))
    assert (words[1].start, words[1].end) == pytest.approx((0.24, 0.30))
    assert words[0].confidence == pytest.approx(0.9, abs=0.01)
    assert words[1].confidence == pytest.approx(1 / 3, abs=0.01)


def test_silence_has_no_words():
    logp = np.log(np.full((1, 6, 5), 0.2, np.float32))
    assert aligned(logp, np.array([6]), [""], LETTERS, seconds=0.03) == [[]]
