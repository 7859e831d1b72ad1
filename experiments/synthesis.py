"""Text to speech: phonemes become a spectrogram in one go, and Griffin-Lim, or a vocoder, makes it sound.

FastSpeech 2 (Ren et al., 2021) with convolutions learns one voice: a machine's (then it is that machine's student), a
person's, your own. How long each phoneme lasts it learns from the recordings alone, by a search for the best cut. What
it says is judged by listeners that never heard this voice, beside the recordings themselves, copies of them through the
same spectrogram (what no synthesiser of this kind can exceed), shuffled phonemes, and pieces of recordings joined
together, which is what machines said before (Hunt & Black, 1996).
Expected: boundaries of phonemes 15 ms off, and as few words misheard as of the copies, in 12 minutes on one core.
    deeplearn train synthesis --judge runs/a-run-of-recognition
    deeplearn train synthesis --vocoder runs/a-run-of-vocoding
    deeplearn train synthesis --durations true          # espeak's own, for comparison
    deeplearn train synthesis --preset voices           # three voices in one model; --speaker en-us+grandma predicts
    deeplearn predict runs/latest "Book a garden room for two nights." --output hello.wav    # and hello.svg
"""

import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from deeplearn import optimizer
from deeplearn.cli import run_file
from deeplearn.competitors.timing import timings
from deeplearn.competitors.units import inventories
from deeplearn.data import audio
from deeplearn.data.buckets import Buckets, bounds
from deeplearn.data.doors import teacher
from deeplearn.data.doors.teacher import Data, Lesson, pausing, read_aloud
from deeplearn.data.inputs import attempted
from deeplearn.data.sets import voices
from deeplearn.data.source import Arrays
from deeplearn.data.speech import normalised
from deeplearn.errors import ConfigError, UsageError
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.knobs import Amount, Count, Positive, Range, Rest
from deeplearn.lent.listener import judged, listener
from deeplearn.lent.vocoder import Vocoder, kept, of_assets, of_run
from deeplearn.methods import prosody, segmental, voice
from deeplearn.methods.prosody import Measured, Scales, asked, boundary_error, duration_error
from deeplearn.methods.sound import SPOKEN, Mel, sounding
from deeplearn.metrics import Mean, Metric
from deeplearn.models import fastspeech
from deeplearn.models.fastspeech import FastSpeech, Spoken, Voice
from deeplearn.optimizer import Optimizer
from deeplearn.record.spectrogram import spoken
from deeplearn.task import Batch, Task, Variables, linen
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace

STEP = 32
"""Frames that lengths of batches are multiples of."""


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of synthesis."""

    data: Data = field(default_factory=Data)
    sound: Mel = field(default_factory=lambda: SPOKEN)
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
    vocoder: Path | None = None
    """Run folder of a vocoder, which makes the sound instead of Griffin-Lim; the voice keeps a copy."""
    phases: Amount = 60
    """Steps of Griffin-Lim."""
    speed: Positive = 1.0
    """How many times as fast as the teacher predictions are spoken."""
    pitch: Annotated[float, Range(low=-24, high=24)] = 0.0
    """How many semitones higher."""
    speaker: str | None = None
    """Who speaks predictions, where several were recorded; the first by name where nobody is named."""
    shapes: Count = 3
    """Lengths of training batches, each compiled: more of them save padding."""
    batch: Count = 16
    steps: int = 2500
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=2e-3, warmup=50, decay=1e-2, average=0.99))


Fitted = Scales


def task(config: Config, fitted: Fitted) -> Task:
    """Spectrograms under the recordings' own durations; predicts with the model's."""
    shape = dict(width=config.width, encoder=config.encoder, decoder=config.decoder, dropout=config.dropout)
    model = FastSpeech(len(fitted.phonemes), fitted.sound.bands, len(fitted.speakers), **shape)
    higher = config.pitch * np.log(2) / 12 / fitted.pitch[1]
    # From standardised bands to the distortion in dB of the cepstra without the zeroth.
    to_cepstra = voice.DECIBEL * voice.cepstra(np.diag(fitted.deviation)).astype(np.float32)  # [M, C]

    def known(batch: Batch) -> Voice:
        return Voice(batch["duration"], batch["pitch"], batch["energy"])

    def inputs(batch: Batch) -> tuple[Any, ...]:
        return batch["phonemes"], batch["sizes"], batch["speaker"], batch["bands"].shape[1], known(batch)

    def objective(found: Spoken, batch: Batch) -> tuple[Mean, Mapping[str, Metric]]:
        wanted = batch["bands"].astype(jnp.float32)
        total, heard = fastspeech.loss(found, wanted, known(batch), batch["sizes"], batch["mask"])
        distortion = jnp.sqrt(jnp.square((found.bands - wanted) @ to_cepstra).sum(-1) + 1e-9)
        return Mean(total=total, count=heard.sum()), {"mcd_timed": Mean.of(distortion, heard)}

    def predict(learnt: Variables, batch: Batch) -> dict[str, Array]:
        who = batch["speaker"] if len(fitted.speakers) > 1 else jnp.zeros_like(batch["sizes"])
        columns = batch["phonemes"], batch["sizes"], who, fitted.frames
        found = model.apply(learnt, *columns, rate=config.speed, pitch=higher, train=False)
        return {"bands": found.bands, "duration": found.duration}

    return replace(linen(model, objective, inputs=inputs), predict=predict)


class Part(NamedTuple):
    """Recordings, and what was measured of them."""

    lessons: list[Lesson]
    found: list[Measured]

    @property
    def phonemes(self) -> list[tuple[str, ...]]:
        return [lesson.phonemes for lesson in self.lessons]

    @property
    def speakers(self) -> list[str]:
        return [lesson.speaker for lesson in self.lessons]


@lru_cache(maxsize=1)  # fit, tests and competitors look at the same recordings
def measured(config: Config) -> tuple[Part, Part, Part]:
    """Training, validation and test recordings; the first part alone teaches how long phonemes are.

    Raises:
        ConfigError: true durations of a voice that does not tell them.
        DataError: a part holds no recording that can be used.
    """
    parts, kept, aligner = teacher.load(config.data, config.sound.rate, config.seed), [], None
    numbers = {name: n for n, name in enumerate(sorted({name for lesson in parts[0] for name in lesson.phonemes}))}
    for part in parts:
        lessons = teacher.usable(part, numbers, config.sound.hop, config.states)
        bands, pitches = zip(*(voice.heard(lesson.sound, config.sound) for lesson in lessons), strict=True)
        chains = [[numbers[name] for name in lesson.phonemes] for lesson in lessons]
        if config.durations == "true":
            times = teacher.told(lessons, config.sound.hop)
            if len(times) < len(lessons):
                raise ConfigError("only espeak tells how long its phonemes are: use --durations search.")
        else:
            aligner = aligner or segmental.fit(bands, chains, len(numbers), states=config.states)
            times = segmental.durations(aligner, bands, chains)
        kept.append(Part(lessons, [Measured(*row) for row in zip(bands, pitches, times, strict=True)]))
    return tuple(kept)


def experiment(config: Config, fitted: Fitted | None = None) -> Experiment:
    """Phonemes, scales and durations from the training part alone."""
    lent: Mapping[str, Any] = {}
    if config.vocoder and fitted is None:  # a stored voice has its own copy
        lent = kept(of_run(config.vocoder, config.sound, config.data, config.seed))
    parts = train, valid, test = measured(config)
    fitted = fitted or prosody.scales(train.found, train.phonemes, train.speakers, config.sound, STEP)
    if config.speaker not in (None, *fitted.speakers):
        raise ConfigError(f"--speaker {config.speaker} is not among the speakers: {', '.join(fitted.speakers)}.")
    lengths = np.array([len(own.bands) for own in train.found])
    longest = max(len(own) for part in parts for own in part.phonemes)
    limits = bounds(lengths, config.shapes, STEP)

    def columns(part: Part, rows: Sequence[int], limit: int) -> dict[str, np.ndarray]:
        said, who, found = ([own[row] for row in rows] for own in (part.phonemes, part.speakers, part.found))
        return prosody.columns(said, who, found, fitted, limit, longest)

    place = np.searchsorted(limits, lengths)
    rows = [columns(train, np.flatnonzero(place == part), limit) for part, limit in enumerate(limits)]
    source = Buckets(parts=rows, batch=config.batch, seed=config.seed, name=config.data.teacher)
    held = -(-max(len(own.bands) for own in (*valid.found, *test.found)) // STEP) * STEP
    print(f"shapes: training {source.described('bands')}, evaluations {held} frames", file=sys.stderr)
    sources = [Arrays(columns=columns(part, range(len(part.found)), held), batch=32) for part in (valid, test)]
    return Experiment(
        task=task(config, fitted),
        fitted=fitted,
        optimizer=optimizer.make(config.optimizer, config.steps),
        assets=lent,
        train=source,
        evaluations={"valid": Evaluation(source=sources[0]), "test": Evaluation(source=sources[1], final=True)},
    )


class Said(NamedTuple):
    """What the model makes of a text."""

    bands: np.ndarray
    """[F, M]"""
    duration: np.ndarray
    """[U] frames."""
    samples: np.ndarray
    """[T] in -1..1."""


def say(model: Trained, phonemes: Sequence[Sequence[str]], speakers: Sequence[str]) -> list[Said]:
    """Texts by the speaker of each. Raises DataError for phonemes that were never recorded."""
    fitted, said = model.fitted, []
    aloud = vocoded(model.config, of_assets(model, fitted.sound) if model.config.vocoder else None)
    longest = -(-max(len(names) for names in phonemes) // 16) * 16
    found = model.predict(asked(phonemes, speakers, fitted, longest), batch=16)
    for names, own, lasting in zip(phonemes, found["bands"], found["duration"], strict=True):
        if lasting.sum() > fitted.frames:
            most = fitted.frames * fitted.sound.hop / fitted.sound.rate
            raise UsageError(f"that is more than the {most:.1f} seconds this voice can say at once; say it in parts.")
        bands = own[: lasting.sum()] * np.array(fitted.deviation, np.float32) + np.array(fitted.mean, np.float32)
        said.append(Said(bands, lasting[: len(names)], aloud(bands)))
    return said


def vocoded(config: Config, vocoder: Vocoder | None) -> Callable[[np.ndarray], np.ndarray]:
    """Log-mel bands [F, M] -> samples [T] in -1..1."""
    return vocoder.sounding if vocoder else partial(sounding, mel=config.sound, steps=config.phases)


def heard(sounds: Sequence[np.ndarray], test: Part, judge: Trained | None, config: Config) -> dict[str, float]:
    """What listeners understand of samples [T], and how far those are from the recordings."""
    return judged(sounds, test.lessons, judge, config.sound, grammatical=teacher.grammatical(config.data))


def main(config: Config, work: Workspace) -> dict[str, Any]:
    """One fit; then the test is spoken and listened to."""
    listener(config.judge, ())  # wrong folders are told before anything is recorded
    if config.vocoder and not work.reading:
        of_run(config.vocoder, config.sound, config.data, config.seed)
    test, rng = measured(config)[2], np.random.default_rng(0)
    judge = listener(config.judge, test.speakers)  # before the training: later it is too late to take another
    learnt, results = work.fit(partial(experiment, config), config)
    said = say(learnt, test.phonemes, test.speakers)
    mixed = [(first, *rng.permutation(inner).tolist(), last) for first, *inner, last in test.phonemes]
    found = heard([own.samples for own in said], test, judge, config)
    shuffled = heard([own.samples for own in say(learnt, mixed, test.speakers)], test, judge, config)
    found |= {f"shuffled_{name}": shuffled[name] for name in ("cer", "wer", "sphinx_wer", "mcd") if name in shuffled}
    if true := teacher.told(test.lessons, config.sound.hop):
        found["duration_error"] = duration_error([own.duration for own in said], true, config.sound)
        if config.durations == "search":  # otherwise there is nothing to be wrong about
            found["boundary_error"] = boundary_error([own.duration for own in test.found], true, config.sound)
    return results | {f"test/{name}": value for name, value in found.items()}


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """The recordings, their copies through the spectrogram, and pieces of them joined."""
    (train, _, test), mel = measured(config), config.sound
    pieces = inventories(train.lessons, train.found, mel)
    copied = vocoded(config, of_run(config.vocoder, mel, config.data, config.seed) if config.vocoder else None)
    rows = {
        "natural": [lesson.sound / np.float32(32768) for lesson in test.lessons],
        "copy through the spectrogram": [copied(own.bands) for own in test.found],
        "recorded pieces": [pieces[x.speaker].say(x.phonemes) for x in test.lessons],
    }
    judge = listener(config.judge, test.speakers)
    scored = {name: heard(sounds, test, judge, config) for name, sounds in rows.items()}
    scored |= timings(train.lessons, train.found, test.lessons, judge, mel, config.states)
    return {name: {f"test/{key}": value for key, value in own.items()} for name, own in scored.items()}


def produce(model: Trained, text: str, path: Path) -> dict[str, Any]:
    """The text as a sound at a path that ends in .wav, with its picture (.svg) beside it."""
    if path.suffix != ".wav":
        raise UsageError(f"{path} would hold sound: let it end in .wav.")
    mel = model.fitted.sound
    phonemes = pausing(read_aloud([text], model.config.data.language, mel.rate)[0], model.fitted.phonemes)
    began = time.perf_counter()
    (said,) = say(model, [phonemes], [model.config.speaker or model.fitted.speakers[0]])
    took, seconds = time.perf_counter() - began, len(said.samples) / mel.rate
    audio.write(path, said.samples / max(np.abs(said.samples).max(), 1.0), mel.rate)
    picture(said, phonemes, mel, path.with_suffix(".svg"), text)
    facts: dict[str, Any] = {"sound": str(path), "picture": str(path.with_suffix(".svg"))}
    facts |= {"seconds": seconds, "real-time factor": took / seconds, "phonemes": " ".join(phonemes[1:-1])}
    return {"text": text, **facts}


def apply(model: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """Each text as a sound and a picture in the current folder, named by its first words and its checksum."""
    name = lambda text: f"{'-'.join(normalised(text).split()[:6])}-{zlib.crc32(text.encode()):08x}.wav"  # noqa: E731
    made, rows = attempted(inputs, lambda text: produce(model, text, Path(name(text))))
    return rows + [row for _, row in made]


def picture(said: Said, phonemes: Sequence[str], mel: Mel, path: Path, title: str) -> None:
    """The spectrogram with the phonemes above it and the pitch in it."""
    _, pitch = voice.heard(audio.pcm(said.samples), mel)
    spoken(said.bands, phonemes, said.duration, pitch, mel.hop / mel.rate, path, title=title)


def figures(model: Trained, folder: Path) -> None:
    """A sentence of the test, recorded and spoken: as sounds and as pictures."""
    mel, test = model.fitted.sound, measured(model.config)[2]
    lesson, own = test.lessons[0], test.found[0]
    (said,) = say(model, [lesson.phonemes], [lesson.speaker])
    for name, one in (("natural", Said(own.bands, own.duration, lesson.sound / np.float32(32768))), ("spoken", said)):
        picture(one, lesson.phonemes, mel, folder / "figures" / f"{name}.svg", f"{name}: {lesson.text}")
        audio.write(folder / "figures" / f"{name}.wav", one.samples, mel.rate)


PRESETS = {
    # Three voices that recognition does not learn from, with about as many recordings in all as of the one.
    "voices": Config(
        data=Data(voices=(voices.TEACHER, "en-us+grandma", "en-us+announcer"), sentences=400, phrases=134)
    ),
}
EXPECTED = {"test/mcd": (7.75, 0.4), "test/duration_error": (18.4, 2.0), "test/boundary_error": (14.6, 1.0)}
SMOKE = {
    "data.sentences": 24,
    "data.phrases": 0,
    "data.held": 4,
    "width": 16,
    "encoder": 1,
    "decoder": 1,
    "phases": 2,
    "shapes": 1,
    "batch": 8,
}

if __name__ == "__main__":
    run_file(__file__)
