"""Speech to learn from: machines that speak, a telephone exchange, your own recordings, public sets."""

from dataclasses import dataclass
from typing import Literal

from deeplearn.data.sets import voices
from deeplearn.data.speech import Corpus
from deeplearn.knobs import Amount, Count


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which speech."""

    name: Literal["voices", "mixed"] = "voices"
    """Sentences of a small grammar by the voices of espeak; `mixed` adds Asterisk's prompts, spoken and real."""
    sentences: Count = 3000
    """How many sentences of the grammar the voices of espeak say to learn from."""
    phrases: Amount = 5000
    """How many phrases with other words they say."""
    held: Count = 400
    """How many they say for the test; half as many for validation, a quarter by the other engine."""


def load(data: Data, rate: int, seed: int) -> Corpus:
    """All parts at a rate in Hz.

    Raises:
        DataError: names what is missing or cannot be read.
    """
    prompts = voices.asterisk(rate)
    texts = [*voices.sentences("train", data.sentences, seed), *voices.phrases(data.phrases, seed)]
    real = []
    if data.name == "mixed":
        texts += [utterance.text for utterance in prompts.train] * 4
        real = prompts.train * 6
    return Corpus(
        train=[*voices.espeak("train", texts, rate, seed), *real],
        valid={
            "valid": voices.espeak("valid", voices.sentences("valid", data.held // 2, 1), rate, 1),
            "valid_asterisk": prompts.valid,
        },
        tests={
            "test": voices.espeak("test", voices.sentences("test", data.held, 2), rate, 2),
            "hibari": voices.hibari(voices.sentences("test", data.held // 4, 3), rate),
            "asterisk": prompts.test,
        },
        name=data.name,
        credits=voices.ASTERISK_CREDITS,
    )
