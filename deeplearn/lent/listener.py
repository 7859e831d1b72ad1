"""Who judges sounds that machines make: a recogniser of ours that never heard the voice, and one that is not ours."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from deeplearn import trained
from deeplearn.competitors.speech import understood
from deeplearn.data import audio
from deeplearn.data.doors.teacher import Lesson
from deeplearn.errors import ConfigError
from deeplearn.methods import voice
from deeplearn.methods.sound import Mel
from deeplearn.trained import Trained


def listener(folder: Path | None, speakers: Collection[str]) -> Trained | None:
    """The run of recognition in a folder, which is to judge these speakers; None without a folder.

    Raises:
        ConfigError: it is no recogniser, has not learnt to the end, or has learnt from one of these voices.
    """
    if folder is None:
        return None
    if trained.recipe_of(folder)[0].name != "recognition":
        raise ConfigError(f"{folder} is no run of recognition, which could listen: train one, or leave it out.")
    trained.refuse_unended(folder)
    judge = trained.load(folder)
    # espeak's en-us+m1 is m1 with an accent, and recognition names accents apart.
    if known := {name for name in speakers if {name, name.split("+")[-1]} & set(judge.fitted.speakers)}:
        raise ConfigError(f"the judge in {folder} has heard {min(known)}, whom it is to judge: take another.")
    return judge


def judged(
    sounds: Sequence[Float[np.ndarray, "_"]],
    lessons: Sequence[Lesson],
    judge: Trained | None,
    mel: Mel,
    *,
    grammatical: bool | None,
) -> dict[str, float]:
    """How far samples [T] in -1..1 are from the recordings of the same sentences, and what listeners understand.

    Args:
        grammatical: see `competitors.speech.understood`.
    """
    whole, texts = [audio.pcm(own) for own in sounds], [lesson.text for lesson in lessons]
    heard = understood(whole, texts, mel.rate, judge, closed=grammatical)
    return voice.likeness(whole, [lesson.sound for lesson in lessons], mel) | heard
