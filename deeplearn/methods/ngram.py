"""A language model of symbols: every context that was seen is a state of one automaton, so that a search can follow it.

Letters: N states, V symbols, of which 0 stands for the end.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BEGIN = -1


class NGram(NamedTuple):
    """State 0 is the beginning of a text."""

    logp: Float[np.ndarray, "N V"]
    """Log-probability in nats of each symbol in each state."""
    follow: Int[np.ndarray, "N V"]
    """The state after each symbol."""


def fit(texts: Iterable[Sequence[int]], symbols: int, order: int = 6) -> NGram:
    """Interpolated Witten-Bell estimates (Chen & Goodman, 1999, section 2.5): unseen symbols borrow shorter contexts.

    Args:
        texts: symbols 1 .. V - 1.
        order: symbols that an estimate looks at, its own included.
    """
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    counts[(BEGIN,)], counts[()] = Counter(), Counter()
    for text in texts:
        past = (BEGIN,)
        for symbol in (*text, 0):
            for start in range(len(past) + 1):
                counts[past[start:]][symbol] += 1
            past = (*past, symbol)[-(order - 1) :] if order > 1 else ()
    contexts = sorted(counts, key=lambda context: (context != (BEGIN,), len(context), context))
    number = {context: place for place, context in enumerate(contexts)}
    logp, follow = np.empty((len(contexts), symbols)), np.zeros((len(contexts), symbols), np.int32)
    for context in sorted(contexts, key=len):
        shorter = np.exp(logp[number[context[1:]]]) if context else np.full(symbols, 1 / symbols)
        seen = counts[context]
        share = np.zeros(symbols)
        share[list(seen)] = list(seen.values())
        logp[number[context]] = np.log((share + max(len(seen), 1) * shorter) / (share.sum() + max(len(seen), 1)))
        for symbol in range(symbols):
            after = (*context, symbol)[-(order - 1) :] if order > 1 else ()
            while after not in number:
                after = after[1:]
            follow[number[context], symbol] = number[after]
    return NGram(logp.astype(np.float32), follow)


def flat(symbols: int) -> NGram:
    """The model that knows nothing."""
    return NGram(np.zeros((1, symbols), np.float32), np.zeros((1, symbols), np.int32))
