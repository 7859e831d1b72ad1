"""Numbers in English and German words: a synthetic pair of languages that a small model learns within seconds.

`four hundred twenty-one` is `vierhunderteinundzwanzig`: units before tens, and words grown together, but for those who
have seen enough of them entirely regular. For tests and first steps; it says nothing about real translation.
"""

import numpy as np

from deeplearn.data.text import Corpus

ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen",
    "twenty thirty forty fifty sixty seventy eighty ninety",
)
GERMAN = (
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
    "achtzehn neunzehn",
    "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
)


def english(number: int) -> str:
    """421 -> "four hundred twenty-one"; numbers below 1,000,000."""
    small, tens = (words.split() for words in ENGLISH)
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            head = f"{english(number // size)} {name}"
            return f"{head} {english(number % size)}" if number % size else head
    if number < 20:
        return small[number]
    return tens[number // 10 - 2] + (f"-{small[number % 10]}" if number % 10 else "")


def german(number: int, last: bool = True) -> str:
    """421 -> "vierhunderteinundzwanzig"; numbers below 1,000,000. A `last` one is "eins", before hundreds "ein"."""
    small, tens = (words.split() for words in GERMAN)
    for size, name in ((1000, "tausend"), (100, "hundert")):
        if number >= size:
            head = german(number // size, last=False) + name
            return head + german(number % size, last) if number % size else head
    if number < 20:
        return "eins" if number == 1 and last else small[number]
    return (f"{small[number % 10]}und" if number % 10 else "") + tens[number // 10 - 2]


def corpus(*, train: int = 4000, held_out: int = 200, seed: int = 0) -> Corpus:
    """Distinct numbers below a million: `train` pairs, and `held_out` for validation and test each."""
    size = train + 2 * held_out
    chosen = np.random.default_rng(seed).choice(1_000_000, size, replace=False)
    pairs = [(english(n), german(n)) for n in chosen.tolist()]
    return Corpus(pairs[2 * held_out :], pairs[:held_out], pairs[held_out : 2 * held_out])
