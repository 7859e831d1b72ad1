"""Speech to learn from: machines that speak, a telephone exchange, your own recordings, public sets."""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplearn.data import audio, paged, recordings
from deeplearn.data.sets import voices
from deeplearn.data.speech import Corpus, Utterance, normalised
from deeplearn.errors import ConfigError, DataError
from deeplearn.knobs import Amount, Count, Positive

PUBLIC = {
    "librispeech": (("train_clean100",), "dev_clean", ("test_clean", "test_other")),
    "ljspeech": (("train[:90%]",), "train[90%:95%]", ("train[95%:]",)),
    "speech_commands": (("train",), "validation", ("test",)),
}
"""TFDS set -> its parts for training, validation and tests."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which speech."""

    name: Literal["voices", "mixed"] = "voices"
    """Sentences of a small grammar by the voices of espeak; `mixed` adds Asterisk's prompts, spoken and real."""
    sentences: Count = 3000
    """How many sentences of the grammar the voices of espeak say to learn from."""
    phrases: Amount = 5000
    """How many phrases with other words they say."""
    flite: Amount = 4000
    """How many sentences and phrases flite says to learn from, whose voices are made of recordings of people."""
    held: Count = 400
    """How many they say for the test; half as many for validation, a quarter by the other engine."""
    path: Path | None = None
    """Your own recordings instead: a folder of WAV or FLAC files with transcripts.csv (file,text[,speaker])."""
    tfds: str | None = None
    """A prepared TFDS set instead: librispeech, ljspeech or speech_commands."""
    longest: Positive = 16.0
    """Own and public recordings of more seconds are left out."""


def load(data: Data, rate: int, seed: int) -> Corpus:
    """All parts at a rate in Hz.

    Raises:
        DataError: names what is missing or cannot be read.
    """
    if data.path is not None:
        corpus, findings = recordings.folder(data.path, rate, seed, data.longest)
        for finding in findings:
            print(f"{data.path}: {finding}", file=sys.stderr)
        return corpus
    if data.tfds is not None:
        return public(data.tfds, rate, data.longest)
    return spoken(data, rate, seed)


def spoken(data: Data, rate: int, seed: int) -> Corpus:
    """What machines say, and the tests that need more than espeak where they can be had."""
    texts = [*voices.sentences("train", data.sentences, seed)]
    if data.phrases:
        texts += voices.phrases(data.phrases, seed)
    valid = {"valid": voices.espeak("valid", voices.sentences("valid", -(-data.held // 2), 1), rate, 1)}
    tests = {"test": voices.espeak("test", voices.sentences("test", data.held, 2), rate, 2)}
    if importlib.util.find_spec("onnxruntime"):
        tests["test_hibari"] = voices.hibari(voices.sentences("test", -(-data.held // 4), 3), rate)
    else:
        print("without onnxruntime there is no test by another engine: pip install onnxruntime", file=sys.stderr)
    real = []
    try:
        prompts = voices.asterisk(rate)
    except DataError as error:
        if data.name == "mixed":
            raise
        print(f"there is no test by a person ({error})", file=sys.stderr)
    else:
        valid["valid_asterisk"], tests["test_asterisk"] = prompts.valid, prompts.test
        if data.name == "mixed":
            texts += [utterance.text for utterance in prompts.train] * 4
            real = prompts.train * 6
    train = [*voices.espeak("train", texts, rate, seed), *real, *_by_flite(data.flite, rate, seed)]
    return Corpus(train=train, valid=valid, tests=tests, name=data.name, credits=voices.ASTERISK_CREDITS)


def _by_flite(count: int, rate: int, seed: int) -> list[Utterance]:
    """So many sentences and phrases, half of each; none where flite cannot be had, which is said."""
    half = count // 2
    texts = [*voices.sentences("train", half, seed + 1), *voices.phrases(count - half, seed + 1)] if count else []
    try:
        return voices.flite(texts, rate, seed) if texts else []
    except DataError as error:
        print(f"espeak alone is heard ({error}): other voices will be understood less", file=sys.stderr)
        return []


def public(name: str, rate: int, longest: float) -> Corpus:
    """A prepared TFDS set.

    Raises:
        ConfigError: a set that is not known here.
        DataError: it is not prepared.
    """
    if name not in PUBLIC:
        raise ConfigError(f"--data.tfds {name} is not known as speech; there are {', '.join(PUBLIC)}.")
    train, valid, tests = PUBLIC[name]

    def part(splits: Sequence[str]) -> list[Utterance]:
        return [utterance for split in splits for utterance in _records(name, split, rate, longest)]

    return Corpus(
        train=part(train),
        valid={"valid": part([valid])},
        tests={split if len(tests) > 1 else "test": part([split]) for split in tests},
        name=name,
    )


def _records(name: str, split: str, rate: int, longest: float) -> list[Utterance]:
    from deeplearn.data import tfds

    records, found, sounds = tfds.read(name, split), [], paged.Pool()
    words = tfds.classes(name) if name == "speech_commands" else ()
    own = {"ljspeech": 22050}.get(name, 16000)
    for number in range(len(records)):
        record: dict[str, Any] = records[number]
        text = words[record["label"]] if words else record["text"].decode()
        sound = np.asarray(record["audio" if words else "speech"])
        if text.startswith("_") or len(sound) > longest * own:  # _unknown_ and _silence_ are no words
            continue
        samples = audio.resampled(sound.astype(np.float32) / 32768, own, rate)
        speaker = str(record.get("speaker_id", ""))
        found.append(Utterance(sounds.kept(audio.pcm(samples)), normalised(text), speaker, written=text))
    return found
