"""From a spectrogram back to sound: a network fills in the phases, and critics hear whether it sounds recorded.

Log-mel bands keep what is said and lose how the waves stand to one another. Griffin-Lim searches for waves that agree;
Vocos (Siuzdak, 2024) has learnt them from recordings, and from critics (Kong et al., 2020; Jang et al., 2021) that
learn at the same time to tell its sounds from recordings, with an optimizer of their own. Tested on sentences that were
never heard, beside Griffin-Lim from the same bands.
Expected: 3.1 dB of distortion where Griffin-Lim has 4.2, in ten minutes on one core.
    deeplearn train vocoding
    deeplearn train vocoding --preset adversarial --init runs/latest    # goes on with critics
    deeplearn train synthesis --vocoder runs/latest      # speaks through it
    deeplearn predict runs/latest talk.wav --output copy.wav
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplearn.adversarial import CRITIC, MAKER, adversarial
from deeplearn.cli import run_file
from deeplearn.data import audio
from deeplearn.data.augment import example_keys
from deeplearn.data.doors import teacher
from deeplearn.data.doors.teacher import Data, Lesson
from deeplearn.data.inputs import attempted, expanded
from deeplearn.data.source import Arrays
from deeplearn.errors import ConfigError, UsageError
from deeplearn.experiment import Evaluation, Experiment, Run
from deeplearn.knobs import Count, NotNegative
from deeplearn.lent.listener import judged, listener
from deeplearn.lent.vocoder import of_model, of_run
from deeplearn.methods import sound, voice
from deeplearn.methods.sound import SPOKEN, Mel, sounding
from deeplearn.metrics import Mean, Metric
from deeplearn.models.vocos import Critics, Vocos, distance
from deeplearn.optimizer import Optimizer, of_each
from deeplearn.record.spectrogram import spectrograms
from deeplearn.task import Batch, Task, starting
from deeplearn.trained import Trained
from deeplearn.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Config(Run):
    """Knobs of vocoding."""

    data: Data = field(default_factory=Data)
    sound: Mel = field(default_factory=lambda: SPOKEN)
    width: Count = 192
    """Channels of the network."""
    depth: Count = 6
    """Its blocks."""
    frames: Count = 48
    """Of a piece that is learnt from; twice as many of one that is validated on."""
    adversary: NotNegative = 0.0
    """Weight of the critics' opinion; 0: the distance of spectra alone."""
    critics: Count = 16
    """Channels of each critic's first layer."""
    init: Path | None = None
    """Run folder of a vocoder to begin from: critics teach more where sounds are nearly right."""
    judge: Path | None = None
    """Run folder of a recogniser that listens to the test; it must not have heard the voice."""
    phases: Count = 60
    """Steps of Griffin-Lim, the competitor."""
    batch: Count = 16
    steps: int = 6000
    optimizer: Optimizer = field(default_factory=lambda: Optimizer(rate=3e-3, warmup=50, decay=1e-2, average=0.995))
    critic: Optimizer = field(default_factory=lambda: Optimizer(rate=5e-4, warmup=50, decay=1e-2, momentum=0.8))
    """How the critics learn."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the network has heard."""

    level: float
    """Root mean square of the recordings."""


def task(config: Config, fitted: Fitted | None = None) -> Task:
    """Sound from bands; predicts from `bands` [B, F, M], or those of `sound` [B, T]."""
    mel, piece = config.sound, config.frames * config.sound.hop

    def wave(batch: Batch) -> Float[Array, "B T"]:
        return batch["sound"].astype(jnp.float32) / 32768

    def inputs(batch: Batch) -> tuple[Array]:
        return (batch["bands"] if "bands" in batch else sound.log_mel(wave(batch), mel),)

    def augment(key: Array, batch: Batch) -> Batch:
        """Half of every piece, from anywhere in it."""

        def cut(key: Array, x: Array) -> Array:
            return jax.lax.dynamic_slice(x, (jax.random.randint(key, (), 0, len(x) - piece + 1),), (piece,))

        return batch | {"sound": jax.vmap(cut)(example_keys(key, batch), batch["sound"])}

    def objective(made: Array, batch: Batch) -> tuple[Mean, Mapping[str, Metric]]:
        far = Mean.of(distance(made, wave(batch), mel), batch["mask"])
        return far, {"distance": far} if config.adversary else {}  # otherwise that is the loss

    return adversarial(
        Vocos(mel, config.width, config.depth),
        Critics(mel.rate, config.critics),
        objective,
        inputs=inputs,
        real=wave,
        weight=config.adversary,
        augment=augment,
    )


def begun(config: Config) -> Task:
    """From what another run has learnt. Raises ConfigError where that network is another one."""
    other = of_run(config.init, config.sound, config.data, config.seed)
    if (other.network.width, other.network.depth) != (config.width, config.depth):
        own = f"--width {other.network.width} --depth {other.network.depth}"
        raise ConfigError(f"the vocoder in {config.init} is of another size: give this one {own}, too.")
    return starting(task(config), lambda fresh: {"params": {**fresh["params"], MAKER: other.params}})


def loudness(sound: Int[np.ndarray, "T"]) -> float:
    """Root mean square of an int16 sound in -1..1."""
    return float(np.sqrt(np.mean(np.square(sound / np.float32(32768)))))


def pieces(part: Sequence[Lesson], size: int) -> np.ndarray:
    """All recordings in pieces of so many samples, the last of each filled up with silence."""
    return np.concatenate([np.pad(own.sound, (0, -len(own.sound) % size)).reshape(-1, size) for own in part])


def experiment(config: Config, fitted: Fitted | None = None) -> Experiment:
    """Pieces of recordings; whole ones are tested in `main`."""
    size = 2 * config.frames * config.sound.hop
    train, valid, _ = teacher.load(config.data, config.sound.rate, config.seed)
    columns = [{"sound": pieces(part, size)} for part in (train, valid)]
    return Experiment(
        task=begun(config) if config.init else task(config),
        fitted=fitted or Fitted(level=loudness(np.concatenate([own.sound for own in train]))),
        optimizer=of_each({MAKER: config.optimizer, CRITIC: config.critic}, config.steps),
        train=Arrays(columns=columns[0], batch=config.batch, seed=config.seed, name=config.data.teacher),
        evaluations={"valid": Evaluation(source=Arrays(columns=columns[1], batch=32))},
    )


def copies(model: Trained, sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Int16 sounds as samples in -1..1 through the bands and back; what is beyond a multiple of the hop is lost."""
    vocoder = of_model(model)
    return [vocoder.sounding(voice.heard(own, model.config.sound)[0]) for own in sounds]


def copied(model: Trained, sound: Int[np.ndarray, "T"]) -> np.ndarray:
    """Any int16 sound as `copies`, brought to the loudness that the network knows on its way."""
    peak = np.abs(sound / np.float32(32768)).max(initial=0.0)
    gain = min(model.fitted.level / max(loudness(sound), 1e-6), 1 / max(peak, 1e-6))  # nothing is clipped
    return copies(model, [audio.pcm(sound / np.float32(32768) * gain)])[0] / gain


def heard(
    sounds: Sequence[np.ndarray], test: Sequence[Lesson], judge: Trained | None, config: Config
) -> dict[str, float]:
    """How far samples [T] are from the recordings, and what listeners understand of them."""
    return judged(sounds, test, judge, config.sound, grammatical=teacher.grammatical(config.data))


def main(config: Config, work: Workspace) -> dict[str, Any]:
    """One fit; then whole sentences of the test go through it."""
    own = replace(config, init=None) if work.reading else config  # what it began from may be gone by then
    listener(config.judge, ())  # wrong folders are told before anything is recorded
    if own.init:
        begun(own)
    test = teacher.load(config.data, config.sound.rate, config.seed).test
    judge = listener(config.judge, {own.speaker for own in test})  # before the training: later it is too late
    model, results = work.fit(partial(experiment, own), config)
    found = heard(copies(model, [own.sound for own in test]), test, judge, config)
    return results | {f"test/{name}": value for name, value in found.items()}


def baseline(config: Config) -> dict[str, dict[str, Any]]:
    """The recordings, and Griffin-Lim from the same bands."""
    mel, test = config.sound, teacher.load(config.data, config.sound.rate, config.seed).test
    judge = listener(config.judge, {own.speaker for own in test})
    rows = {
        "natural": [own.sound / np.float32(32768) for own in test],
        "Griffin-Lim": [sounding(voice.heard(own.sound, mel)[0], mel, config.phases) for own in test],
    }
    scored = {name: heard(sounds, test, judge, config) for name, sounds in rows.items()}
    return {name: {f"test/{key}": value for key, value in own.items()} for name, own in scored.items()}


def apply(model: Trained, inputs: list[str]) -> list[dict[str, Any]]:
    """Each recording's copy beside it (NAME.copy.wav), how near it comes, and how long it takes."""
    mel = model.config.sound
    read, rows = attempted(expanded(inputs, audio.SUFFIXES), lambda path: audio.read(path, mel.rate)[0])
    for path, samples in read:
        began, own = time.perf_counter(), audio.pcm(samples)
        copy = copied(model, own)
        took, length = time.perf_counter() - began, len(samples) / mel.rate
        place = Path(path).with_suffix(".copy.wav")
        audio.write(place, copy, mel.rate)
        found = voice.likeness([audio.pcm(copy)], [own], mel)
        rows.append({"sound": path, "copy": str(place), **found, "seconds": length, "real-time factor": took / length})
    return rows


def produce(model: Trained, recording: str, path: Path) -> dict[str, Any]:
    """The copy of a recording at a path that ends in .wav."""
    if path.suffix != ".wav":
        raise UsageError(f"{path} would hold sound: let it end in .wav.")
    mel = model.config.sound
    own = audio.pcm(audio.read(recording, mel.rate)[0])
    copy = copied(model, own)
    audio.write(path, copy, mel.rate)
    return {"sound": str(path), **voice.likeness([audio.pcm(copy)], [own], mel), "seconds": len(copy) / mel.rate}


def figures(model: Trained, folder: Path) -> None:
    """A sentence of the test as it was recorded, as the network and as Griffin-Lim copy it: to hear and to see."""
    config, mel = model.config, model.config.sound
    own = teacher.load(config.data, mel.rate, config.seed).test[0].sound
    bands = voice.heard(own, mel)[0]
    sounds = {"recorded": own / np.float32(32768), "network": copies(model, [own])[0]}
    sounds["Griffin-Lim"] = sounding(bands, mel, config.phases)
    for name, samples in sounds.items():
        audio.write(folder / "figures" / f"{name}.wav", samples, mel.rate)
    shown = [(name, *voice.heard(audio.pcm(samples), mel)) for name, samples in sounds.items()]
    rows = [(name, bands, [], np.where(pitch > 0, pitch, np.nan)) for name, bands, pitch in shown]
    spectrograms(rows, mel.hop / mel.rate, folder / "figures" / "copies.svg", title="One sentence, and its pitch")


TAKES_FILES = True
PRESETS = {
    # With --init: as many steps as take as long as the default's, at a third of the rate.
    "adversarial": Config(
        adversary=0.03,
        steps=1500,
        optimizer=Optimizer(rate=1e-3, warmup=50, decay=1e-2, average=0.995),
    ),
}
EXPECTED = {"test/mcd": (3.13, 0.4), "test/pitch_error": (0.22, 0.1)}
SMOKE = {
    "data.sentences": 24,
    "data.phrases": 0,
    "data.held": 4,
    "width": 16,
    "depth": 1,
    "frames": 32,
    "adversary": 0.0,
    "critics": 2,
    "critic.warmup": 0,
    "phases": 2,
    "batch": 8,
}

if __name__ == "__main__":
    run_file(__file__)
