"""A recogniser that is not ours: pocketsphinx (Huggins-Daines et al., 2006), whose package holds an English model."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from deeplearn.competitors.search import progress
from deeplearn.data import audio
from deeplearn.data.sets import voices
from deeplearn.data.speech import Utterance, columns
from deeplearn.errors import note
from deeplearn.methods.ctc_search import greedy
from deeplearn.methods.transcripts import scores

RATE = 16000
PAD, DITHER = 0.3, 60 / 32768
"""Seconds of silence at both ends, and deviation of a faint noise over all: without them it mishears clean synthetic
speech (word error rate .30 where it is .004 with them), which is a fault of the listener and not of the speech."""
MOST = 1800.0
"""Seconds of recordings that it is given at most; without the grammar it takes about as long to hear them."""
PEAK = 20000 / 32768
"""Loudness that it is given."""


def installed() -> bool:
    """Whether the package is there: pip install 'deeplearn[listen]'."""
    return importlib.util.find_spec("pocketsphinx") is not None


def looked(
    judge: Any, sounds: Sequence[Int[np.ndarray, "_"]], texts: Sequence[str], rate: int
) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(what `judge`, a trained model of `recognition`, gets of int16 sounds and their texts, what it predicts)."""
    own = judge.fitted.sound.rate
    heard = [
        Utterance(audio.pcm(audio.resampled(x / np.float32(32768), rate, own)), text)
        for x, text in zip(sounds, texts, strict=True)
    ]
    longest = -(-max(len(u.sound) for u in heard) // own) * own
    rows = columns(heard, judge.fitted.alphabet, longest, max(map(len, texts), default=0) + 1)
    return rows, judge.predict(rows, batch=32)


def ours(judge: Any, sounds: Sequence[Int[np.ndarray, "_"]], rate: int) -> list[str]:
    """What `judge`, a trained model of `recognition`, hears in int16 sounds, by greedy search."""
    letters = judge.fitted.alphabet
    _, found = looked(judge, sounds, [""] * len(sounds), rate)
    symbols = np.asarray(greedy(*map(jnp.asarray, found))).tolist()
    return ["".join(letters[number - 1] for number in row if number).strip() for row in symbols]


def grammar() -> str:
    """The grammar of `voices` in JSGF, as the listener wants it."""
    either = lambda words: "( " + " | ".join(words) + " )"  # noqa: E731
    number = either([*voices.ONES, f"{either(voices.TENS)} [ {either(voices.ONES[1:10])} ]"])
    slots = {"NUMBER": number} | {name: either(words) for name, words in voices.WORDS.items()}
    sentences = [" ".join(slots.get(word, word) for word in text.split()) for text in voices.SENTENCES]
    return f"#JSGF V1.0; grammar g; public <s> = {' | '.join(sentences)};"


def transcripts(sounds: Sequence[Int[np.ndarray, "_"]], rate: int, *, closed: bool) -> list[str]:
    """What it hears in int16 sounds; of more than `MOST` seconds in the first of them, which is said.

    Args:
        closed: only sentences of the grammar, an easier task; otherwise any English.
    """
    import pocketsphinx

    options = {"lm": None} if closed else {}
    decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL", **options)
    if closed:
        decoder.add_jsgf_string("grammar", grammar())
        decoder.activate_search("grammar")
    rng, heard = np.random.default_rng(0), []
    known = max(int(np.searchsorted(np.cumsum([len(sound) for sound in sounds]), MOST * rate, "right")), 1)
    if known < len(sounds):
        note(f"pocketsphinx: hears the first {known:,} of {len(sounds):,} recordings; all would take it too long")
    for sound in sounds[:known]:
        samples = audio.resampled(sound.astype(np.float32) / 32768, rate, RATE)
        samples = np.pad(samples * (PEAK / max(np.abs(samples).max(initial=0), 1e-6)), int(PAD * RATE))
        decoder.start_utt()
        decoder.process_raw(audio.pcm(samples + rng.normal(0, DITHER, len(samples))).tobytes(), full_utt=True)
        decoder.end_utt()
        heard.append(decoder.hyp().hypstr if decoder.hyp() else "")
        progress(f"pocketsphinx: {len(heard)} of {known} recordings")
    progress("")
    return heard


def understood(
    sounds: Sequence[Int[np.ndarray, "_"]], texts: Sequence[str], rate: int, judge: Any, *, closed: bool | None
) -> dict[str, float]:
    """Error rates of what listeners hear in int16 sounds: `cer` and `wer` of `judge`, a trained model of
    `recognition`, if there is one; `sphinx_cer` and `sphinx_wer` of pocketsphinx where it is installed.

    Args:
        closed: whether pocketsphinx knows the grammar of the texts; None where they are not English, or not known.
    """
    nobody, found = [""] * len(texts), {}
    if judge is not None:
        own = scores(texts, ours(judge, sounds, rate), nobody)
        found |= {name: own[name] for name in ("cer", "wer")}
    if installed() and closed is not None:
        theirs = transcripts(sounds, rate, closed=closed)
        theirs = scores(texts[: len(theirs)], theirs, nobody[: len(theirs)])
        found |= {f"sphinx_{name}": theirs[name] for name in ("cer", "wer")}
    return found
