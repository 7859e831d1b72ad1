"""Durations from recordings alone: of recordings that are made of known pieces."""

import numpy as np

from deeplearn.methods.segmental import durations, fit


def test_the_pieces_of_invented_speech_are_found():
    """Five sounds with bands of their own, in random order and of random length, between silences."""
    rng = np.random.default_rng(0)
    tones = np.concatenate([np.zeros((1, 12)), rng.normal(size=(5, 12)) * 2])
    bands, phonemes, lengths = [], [], []
    for _ in range(40):
        chain = [0, *rng.permutation(np.arange(1, 6)), 0]
        own = rng.integers(4, 12, len(chain))
        bands.append(np.repeat(tones[chain], own, axis=0) + rng.normal(size=(own.sum(), 12)) * 0.5)
        phonemes.append(chain)
        lengths.append(own)
    # A recording that did not teach is cut as well as the others.
    found = durations(fit(bands[:-1], phonemes[:-1], 6, states=2, rounds=6), bands, phonemes)
    assert all(own.sum() == len(x) and own.min() >= 2 for own, x in zip(found, bands, strict=True))
    ends = [np.abs(np.cumsum(a) - np.cumsum(b))[:-1] for a, b in zip(found, lengths, strict=True)]
    assert np.concatenate(ends).mean() < 0.5  # frames
