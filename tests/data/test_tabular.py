"""Encoding tables: fitted on training rows, indifferent to what comes later, plain JSON."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplearn.config import from_json, to_json
from deeplearn.data.tabular import Encoding, day_of_year, encode, fit_encoding, forget, unknown
from deeplearn.errors import DataError


def table(size=200, seed=0):
    rng = np.random.default_rng(seed)
    area = rng.lognormal(4, 1, size)
    area[:20] = np.nan
    return {
        "area": area,
        "constant": np.ones(size),
        "town": rng.choice(["Ames", "Faro", "Oslo"], size),
        "day": np.datetime64("2023-01-01") + rng.integers(0, 365, size).astype("m8[D]"),
    }


def test_encoding_survives_json_and_drops_columns_that_say_nothing():
    encoding = fit_encoding(table())
    assert from_json(Encoding, json.loads(json.dumps(to_json(encoding)))) == encoding
    assert list(encoding.kinds) == ["area", "town", "day"]
    assert "area:known" in encoding.categories and "constant" not in encoding.numbers


def test_rows_are_encoded_one_by_one():
    encoding = fit_encoding(table())
    whole, part = encode(encoding, table()), encode(encoding, {k: v[30:40] for k, v in table().items()})
    for name in ("number", "category"):
        np.testing.assert_array_equal(whole[name][30:40], part[name])


def test_unknown_and_missing_values():
    encoding = fit_encoding(table())
    row = {
        "area": np.array([np.nan]),
        "constant": np.array([2.0]),
        "town": np.array(["Rome"]),
        "day": np.array(["NaT"], "M8[D]"),
    }
    columns = encode(encoding, row)
    assert np.isfinite(columns["number"]).all()
    position = dict(zip(encoding.categories, columns["category"][0].tolist(), strict=True))
    assert position["town"] == position["day:weekday"] == 0
    assert columns["number"][0, list(encoding.numbers).index("area")] == 0  # the median


def test_rare_values_train_the_unknown_position():
    values = np.array(["a"] * 10 + ["b"] * 10 + ["c"] * 4)
    encoding = fit_encoding({"town": values}, rare=5)
    assert encoding.categories == {"town": ["a", "b"]}
    assert encode(encoding, {"town": values})["category"][-4:].ravel().tolist() == [0] * 4


def test_edges_are_quantiles_of_the_scaled_values():
    values = table()["area"][20:]
    number = fit_encoding({"area": values}, bins=4).numbers["area"]
    np.testing.assert_allclose(
        np.array(number.edges) * number.scale + number.center, np.quantile(values, [0, 0.25, 0.5, 0.75, 1]), rtol=1e-5
    )


@pytest.mark.parametrize("date", ["1969-12-31", "2000-02-29", "2024-07-14"])
def test_calendar_agrees_with_the_standard_library(date):
    from datetime import date as Date

    expected = Date.fromisoformat(date)
    dates = np.array([date], "M8[D]")
    assert day_of_year(dates)[0] == expected.timetuple().tm_yday - 1
    year = np.arange("2023-01-01", "2024-01-01", dtype="M8[D]")
    encoding = fit_encoding({"d": year})
    position = dict(zip(encoding.categories, encode(encoding, {"d": dates})["category"][0].tolist(), strict=True))
    assert encoding.categories["d:weekday"][position["d:weekday"] - 1] == expected.strftime("%a")


def test_a_table_without_information_is_refused():
    with pytest.raises(DataError, match="none of the columns constant varies"):
        fit_encoding({"constant": np.ones(10)})


def test_missing_values_have_a_place_of_their_own():
    town = np.array(["Faro"] * 10 + [""] * 10 + ["Rome"] * 2)
    encoding = fit_encoding({"town": town})
    assert encoding.categories == {"town": ["", "Faro"]}
    assert encode(encoding, {"town": np.array(["", "Faro", "Rome", "Oslo"])})["category"].ravel().tolist() == [
        1,
        2,
        0,
        0,
    ]


def test_unknown_values_are_counted_by_column():
    encoding = fit_encoding(table())
    rows = {**{name: values[:4] for name, values in table().items()}, "town": np.array(["Rome", "", "Faro", "Rome"])}
    assert unknown(encoding, table()) == []
    assert unknown(encoding, rows) == ["town: 2 of 4 rows hold values not known from training ('Rome')"]


def test_a_share_of_the_categories_is_forgotten_whatever_the_batch():
    category, index = jnp.ones((4000, 3), jnp.int32), jnp.arange(4000)
    found = forget(jax.random.key(0), category, index, 0.1)
    assert abs(float((found == 0).mean()) - 0.1) < 0.01
    np.testing.assert_array_equal(forget(jax.random.key(0), category[7:9], index[7:9], 0.1), found[7:9])
    np.testing.assert_array_equal(forget(jax.random.key(0), category, index, 0.0), category)
