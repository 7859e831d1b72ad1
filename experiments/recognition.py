"""Speech to text by connectionist temporal classification, judged on voices, engines and people it has never heard.

A convolutional network spells what it hears, letter by letter. It learns from a machine that speaks a small grammar and
other phrases in forty voices and eight accents, and from another whose five voices are made of recordings; it is tested
on twelve other voices with other sentences, on a third engine with a voice distilled from people, and on a person
reading prompts: three columns, always, since the voices of one engine are one model of a vocal tract.
    deeplearn train recognition
    deeplearn train recognition --preset mixed                   # also Asterisk's prompts, seven tenths of them
    deeplearn train recognition --preset digits --data.path DIR  # your own single words; DIR/transcripts.csv says which
    deeplearn predict runs/latest talk.wav                       # any rate and length
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from deeplearn import optimizer
from deeplearn.cli import run_file
from deeplearn.competitors import speech as listeners
from deeplearn.data import audio, recordings
from deeplearn.data.doors.speech import Data, load
from deeplearn.data.inputs import attempted, expanded
from deeplearn.data.source import Arrays
from deeplearn.data.speech import Corpus, Utterance, alphabet, buckets, columns, spelled, written
from deeplearn.errors import ConfigError
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.knobs import Count, NotNegative, Range, Rest
from deeplearn.methods import ngram, sound
from deeplearn.methods.ctc_search import greedy
from deeplearn.methods.disturb import Disturb, disturbed
from deeplearn.methods.lattice import ctc_loss, needed
from deeplearn.methods.ngram import NGram
from deeplearn.methods.sound import Mel
from deeplearn.methods.transcribe import Word, described, searched, transcribed, windowed
from deeplearn.methods.transcripts import edits, rate, scores
from deeplearn.metrics import Mean, Metric
from deeplearn.models.conformer import PAPER, STRIDE, Conformer
from deeplearn.models.ctc import ConvCTC
from deeplearn.optimizer import Optimizer
from deeplearn.task import Batch, Task, linen
from deeplearn.trained import Trained

BLOCK, WINDOW, MARGIN = 64_000, 1200, 120
"""Samples and frames of a long recording at a time; the network sees half of the margin to each side."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of recognition."""

    data: Data = field(default_factory=Data)
    sound: Mel = field(default_factory=Mel)
    disturb: Disturb = field(default_factory=Disturb)
    model: Literal["conv", "conformer"] = "conv"
    """Residual convolutions, or convolutions with attention (Gulati et al., 2020)."""
    width: Count = 160
    """Channels of the network."""
    layers: Count = 6
    """Its residual convolutions, or the Conformer's layers."""
    stride: Count = 3
    """Frames a step of the network: 3 are 30 ms. The Conformer has 4."""
    heads: Count = 4
    """Attention heads of the Conformer."""
    dropout: Rest = 0.1
    """Share of channels dropped in training."""
    remat: bool = False
    """Compute each layer of the Conformer again in the backward pass, to save memory for more work."""
    order: Count = 6
    """Letters that the language model looks at."""
    beams: Count = 16
    """Texts that the beam search keeps."""
    weight: NotNegative = 0.5
    """What the language model counts in it."""
    bonus: Annotated[float, Range(low=-100, high=100)] = 0.5
    """Added for every letter, against the language model's love of short texts."""
    shapes: Count = 3
    """Lengths of training batches, each compiled: more of them save padding."""
    batch: int = 16
    steps: int = 5000
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=3e-3, warmup=100, decay=1e-2))


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the model hears with, and what it spells with."""

    sound: Mel
    """The spectrogram; no other means anything to the model."""
    alphabet: str
    """Letter of each number from 1."""
    speakers: tuple[str, ...]
    """Whom it has heard."""


def build(config: Config, symbols: int) -> nn.Module:
    """The untrained model. Raises ConfigError for a Conformer of another stride, and for convolutions with `remat`."""
    shape = dict(symbols=symbols, width=config.width, layers=config.layers, dropout=config.dropout)
    if config.model == "conv":
        if config.remat:
            raise ConfigError("the convolutions have no remat: leave --remat out.")
        return ConvCTC(**shape, stride=config.stride)
    if config.stride != STRIDE:
        raise ConfigError(f"the Conformer has {STRIDE} frames a step: use --stride {STRIDE}.")
    return Conformer(**shape, heads=config.heads, remat=config.remat)


def task(config: Config, fitted: Fitted) -> Task:
    """CTC on disturbed features; predicts log-probabilities of letters."""
    mel = fitted.sound
    model = build(config, len(fitted.alphabet) + 1)

    def inputs(batch: Batch) -> tuple[Array, Array]:
        if "features" in batch:  # disturbed, or of a window
            return batch["features"], batch["frames"]
        return sound.features(batch["sound"].astype(jnp.float32) / 32768, batch["samples"], mel)

    def augment(key: Array, batch: Batch) -> Batch:
        waves = sound.levelled(batch["sound"].astype(jnp.float32) / 32768, batch["samples"])
        frames = sound.frames(batch["samples"], mel)
        x, frames = disturbed(key, sound.loudness(waves, mel), frames, batch["index"], config.disturb, mel)
        return batch | {"features": x, "frames": frames}

    def objective(outputs: tuple[Array, Array], batch: Batch) -> tuple[Mean, Mapping[str, Metric]]:
        logits, steps = outputs
        logp = jax.nn.log_softmax(logits.astype(jnp.float32))
        fits = steps >= needed(batch["label"], batch["letters"])
        weight = jnp.where(fits, batch["mask"], 0.0)
        loss = jnp.where(fits, ctc_loss(logp, steps, batch["label"], batch["letters"]), 0.0)
        real = jnp.where(jnp.arange(logp.shape[1])[None] < steps[:, None], batch["mask"][:, None], 0.0)
        return Mean(total=(loss * weight).sum(), count=(batch["letters"].astype(jnp.float32) * weight).sum()), {
            "blanks": Mean.of(logp.argmax(-1) == 0, real),
            "too_fast": Mean.of(~fits, batch["mask"]),
        }

    def predict(outputs: tuple[Array, Array], batch: Batch) -> tuple[Array, Array]:
        return jax.nn.log_softmax(outputs[0].astype(jnp.float32)), outputs[1]

    return linen(model, objective, inputs=inputs, augment=augment, predict=predict)


def evaluation(
    utterances: Sequence[Utterance], config: Config, letters: str, samples: int, model: NGram, *, final: bool
) -> Evaluation:
    """Scored by greedy search, and by a beam search with the language model."""
    references, speakers = [u.text for u in utterances], [u.speaker for u in utterances]
    longest = max(len(u.text) for u in utterances)
    source = Arrays(columns=columns(utterances, letters, samples, longest), batch=32)

    def score(found: tuple[np.ndarray, np.ndarray], _: Mapping[str, np.ndarray]) -> dict[str, Any]:
        plain = written(jax.jit(greedy)(*found), letters)
        guided, _ = searched(*found, model, beams=config.beams, weight=config.weight, bonus=config.bonus)
        beam = scores(references, written(guided, letters), speakers)
        if not any(plain):
            print("the model hears nothing but blanks: train longer, or lower --optimizer.rate", file=sys.stderr)
        return scores(references, plain, speakers) | {f"beam_{name}": beam[name] for name in ("cer", "wer")}

    return Evaluation(source=source, score=score, final=final)


def experiment(config: Config, fitted: Fitted | None = None) -> Experiment:
    """Alphabet and language model from the training texts alone."""
    corpus: Corpus = load(config.data, config.sound.rate, config.seed)
    fitted = fitted or Fitted(
        sound=config.sound,
        alphabet=alphabet(corpus.train),
        speakers=tuple(sorted({utterance.speaker for utterance in corpus.train})),
    )
    letters = fitted.alphabet
    model = ngram.fit({u.text: spelled(u.text, letters) for u in corpus.train}.values(), len(letters) + 1, config.order)
    step = config.sound.hop * config.stride
    train = buckets(
        corpus.train, letters, most=config.shapes, step=step, batch=config.batch, seed=config.seed, name=corpus.name
    )
    parts = {**corpus.valid, **corpus.tests}
    longest = -(-max(len(u.sound) for part in parts.values() for u in part) // step) * step
    print(f"shapes: training {train.described('sound')}, evaluations {longest} samples", file=sys.stderr)
    return Experiment(
        task=task(config, fitted),
        fitted=fitted,
        optimizer=optimizer.make(config.optimizer, config.steps),
        train=train,
        evaluations={
            name: evaluation(part, config, letters, longest, model, final=name in corpus.tests)
            for name, part in parts.items()
        },
        assets={"ngram.npz": model._asdict()},
    )


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """pocketsphinx where it is installed: told the grammar, and open to any English (which takes it minutes)."""
    if not listeners.installed():
        return {}
    tests, rate = load(config.data, config.sound.rate, config.seed).tests, config.sound.rate
    closed, opened = {}, {}
    for name, part in tests.items():
        sounds, references, speakers = zip(*((u.sound, u.text, u.speaker) for u in part), strict=True)
        for found, grammar in ((closed, True), (opened, False)):
            of_grammar = config.data.path is None and config.data.tfds is None and name != "test_asterisk"
            if of_grammar if grammar else name != "test":  # of espeak's voices it understands nothing without it
                heard = listeners.transcripts(sounds, rate, closed=grammar)
                known = len(heard)
                own = scores(references[:known], heard, speakers[:known])
                found |= {f"{name}/{key}": value for key, value in own.items()}
    return {"pocketsphinx, told the grammar": closed, "pocketsphinx": opened}


def listen(trained: Trained, samples: np.ndarray) -> list[Word]:
    """The words of a recording of any length at the model's rate, found by the beam search."""
    if np.abs(samples).max(initial=0.0) < recordings.SILENT:
        return []  # the network would guess what is most often said
    config, mel, letters = trained.config, trained.fitted.sound, trained.fitted.alphabet
    count, frames = len(samples), sound.frames(len(samples), mel)
    wave = np.zeros((1, -(-count // BLOCK) * BLOCK), np.float32)  # few lengths, few compilations
    wave[0, :count] = samples
    heard, _ = sound.features(wave, np.array([count]), mel)
    logp = windowed(
        lambda x, n: trained.predict({"features": x, "frames": n}, batch=8)[0],
        np.asarray(heard)[0, :frames],
        window=WINDOW,
        margin=MARGIN,
        stride=config.stride,
    )
    model = NGram(**trained.asset("ngram.npz"))
    knobs = {"beams": config.beams, "weight": config.weight, "bonus": config.bonus}
    return transcribed(logp, model, letters, config.stride * mel.hop / mel.rate, **knobs)


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """What is said in each recording; when each word begins and ends, in seconds; and how sure that is, 1 at most."""
    read, rows = attempted(expanded(inputs, audio.SUFFIXES), lambda path: audio.read(path, trained.fitted.sound.rate))
    for path, (samples, per_second) in read:
        began = time.perf_counter()
        words = listen(trained, samples)
        length, seconds = len(samples) / per_second, time.perf_counter() - began
        rows.append({"sound": path, **described(words), "seconds": length, "real-time factor": seconds / length})
    return rows


def figures(trained: Trained, folder: Path) -> None:
    """Error rates by accent and by pace, and what was heard in three recordings of the test."""
    from deeplearn.record.figures import bars
    from deeplearn.record.spectrogram import spectrograms

    mel = trained.fitted.sound
    part = load(trained.config.data, mel.rate, trained.config.seed).tests
    part = next(iter(part.values()))
    letters = trained.fitted.alphabet
    longest = max(len(u.sound) for u in part)
    found = trained.predict(columns(part, letters, longest, max(len(u.text) for u in part)), batch=32)
    heard = written(jax.jit(greedy)(*found), letters)
    counts = np.array([edits(u.text, text) for u, text in zip(part, heard, strict=True)])
    pace = np.array([len(u.text) * mel.rate / len(u.sound) for u in part])  # letters a second
    third = np.digitize(pace, np.quantile(pace, [1 / 3, 2 / 3]))
    groups = {f"accent {name}": [u.accent == name for u in part] for name in sorted({u.accent for u in part} - {""})}
    groups |= {name: third == number for number, name in enumerate(("slow third", "middle third", "fast third"))}
    rates = {name: rate(counts[np.asarray(rows)]) for name, rows in groups.items() if np.any(rows)}
    bars(rates, folder / "figures" / "groups.svg", unit="character error rate", title="Errors by group, greedy search")
    pictures = []
    for u in part[:3]:
        samples = u.sound / np.float32(32768)
        bands = np.asarray(sound.log_mel(jnp.asarray(samples), mel))
        pictures.append(("", bands, [word[:3] for word in listen(trained, samples)], None))
    spectrograms(pictures, mel.hop / mel.rate, folder / "figures" / "heard.svg", title="What was heard, and when")


TAKES_FILES = True
PRESETS = {
    "mixed": Config(data=Data(name="mixed")),
    # For folders of single words (--data.path): short recordings, whose only context is the word.
    "digits": Config(
        data=Data(longest=3.0),
        disturb=Disturb(long=8),
        width=96,
        layers=5,
        steps=1500,
        optimizer=Optimizer(rate=3e-3, warmup=100, decay=1e-2),
    ),
    # Gulati et al. (2020), the small model, with letters instead of word pieces and without a language model of words:
    # they report 2.7 % of words wrong on test-clean after training on 960 hours.
    "conformer-librispeech": Config(
        **{name: value for name, value in PAPER["small"].items() if name != "kernel"},
        model="conformer",
        data=Data(tfds="librispeech"),
        sound=Mel(rate=16000, size=512, window=400, hop=160, bands=80, low=0.0, high=8000.0),
        disturb=Disturb(
            room=0.0, band=0.0, quiet=60.0, loud=30.0, throat=0.0, pace=0.1, sway=0.0, wide=27, gaps=10, long=40
        ),
        stride=4,
        batch=256,
        steps=100_000,
        optimizer=Optimizer(rate=2e-3, schedule="rsqrt", warmup=10_000, decay=1e-6, beta2=0.98),
    ),
}
EXPECTED = {"test/beam_cer": (0.014, 0.012)}  # also where flite cannot be had
SMOKE = {
    "data.sentences": 64, "data.phrases": 0, "data.flite": 0, "data.held": 16, "shapes": 1, "width": 16, "layers": 2,
    "beams": 4,
}  # fmt: skip

if __name__ == "__main__":
    run_file(__file__)
