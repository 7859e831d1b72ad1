"""The benchmark of exact mode measures both kinds of step."""

from benchmarks import exact


def test_rows_of_both_modes():
    plain, shards = exact._rows(exact.Config(cases=("mlp-small",), shards=2, quick=True))
    assert [row["case"]["mode"] for row in (plain, shards)] == ["plain", "exact"]
    assert plain["exact_over_plain"] == shards["exact_over_plain"]
    assert plain["samples"] != shards["samples"]
