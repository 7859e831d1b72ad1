"""Speech without a microphone: a small grammar spoken by machines, and the prompts of a telephone exchange.

The sentences book rooms, name prices and give commands. espeak says them in 58 voices and 8 accents; 12 voices and a
tenth of the sentences are for testing only. Two further tests keep the first honest, since all voices of espeak are one
model of a vocal tract: the same grammar by hibari, which is trained on human speech, and Asterisk's English prompts,
a person with words that the grammar does not have.
"""

import gzip
import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deeplearn.data import audio
from deeplearn.data.engines import Line, speak
from deeplearn.data.package import deb
from deeplearn.data.sets import bible
from deeplearn.data.speech import Utterance, normalised


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
MONTHS = _words("january february march april may june july august september october november december")
DAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
ROOMS = _words("single double twin family deluxe standard superior economy garden harbour")
STATES = _words("ready closed free busy clean")
COMMANDS = _words("play stop record delete save")
SENTENCES = (
    "book a ROOM room for NUMBER nights",
    "the price is NUMBER euros",
    "arrive on DAY MONTH NUMBER",
    "press NUMBER to leave a message",
    "please call extension NUMBER NUMBER",
    "cancel my ROOM room in MONTH",
    "room NUMBER is STATE",
    "COMMAND message number NUMBER",
)
WORDS = {"ROOM": ROOMS, "DAY": DAYS, "MONTH": MONTHS, "STATE": STATES, "COMMAND": COMMANDS}

VARIANTS = _words(
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f4 Alex Andy Annie Denis Diogo Gene Hugo Jacky Lee Marco Mario Michael Mike adam anika "
    "announcer antonio aunty belinda benjamin boris caleb david ed edward grandma grandpa ian iven john klatt klatt2 "
    "klatt3 linda max michel miguel norbert pablo paul pedro quincy rob robert steph steph2 travis zac"
)
"""Voices of espeak that say the same thing twice in the same way; those with breath (f2, f5, whisper) do not."""
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
FLITE = ("awb", "kal", "kal16", "rms", "slt")
"""The other engine's voices to learn from."""
TEACHER = "en-us"
"""The voice without a variant, which no recogniser here has heard: that of the synthesiser."""
TEST, VALID = VARIANTS[::5], VARIANTS[2::10]
TRAIN = tuple(name for name in VARIANTS if name not in (*TEST, *VALID))


def sentence(rng: np.random.Generator) -> str:
    """One of the grammar's."""

    def number() -> str:
        if rng.random() < 0.4:
            return ONES[rng.integers(20)]
        return TENS[rng.integers(8)] + (f" {ONES[rng.integers(1, 10)]}" if rng.random() < 0.6 else "")

    def word(slot: re.Match) -> str:
        if slot[0] == "NUMBER":
            return number()
        return WORDS[slot[0]][rng.integers(len(WORDS[slot[0]]))]

    return re.sub("[A-Z]+", word, SENTENCES[rng.integers(len(SENTENCES))])


def part(text: str) -> str:
    """Where a sentence belongs, by its spelling alone: a tenth is for tests, a tenth for validation."""
    return {0: "test", 1: "valid"}.get(zlib.crc32(text.encode()) % 10, "train")


def sentences(which: str, count: int, seed: int) -> list[str]:
    """So many sentences of one part."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        text = sentence(rng)
        found += [text] if part(text) == which else []
    return found


def phrases(count: int, seed: int) -> list[str]:
    """So many phrases of 2 to 9 words from a Bible (World English Bible, public domain), without names.

    The grammar has a hundred words, which a network learns by heart; these teach it sounds.
    """
    found = set()
    for verse in bible.edition("web").values():
        for piece in re.split(r"[^A-Za-z' ]+", verse):
            words = piece.split()
            if 2 <= len(words) <= 9 and piece.strip()[1:] == piece.strip()[1:].lower():
                found.add(normalised(piece))
    return [str(text) for text in np.random.default_rng(seed).permutation(sorted(found))[:count]]


def espeak(which: str, texts: Sequence[str], rate: int, seed: int) -> list[Utterance]:
    """The texts by the voices of one part, each at a speed, pitch and liveliness of its own."""
    rng, voices = np.random.default_rng(seed), {"train": TRAIN, "valid": VALID, "test": TEST}[which]
    lines, speakers = [], []
    for text in texts:
        accent, voice = ACCENTS[rng.integers(len(ACCENTS))], voices[rng.integers(len(voices))]
        speed, pitch, lively = rng.integers(120, 220), rng.integers(20, 80), rng.integers(20, 80)
        lines.append(Line(text=text, voice=f"{accent}+{voice}", speed=int(speed), pitch=int(pitch), range=int(lively)))
        speakers.append((voice, accent))
    spoken = speak("espeak", lines, rate)
    return [
        Utterance(found.sound, normalised(line.text), *who)
        for line, found, who in zip(lines, spoken, speakers, strict=True)
    ]


def flite(texts: Sequence[str], rate: int, seed: int) -> list[Utterance]:
    """The texts by five voices that are made of recordings of people, each at a speed of its own."""
    rng = np.random.default_rng(seed)
    lines = [
        Line(text=text, voice=FLITE[rng.integers(len(FLITE))], speed=int(rng.integers(120, 220))) for text in texts
    ]
    spoken = speak("flite", lines, rate)
    return [
        Utterance(found.sound, normalised(line.text), line.voice) for line, found in zip(lines, spoken, strict=True)
    ]


def hibari(texts: Sequence[str], rate: int) -> list[Utterance]:
    """The texts by the other engine's one voice."""
    spoken = speak("hibari", [Line(text=text) for text in texts], rate)
    return [Utterance(found.sound, normalised(text), "heart") for text, found in zip(texts, spoken, strict=True)]


class Prompts(NamedTuple):
    """The prompts of Asterisk; a fifth is for testing only, a tenth for validation."""

    train: list[Utterance]
    valid: list[Utterance]
    test: list[Utterance]


ASTERISK_CREDITS = "Asterisk core sounds 1.6.1: recorded by Allison Smith for Digium, Inc., CC BY-SA 3.0"


def asterisk(rate: int) -> Prompts:
    """Real recordings: English prompts of up to 8 s, spoken by Allison Smith (CC BY-SA 3.0), 8 kHz.

    Left out are tones, letters, and texts with digits in them, which say nothing about their pronunciation.
    """
    name, version = "asterisk-core-sounds-en", "1.6.1-1"
    texts = deb(name, version, "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50")
    sounds = deb(f"{name}-wav", version, "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d")
    table = texts / "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
    folder = sounds / "usr/share/asterisk/sounds/en_US_f_Allison"
    found = Prompts([], [], [])
    for line in gzip.decompress(table.read_bytes()).decode("utf-8", "replace").splitlines():
        name, _, text = line.partition(":")
        text = normalised(re.sub(r"\(.*?\)|\[.*?\]|<.*?>", "", text))
        path = folder / f"{name.strip()}.wav"
        if not text or re.search(r"\d", text) or name.startswith(("letters/", "phonetic/")) or not path.is_file():
            continue
        samples, _ = audio.read(path, rate)
        seconds = len(samples) / rate
        if 0.5 < seconds <= 8 and 4 < len(text) / seconds < 25:  # otherwise the text is not what is heard
            side = {0: found.test, 5: found.test, 1: found.valid}.get(zlib.crc32(text.encode()) % 10, found.train)
            side.append(Utterance(audio.pcm(samples), text, "Allison Smith"))
    return found
