"""What is said of a table: ids, constants, columns that hold the target, numbers taken for names; and nothing else."""

import numpy as np

from deeplearn.data.findings import explained, findings, scattered


def table(size=400, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "area": rng.uniform(20, 200, size),
        "nights": rng.integers(1, 9, size).astype(float),
        "town": rng.choice(["Ames", "Faro", ""], size),
        "day": np.datetime64("2024-01-01") + rng.integers(0, 300, size).astype("m8[D]"),
    }


def said_of(column, values, target=None):
    return [sentence for sentence in findings(table() | {column: values}, target) if sentence.startswith(column)]


def test_nothing_is_said_of_an_ordinary_table():
    columns = table()
    price = columns["area"] * 2 + np.random.default_rng(1).normal(0, 30, 400)
    assert findings(columns, price) == []


def test_ids_constants_and_names_that_are_numbers_are_named():
    rng = np.random.default_rng(0)
    assert "number of the rows" in said_of("booking", np.arange(400) + 1000.0)[0]
    assert "number of the rows" in said_of("guest", np.array([f"guest {i}" for i in range(400)]))[0]
    assert "same in all rows" in said_of("hotel", np.full(400, "Adler"))[0]
    assert "same in all rows" in said_of("empty", np.full(400, np.nan))[0]
    rate = rng.integers(50, 90, 400).astype(str)
    rate[::5] = "unknown"
    assert "80% of its cells are numbers: --data.number rate" in said_of("rate", rate)[0]
    assert "says little" in said_of("street", np.array([f"street {i % 150}" for i in range(400)]))[0]


def test_another_form_of_the_target_is_named():
    price = np.random.default_rng(0).lognormal(4, 1, 2000)
    columns = {
        "dollars": price * 1.1 + 3,
        "rank": np.argsort(np.argsort(price)).astype(float) // 20,
        "noise": price[::-1],
    }
    price[7] = 1e6  # an outlier does not hide it
    columns["level"] = np.array([f"level {int(p)}" for p in columns["rank"]])
    named = {sentence.split()[0] for sentence in findings(columns, price) if "afterwards" in sentence}
    assert named == {"dollars", "rank", "level"}


def test_numbers_that_are_names_are_told_from_amounts():
    rng = np.random.default_rng(0)
    agents, discount = rng.permutation(500)[:60].astype(float), rng.normal(0, 20, 60)
    drawn = rng.integers(0, 60, 6000)
    price = 100 + discount[drawn] + rng.normal(0, 20, 6000)
    agent = agents[drawn]
    agent[::7] = np.nan
    assert scattered(agent, price)
    assert "--data.category agent" in next(s for s in findings({"agent": agent}, price))
    assert not findings({"agent": agent}, price, sure=["agent"])
    for amount in (drawn + price // 9, rng.integers(0, 60, 6000).astype(float), rng.uniform(0, 60, 6000)):
        assert not scattered(amount, price)


def test_explained_variance_of_groups_by_chance_is_about_zero():
    rng = np.random.default_rng(0)
    target = rng.normal(size=3000)
    for values in (rng.normal(size=3000), rng.choice([f"c{i}" for i in range(200)], 3000)):
        assert abs(explained(values, target)) < 0.03
    group = rng.integers(0, 5, 3000)
    noisy = group + 0.5 * target
    rank = np.argsort(np.argsort(noisy))
    between = np.var(np.array([rank[group == g].mean() for g in range(5)])[group]) / rank.var()
    assert abs(explained(np.array([f"g{g}" for g in group]), noisy) - between) < 0.005
    assert abs(explained(group.astype(float), noisy) - between) < 0.005
