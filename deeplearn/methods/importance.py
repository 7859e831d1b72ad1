"""Which columns of a table a model makes use of."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from deeplearn.data.csvtable import Table


def importance(
    model: Callable[[Table], Float[np.ndarray, "N"]], table: Table, true: Float[np.ndarray, "N"], seed: int
) -> dict[str, float]:
    """How much the mean absolute error grows when one column is shuffled among the rows (Breiman, 2001).

    Columns that say the same share what they are worth, or hide it from each other.
    """
    order = np.random.default_rng(seed).permutation(len(true))
    error = lambda table: np.abs(model(table) - true).mean()  # noqa: E731
    base = error(table)
    return {name: float(error(table | {name: values[order]}) - base) for name, values in table.items()}
