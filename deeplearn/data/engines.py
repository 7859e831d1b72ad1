"""Machines that speak: espeak-ng, a formant synthesiser with a hundred voices; flite, whose five voices are made of
recordings of people; and hibari, a small neural one.

What espeak says depends on all it has said before (the phase of its oscillators), so a list of lines is spoken by one
fresh process, in order, and kept in the cache: the same list gives the same samples. Two come as wheels by name and
hash, flite as a package of Debian; hibari's model needs `onnxruntime`. espeak-ng is GPL-3 (Duddington, Dunn and
others), flite free with its authors named (Black and Lenzo, Carnegie Mellon University), hibari Apache-2.0 (Williams;
distilled from Kokoro-82M).
"""

import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from deeplearn.data.audio import pcm, resampled
from deeplearn.data.package import cache, deb, package
from deeplearn.errors import ConfigError, DataError, StorageError

Engine = Literal["espeak", "flite", "hibari"]
ESPEAK = {
    ("Linux", "x86_64"): "08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
    ("Darwin", "arm64"): "d27cdca31112226e7299d8562e889d3e38a1e48055c9ee381b45d669072ee59f",
    ("Windows", "AMD64"): "41f1e08ac9deda2efd1ea9de0b81dab9f5ae3c4b24284f76533d0a7b1dd7abd7",
}
"""Platform -> sha256 of its wheel of espeakng-loader 0.2.4."""
LIBRARY = {"Linux": "libespeak-ng.so", "Darwin": "libespeak-ng.dylib", "Windows": "espeak-ng.dll"}
FLITE = {
    ("Linux", "x86_64"): "bfa8c591f1b47730b30b372ec38e02918a1c9795eada67684e1746390ad2f061",
}
"""Platform -> sha256 of Debian's libflite1 2.2-5."""
HIBARI = "49f2abbbe451c988e7448b5afa08c8a56410535ebb855c0e7d174275df5ca1f3"


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is to be said, and how."""

    text: str
    voice: str = "en-us"
    """Of espeak: a language, and a variant behind a plus, such as en-us+f1; of flite awb, kal, kal16, rms, slt. Hibari
    has one voice."""
    speed: int = 170
    """Words a minute of espeak; flite is slower or faster in proportion."""
    pitch: int = 50
    """Of espeak, from 0 to 100."""
    range: int = 50
    """How much the pitch moves: 0 to 100, 50 is normal."""


class Spoken(NamedTuple):
    """What was heard."""

    sound: Int[np.ndarray, "T"]
    """int16 samples."""
    phonemes: tuple[str, ...]
    """Of espeak, in the International Phonetic Alphabet; an empty one is a pause."""
    starts: Int[np.ndarray, "P"]
    """The sample at which each phoneme begins."""


def speak(engine: Engine, lines: Sequence[Line], rate: int) -> list[Spoken]:
    """All lines, spoken in order by one fresh process, at a rate in Hz; from the cache where they were spoken before.

    Raises:
        DataError: the engine or one of its voices cannot be had here.
        StorageError: the cache cannot be written.
    """
    work = json.dumps([engine, rate, [asdict(line) for line in lines]])
    path = cache() / "speech" / f"{engine}-{hashlib.sha256(work.encode()).hexdigest()[:16]}.npz"
    if not path.is_file():
        folder = {"espeak": _espeak_folder, "flite": _flite_folder, "hibari": _hibari_folder}[engine]()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as place:
                fresh = Path(place) / path.name
                _in_fresh_process(engine, folder, work, fresh)
                fresh.rename(path)  # whole or absent, however many processes ask
        except OSError as error:
            raise StorageError(f"cannot write speech into {path.parent} ({error}); free space there") from error
    with np.load(path, allow_pickle=False) as stored:
        sounds = np.split(stored["sound"], stored["ends"][:-1])
        phonemes, starts = (np.split(stored[name], stored["last"][:-1]) for name in ("phonemes", "starts"))
    return [Spoken(s, tuple(p.tolist()), t) for s, p, t in zip(sounds, phonemes, starts, strict=True)]


def _in_fresh_process(engine: Engine, folder: Path, work: str, path: Path) -> None:
    command = [sys.executable, "-m", "deeplearn.data.engines", str(folder), str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, input=work, capture_output=True, text=True, env=environment)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise DataError(f"{engine} cannot speak ({reason}); check the voice's name and the text")


def _espeak_folder() -> Path:
    here = platform.system(), platform.machine()
    if here not in ESPEAK:
        known = ", ".join(" ".join(place) for place in ESPEAK)
        raise DataError(f"espeak has no wheel for {' '.join(here)}, only for {known}; use recordings of your own")
    return package("espeakng-loader", "0.2.4", ESPEAK[here], "espeakng_loader")


def _flite_folder() -> Path:
    here = platform.system(), platform.machine()
    if here not in FLITE:
        known = ", ".join(" ".join(place) for place in FLITE)
        raise DataError(f"flite is not known for {' '.join(here)}, only for {known}; --data.flite 0 goes without it")
    return deb("libflite1", "2.2-5", FLITE[here]) / "usr/lib" / f"{platform.machine()}-linux-gnu"


def _hibari_folder() -> Path:
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigError("hibari needs onnxruntime: pip install 'deeplearn[audio]'")
    return package("hibari-tts", "0.2.1", HIBARI, "hibari")


def main(folder: str, path: str) -> None:
    """The fresh process: reads the work from standard input and writes the archive."""
    engine, rate, lines = json.loads(sys.stdin.read())
    machine = {"espeak": _espeak, "flite": _flite, "hibari": _hibari}[engine]
    sounds, phonemes, starts = [], [], []
    for own, sound, events in machine(Path(folder), [Line(**line) for line in lines]):
        sounds.append(pcm(resampled(sound, own, rate)))
        phonemes.append([name for name, _ in events])
        starts.append([round(at * rate / own) for _, at in events])
    np.savez(
        path,
        sound=np.concatenate(sounds),
        ends=np.cumsum([len(sound) for sound in sounds]),
        phonemes=np.array([name for names in phonemes for name in names], np.str_),
        starts=np.array([at for times in starts for at in times], np.int32),
        last=np.cumsum([len(names) for names in phonemes]),
    )


def _hibari(folder: Path, lines: Sequence[Line]) -> Iterator[tuple[int, np.ndarray, list]]:
    sys.path.insert(0, str(folder.parent))
    from hibari import Hibari

    machine = Hibari()
    for line in lines:
        yield machine.sample_rate, np.asarray(machine(line.text, seed=0), np.float32), []


class _Wave(ctypes.Structure):
    """cst_wave of cst_wave.h."""

    _fields_ = [
        ("type", ctypes.c_char_p),
        *((name, ctypes.c_int) for name in ("rate", "samples", "channels")),
        ("sound", ctypes.POINTER(ctypes.c_short)),
    ]


class _Voice(ctypes.Structure):
    """The beginning of cst_voice of cst_voice.h."""

    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


def _flite(folder: Path, lines: Sequence[Line]) -> Iterator[tuple[int, np.ndarray, list]]:
    # The voices need the others, which are found because they are loaded already, by name.
    flite, *_ = (
        ctypes.CDLL(str(folder / f"lib{name}.so.1"), ctypes.RTLD_GLOBAL)
        for name in ("flite", "flite_usenglish", "flite_cmulex")
    )
    flite.flite_init()
    flite.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
    flite.feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
    voices = {}
    for name in {line.voice for line in lines}:
        if not (folder / f"libflite_cmu_us_{name}.so.1").is_file():
            raise SystemExit(f"flite has no voice {name!r}")
        register = getattr(ctypes.CDLL(str(folder / f"libflite_cmu_us_{name}.so.1")), f"register_cmu_us_{name}")
        register.restype = ctypes.POINTER(_Voice)
        voices[name] = register(None)
    for line in lines:
        voice = voices[line.voice]
        flite.feat_set_float(voice.contents.features, b"duration_stretch", Line.speed / line.speed)
        wave = flite.flite_text_to_wave(line.text.encode(), voice)
        sound = np.ctypeslib.as_array(wave.contents.sound, (wave.contents.samples,)) / np.float32(32768)
        yield wave.contents.rate, sound, []
        flite.delete_wave(wave)


class _Name(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("type", "message", "text", "length", "audio", "sample")),
        ("user", ctypes.c_void_p),
        ("id", _Name),
    ]


SYNCHRONOUS, PHONEMES_IN_IPA, PHONEME, LAST = 2, 3, 7, 0
"""speak_lib.h: AUDIO_OUTPUT_SYNCHRONOUS; both flags of espeak_Initialize; types of events."""
SPEED, VOLUME, PITCH, RANGE = 1, 2, 3, 4
"""speak_lib.h: espeak_PARAMETER."""


def _espeak(folder: Path, lines: Sequence[Line]) -> Iterator[tuple[int, np.ndarray, list[tuple[str, int]]]]:
    """(rate, samples, [(phoneme, its first sample)]) of every line."""
    library = ctypes.CDLL(str(folder / LIBRARY[platform.system()]))
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, str(folder / "espeak-ng-data").encode(), PHONEMES_IN_IPA)
    parts, events = [], []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
    def listen(samples, count, event):
        if samples and count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        place = 0
        while event and event[place].type != LAST:
            if event[place].type == PHONEME:
                name = bytes(event[place].id.string).partition(b"\0")[0].decode("utf-8", "replace")
                events.append((name, event[place].sample))
            place += 1
        return 0

    library.espeak_SetSynthCallback(listen)
    for line in lines:
        if library.espeak_SetVoiceByName(line.voice.encode()):
            raise SystemExit(f"espeak has no voice {line.voice!r}")
        # At full volume, which is 100, some voices clip.
        for knob, value in ((SPEED, line.speed), (VOLUME, 60), (PITCH, line.pitch), (RANGE, line.range)):
            library.espeak_SetParameter(knob, value, 0)
        parts.clear()
        events.clear()
        text = line.text.encode() + b"\0"
        library.espeak_Synth(text, len(text), 0, 0, 0, 1, None, None)  # 1: the text is UTF-8
        library.espeak_Synchronize()
        sound = np.concatenate([np.zeros(0, np.int16), *parts]) / np.float32(32768)
        yield rate, sound, list(events)


if __name__ == "__main__":
    main(*sys.argv[1:])
