"""Text to speech: phonemes become a spectrogram in one go, and Griffin-Lim makes it sound.

FastSpeech 2 with convolutions learns one voice: a machine's (then it is that machine's student), a person's, your own.
How long each phoneme lasts it learns from the recordings alone, by a search for the best cut. What it says is judged by
listeners that never heard this voice, beside the recordings themselves, copies of them through the same spectrogram
(what no synthesiser of this kind can exceed), shuffled phonemes, and pieces of recordings joined together, which is
what machines said before.
    deeplearn train synthesis --judge runs/a-run-of-recognition
    deeplearn train synthesis --durations true          # espeak's own, for comparison
    deeplearn predict runs/latest "Book a garden room for two nights."
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplearn import optimizer, trained
from deeplearn.cli import run_file
from deeplearn.competitors import speech as listeners
from deeplearn.competitors.units import Inventory
from deeplearn.data import audio
from deeplearn.data.buckets import Buckets, bounds
from deeplearn.data.doors.teacher import Data, Lesson, load, read_aloud
from deeplearn.data.source import Arrays
from deeplearn.data.speech import normalised
from deeplearn.errors import ConfigError, DataError
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.knobs import Amount, Count, Positive, Range, Rest
from deeplearn.methods import segmental, sound, voice
from deeplearn.methods.sound import Mel
from deeplearn.methods.transcripts import scores
from deeplearn.metrics import Mean, Metric
from deeplearn.models.fastspeech import FastSpeech, Spoken, Voice
from deeplearn.optimizer import Optimizer
from deeplearn.task import Batch, Task, Variables, linen
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

SHAPES, STEP = 3, 32
"""Most lengths of training batches, and what they are multiples of in frames."""
VOICE = {"duration": np.int32, "pitch": np.float32, "energy": np.float32}
ROOM = 1.3
"""Frames that a prediction may take, as a share of the longest recording."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of synthesis."""

    data: Data = field(default_factory=Data)
    sound: Mel = field(
        default_factory=lambda: Mel(
            rate=16000, size=1024, window=640, hop=160, bands=80, low=0.0, high=8000.0, floor=5e-4
        )
    )
    durations: Literal["search", "true"] = "search"
    """Learnt from the recordings, or as espeak tells them."""
    states: Count = 3
    """States of a phoneme in the search: also the fewest frames it lasts."""
    width: Count = 128
    """Channels of the network."""
    encoder: Count = 4
    """Blocks over phonemes."""
    decoder: Count = 5
    """Blocks over frames."""
    dropout: Rest = 0.1
    """Share of channels dropped in training."""
    judge: Path | None = None
    """Run folder of a recogniser that listens to the test; it must not have heard the voice."""
    phases: Amount = 60
    """Steps of Griffin-Lim."""
    speed: Positive = 1.0
    """How many times as fast as the teacher predictions are spoken."""
    pitch: Annotated[float, Range(low=-24, high=24)] = 0.0
    """How many semitones higher."""
    batch: Count = 16
    steps: Amount = 2500
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=2e-3, warmup=50, decay=1e-2, average=0.99))


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What was measured on the training part."""

    sound: Mel
    """The spectrogram that the model writes."""
    phonemes: tuple[str, ...]
    """Name of each number."""
    speakers: tuple[str, ...]
    mean: tuple[float, ...]
    """Of each band."""
    deviation: tuple[float, ...]
    pitch: tuple[float, float]
    """Mean and deviation of the logarithm of the pitch in Hz."""
    energy: tuple[float, float]
    """Mean and deviation of a frame's mean band."""
    frames: int
    """Most that a prediction can have."""


def build(config: Config, fitted: Fitted) -> FastSpeech:
    return FastSpeech(
        symbols=len(fitted.phonemes),
        bands=fitted.sound.bands,
        speakers=len(fitted.speakers),
        width=config.width,
        encoder=config.encoder,
        decoder=config.decoder,
        dropout=config.dropout,
    )


def task(config: Config, fitted: Fitted) -> Task:
    """Spectrograms under the recordings' own durations; predicts with the model's."""
    model = build(config, fitted)
    higher = config.pitch * np.log(2) / 12 / fitted.pitch[1]
    # From standardised bands to the distortion in dB of the cepstra without the zeroth.
    to_cepstra = voice.DECIBEL * voice.cepstra(np.diag(fitted.deviation)).astype(np.float32)  # [M, C]

    def inputs(batch: Batch) -> tuple[Any, ...]:
        known = Voice(batch["duration"], batch["pitch"], batch["energy"])
        return batch["phonemes"], batch["sizes"], batch["speaker"], batch["bands"].shape[1], known

    def objective(found: Spoken, batch: Batch) -> tuple[Mean, Mapping[str, Metric]]:
        wanted = batch["bands"].astype(jnp.float32)
        heard = counted(batch["duration"].sum(1), wanted.shape[1], batch["mask"])
        said = counted(batch["sizes"], batch["phonemes"].shape[1], batch["mask"])
        gap, coarse = found.bands - wanted, found.coarse - wanted
        spectrum = (jnp.abs(gap) + 0.5 * jnp.square(gap) + 0.5 * jnp.square(coarse)).mean(-1)
        lasting = jnp.square(found.length - jnp.log(jnp.maximum(batch["duration"], 1).astype(jnp.float32)))
        manner = jnp.square(found.pitch - batch["pitch"]) + jnp.square(found.energy - batch["energy"])
        # A phoneme lasts about eight frames, which is what its one length, pitch and energy weigh.
        total = (spectrum * heard).sum() + 8 * ((0.3 * lasting + 0.1 * manner) * said).sum()
        distortion = jnp.sqrt(jnp.square(gap @ to_cepstra).sum(-1) + 1e-9)
        return Mean(total=total, count=heard.sum()), {
            "l1": Mean.of(jnp.abs(gap).mean(-1), heard),
            "mcd_timed": Mean.of(distortion, heard),
        }

    def predict(learnt: Variables, batch: Batch) -> dict[str, Array]:
        columns = batch["phonemes"], batch["sizes"], batch["speaker"], fitted.frames
        found = model.apply(learnt, *columns, rate=config.speed, pitch=higher, train=False)
        return {"bands": found.bands, "duration": found.duration, "pitch": found.pitch + higher}

    return replace(linen(model, objective, inputs=inputs), predict=predict)


def counted(real: Array, size: int, mask: Array) -> Array:
    """The mask [B] over the real ones of so many places: [B, size]."""
    return jnp.where(jnp.arange(size)[None] < real[:, None], mask[:, None], 0.0)


class Measured(NamedTuple):
    """One recording as the model sees it."""

    bands: np.ndarray
    """[F, M]"""
    pitch: np.ndarray
    """[F] in Hz, 0 where there is none."""
    duration: np.ndarray
    """[U] frames."""


@lru_cache(maxsize=1)  # fit, tests and competitors look at the same recordings
def measured(config: Config) -> tuple[list[list[Lesson]], list[list[Measured]], dict[str, int]]:
    """(training, validation and test recordings, what was measured of them, the number of each phoneme).

    The first part alone teaches. Recordings with fewer frames than the states of their phonemes, or with phonemes that
    the first part lacks, are left out.
    """
    parts = load(config.data, config.sound.rate, config.seed)
    numbers = {name: n for n, name in enumerate(sorted({name for lesson in parts[0] for name in lesson.phonemes}))}
    kept, found, aligner = [], [], None
    for part in parts:
        heard = [voice.heard(lesson.sound, config.sound) for lesson in part]
        rows = [
            (lesson, *own)
            for lesson, own in zip(part, heard, strict=True)
            if len(own[0]) >= config.states * len(lesson.phonemes) and set(lesson.phonemes) <= numbers.keys()
        ]
        if len(rows) < len(part):
            print(f"{len(part) - len(rows)} of {len(part)} recordings are too short or too odd to use", file=sys.stderr)
        lessons, bands, pitches = (list(column) for column in zip(*rows, strict=True))
        chains = [[numbers[name] for name in lesson.phonemes] for lesson in lessons]
        if config.durations == "true":
            if any(lesson.starts is None for lesson in lessons):
                raise ConfigError("only espeak tells how long its phonemes are: use --durations search.")
            times = [lesson.durations(config.sound.hop, len(own)) for lesson, own in zip(lessons, bands, strict=True)]
        else:
            aligner = aligner or segmental.fit(bands, chains, len(numbers), states=config.states)
            times = segmental.durations(aligner, bands, chains)
        kept.append(lessons)
        found.append([Measured(*row) for row in zip(bands, pitches, times, strict=True)])
    return kept, found, numbers


def normal(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std() + 1e-3)


def columns(
    lessons: Sequence[Lesson], found: Sequence[Measured], fitted: Fitted, frames: int, longest: int
) -> dict[str, np.ndarray]:
    """What the task reads, padded to so many frames and phonemes."""
    mean, deviation = np.array(fitted.mean), np.array(fitted.deviation)
    rows = asked([lesson.phonemes for lesson in lessons], fitted, longest)
    rows["speaker"] = np.array([fitted.speakers.index(lesson.speaker) for lesson in lessons], np.int32)
    rows["bands"] = np.zeros((len(lessons), frames, len(mean)), np.float16)
    rows |= {name: np.zeros((len(lessons), longest), kind) for name, kind in VOICE.items()}
    for row, own in enumerate(found):
        size, ends = len(own.duration), np.cumsum(own.duration)
        rows["bands"][row, : len(own.bands)] = (own.bands - mean) / deviation
        rows["duration"][row, :size] = own.duration
        tone = np.where(own.pitch > 0, (np.log(np.maximum(own.pitch, 1)) - fitted.pitch[0]) / fitted.pitch[1], 0)
        loud = (own.bands.mean(1) - fitted.energy[0]) / fitted.energy[1]
        voiced = np.maximum(added(own.pitch > 0, ends), 1)
        rows["pitch"][row, :size] = added(tone, ends) / voiced
        rows["energy"][row, :size] = added(loud, ends) / own.duration
    return rows


def added(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Sums over the frames of each phoneme."""
    return np.diff(np.concatenate([[0.0], np.cumsum(values)])[np.concatenate([[0], ends])])


def asked(phonemes: Sequence[Sequence[str]], fitted: Fitted, longest: int) -> dict[str, np.ndarray]:
    """What prediction reads. Raises DataError for phonemes that the voice has never said."""
    numbers = {name: number for number, name in enumerate(fitted.phonemes)}
    rows = np.zeros((len(phonemes), longest), np.int32)
    for row, names in zip(rows, phonemes, strict=True):
        if unknown := sorted(set(names) - numbers.keys()):
            raise DataError(f"the voice has never said {' '.join(unknown)}; say it with other words.")
        row[: len(names)] = [numbers[name] for name in names]
    sizes = np.array([len(names) for names in phonemes], np.int32)
    return {"phonemes": rows, "sizes": sizes, "speaker": np.zeros(len(rows), np.int32)}


def experiment(config: Config, fitted: Fitted | None = None) -> Experiment:
    """Phonemes, scales and durations from the training part alone."""
    (train, valid, test), found, numbers = measured(config)
    bands = np.concatenate([own.bands for own in found[0]])
    pitch = np.concatenate([own.pitch for own in found[0]])
    lengths = np.array([len(own.bands) for own in found[0]])
    fitted = fitted or Fitted(
        sound=config.sound,
        phonemes=tuple(numbers),
        speakers=tuple(sorted({lesson.speaker for lesson in train})),
        mean=tuple(bands.mean(0).tolist()),
        deviation=tuple((bands.std(0) + 1e-3).tolist()),
        pitch=normal(np.log(pitch[pitch > 0])),
        energy=normal(bands.mean(1)),
        frames=-(-int(ROOM * lengths.max()) // STEP) * STEP,
    )
    limits = bounds(lengths, SHAPES, STEP)
    longest = max(len(lesson.phonemes) for part in (train, valid, test) for lesson in part)
    place = np.searchsorted(limits, lengths)
    rows = [np.flatnonzero(place == part) for part in range(len(limits))]
    parts = [
        columns([train[n] for n in own], [found[0][n] for n in own], fitted, limit, longest)
        for own, limit in zip(rows, limits, strict=True)
    ]
    source = Buckets(parts=parts, batch=config.batch, seed=config.seed, name=config.data.teacher)
    held = -(-max(len(own.bands) for own in (*found[1], *found[2])) // STEP) * STEP
    print(f"shapes: training {source.described('bands')}, evaluations {held} frames", file=sys.stderr)
    return Experiment(
        task=task(config, fitted),
        fitted=fitted,
        optimizer=optimizer.make(config.optimizer, config.steps),
        train=source,
        evaluations={
            name: Evaluation(
                source=Arrays(columns=columns(part, own, fitted, held, longest), batch=32), final=name == "test"
            )
            for name, part, own in (("valid", valid, found[1]), ("test", test, found[2]))
        },
    )


class Said(NamedTuple):
    """What the model makes of a text."""

    bands: np.ndarray
    """[F, M]"""
    duration: np.ndarray
    """[U] frames."""
    samples: np.ndarray
    """[T] in -1..1."""


def say(trained: Trained, phonemes: Sequence[Sequence[str]]) -> list[Said]:
    fitted = trained.fitted
    longest = -(-max(len(names) for names in phonemes) // 16) * 16
    found = trained.predict(asked(phonemes, fitted, longest), batch=16)
    said = []
    for names, own, lasting in zip(phonemes, found["bands"], found["duration"], strict=True):
        frames = min(int(lasting.sum()), fitted.frames)
        bands = own[:frames] * np.array(fitted.deviation, np.float32) + np.array(fitted.mean, np.float32)
        said.append(Said(bands, lasting[: len(names)], sounding(bands, fitted.sound, trained.config.phases)))
    return said


def sounding(bands: np.ndarray, mel: Mel, steps: int) -> np.ndarray:
    """Samples of a log-mel spectrogram, by Griffin-Lim."""
    count = -(-len(bands) // 128) * 128
    whole = np.full((count, bands.shape[1]), np.log(mel.floor), np.float32)
    whole[: len(bands)] = bands
    return np.asarray(vocoded(whole, mel, steps))[: (len(bands) - 1) * mel.hop]


@partial(jax.jit, static_argnames=("mel", "steps"))
def vocoded(bands: Float[Array, "F M"], mel: Mel, steps: int) -> Float[Array, "T"]:
    return sound.griffin_lim(sound.amplitudes(bands, mel), mel, jax.random.key(0), steps=steps)


def judged(sounds: Sequence[np.ndarray], lessons: Sequence[Lesson], config: Config) -> dict[str, Any]:
    """What listeners understand, and how far the sounds are from the recordings."""
    rate, texts = config.sound.rate, [lesson.text for lesson in lessons]
    heard = [voice.heard(audio.pcm(own), config.sound) for own in sounds]
    real = [voice.heard(lesson.sound, config.sound) for lesson in lessons]
    paths = [voice.warp(voice.cepstra(a), voice.cepstra(b)) for (a, _), (b, _) in zip(heard, real, strict=True)]
    errors = [voice.pitch_error(a, b, p) for (_, a), (_, b), p in zip(heard, real, paths, strict=True)]
    found: dict[str, Any] = {
        "mcd": float(voice.DECIBEL * np.mean([path.distance for path in paths])),
        "pitch_error": float(np.nanmean(errors)),
    }
    whole = [audio.pcm(own) for own in sounds]
    if config.judge is not None:
        judge = trained.load(config.judge)
        if known := set(judge.fitted.speakers) & {lesson.speaker for lesson in lessons}:
            raise ConfigError(f"the judge in {config.judge} has heard {min(known)}, whom it is to judge: take another.")
        own = scores(texts, listeners.ours(judge, whole, rate), [""] * len(texts))
        found |= {name: own[name] for name in ("cer", "wer")}
    if listeners.installed() and config.data.path is None and config.data.tfds is None:
        closed = config.data.teacher != "asterisk"
        theirs = scores(texts, listeners.transcripts(whole, rate, closed=closed), [""] * len(texts))
        found |= {"sphinx_cer": theirs["cer"], "sphinx_wer": theirs["wer"]}
    return found


def main(config: Config, work: Workspace) -> dict[str, Any]:
    """One fit; then the test is spoken and listened to."""
    learnt, results = work.fit(partial(experiment, config), config)
    test = measured(config)[0][2]
    began = time.perf_counter()
    said = say(learnt, [lesson.phonemes for lesson in test])
    factor = (time.perf_counter() - began) * config.sound.rate / sum(len(own.samples) for own in said)
    found = judged([own.samples for own in said], test, config)
    rng = np.random.default_rng(0)
    mixed = [(names[0], *rng.permutation(names[1:-1]).tolist(), names[-1]) for names in (own.phonemes for own in test)]
    shuffled = judged([own.samples for own in say(learnt, mixed)], test, config)
    found |= {f"shuffled_{name}": shuffled[name] for name in ("cer", "wer", "sphinx_wer", "mcd") if name in shuffled}
    found["duration_error"] = duration_error([own.duration for own in said], test, config)
    if not work.reading:  # a time is never the same again
        found["real_time_factor"] = factor
    return results | {f"test/{name}": value for name, value in found.items()}


def duration_error(durations: Sequence[np.ndarray], lessons: Sequence[Lesson], config: Config) -> float:
    """Mean difference in milliseconds from what the machine tells; NaN where nobody does."""
    mel = config.sound
    gaps = [
        np.abs(own - lesson.durations(mel.hop, sound.frames(len(lesson.sound), mel)))[1:-1]
        for own, lesson in zip(durations, lessons, strict=True)
        if lesson.starts is not None
    ]
    return float(np.concatenate(gaps).mean() * 1000 * mel.hop / mel.rate) if gaps else float("nan")


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """The recordings, their copies through the spectrogram, and pieces of them joined."""
    lessons, found, _ = measured(config)
    train, test, mel = lessons[0], lessons[2], config.sound
    inventory = Inventory(
        sounds=[lesson.sound for lesson in train],
        phonemes=[lesson.phonemes for lesson in train],
        ends=[np.cumsum(own.duration) for own in found[0]],
        cepstra=[voice.cepstra(own.bands) for own in found[0]],
        hop=mel.hop,
        rate=mel.rate,
    )
    rows = {
        "natural": [lesson.sound / np.float32(32768) for lesson in test],
        "copy through the spectrogram": [sounding(own.bands, mel, config.phases) for own in found[2]],
        "recorded pieces": [inventory.say(lesson.phonemes) for lesson in test],
    }
    scored = {name: judged(sounds, test, config) for name, sounds in rows.items()}
    scored["recorded pieces"] |= {"duration_error": duration_error(medians(train, found[0], test), test, config)}
    return {name: {f"test/{key}": value for key, value in own.items()} for name, own in scored.items()}


def medians(train: Sequence[Lesson], found: Sequence[Measured], test: Sequence[Lesson]) -> list[np.ndarray]:
    """Every phoneme as long as it usually is."""
    usual: dict[str, list[int]] = {}
    for lesson, own in zip(train, found, strict=True):
        for name, frames in zip(lesson.phonemes, own.duration.tolist(), strict=True):
            usual.setdefault(name, []).append(frames)
    return [np.array([np.median(usual[name]) for name in lesson.phonemes]) for lesson in test]


def apply(trained: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """Each text as a sound and a picture in the current folder, named after its first words."""
    mel, rows = trained.fitted.sound, []
    names = read_aloud(inputs, trained.config.data.language, mel.rate)
    for text, phonemes, said in zip(inputs, names, say(trained, names), strict=True):
        stem = "-".join(normalised(text).split()[:6])
        audio.write(Path(f"{stem}.wav"), said.samples / max(np.abs(said.samples).max(), 1.0), mel.rate)
        picture(said, phonemes, mel, Path(f"{stem}.svg"), text)
        rows.append(
            {
                "text": text,
                "sound": f"{stem}.wav",
                "picture": f"{stem}.svg",
                "seconds": len(said.samples) / mel.rate,
                "phonemes": " ".join(phonemes[1:-1]),
            }
        )
    return rows


def picture(said: Said, phonemes: Sequence[str], mel: Mel, path: Path, title: str) -> None:
    """The spectrogram with the phonemes above it and the pitch in it."""
    from deeplearn.record.spectrogram import spectrograms

    edges = np.concatenate([[0], np.cumsum(said.duration)]) * mel.hop / mel.rate
    labels = [(name, *span) for name, span in zip(phonemes, pairwise(edges), strict=True)]
    _, pitch = voice.heard(audio.pcm(said.samples), mel)
    spectrograms([("", said.bands, labels, np.where(pitch > 0, pitch, np.nan))], mel.hop / mel.rate, path, title=title)


def figures(trained: Trained, folder: Path) -> None:
    """A sentence of the test, recorded and spoken: as sounds and as pictures."""
    mel = trained.fitted.sound
    lesson = measured(trained.config)[0][2][0]
    (said,) = say(trained, [lesson.phonemes])
    picture(said, lesson.phonemes, mel, folder / "figures" / "spoken.svg", lesson.text)
    audio.write(folder / "figures" / "spoken.wav", said.samples, mel.rate)
    audio.write(folder / "figures" / "natural.wav", lesson.sound / np.float32(32768), mel.rate)


SMOKE = {
    "data.sentences": 24,
    "data.phrases": 0,
    "data.held": 4,
    "width": 16,
    "encoder": 1,
    "decoder": 1,
    "phases": 2,
    "batch": 8,
}

if __name__ == "__main__":
    run_file(__file__)
