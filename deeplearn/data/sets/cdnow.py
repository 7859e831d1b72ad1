"""Purchases at the web shop CDNOW."""

import numpy as np

from deeplearn.data.customers import Purchases, purchases_of
from deeplearn.data.package import package


def cdnow() -> Purchases:
    """69,659 purchases, January 1997 to June 1998, of the 23,570 customers who first bought at CDNOW in early 1997.

    Fader and Hardie (2001), as the wheel of Lifetimes carries it.

    Raises:
        DataError: the wheel is neither in the cache nor reachable.
    """
    sha256 = "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8"
    path = package("Lifetimes", "0.11.3", sha256, "lifetimes") / "datasets/CDNOW_master.txt"
    rows = np.array([line.split() for line in path.read_text().splitlines()[1:]])  # customer, yyyymmdd, items, dollars
    return purchases_of(
        customer=rows[:, 0],
        day=np.array([f"{text[:4]}-{text[4:6]}-{text[6:]}" for text in rows[:, 1]], "M8[D]"),
        items=rows[:, 2].astype(np.float64),
        amount=rows[:, 3].astype(np.float64),
        name="cdnow",
    )
