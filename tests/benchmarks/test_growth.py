"""The benchmark of growth: what it writes can be read, and exponents are those of powers."""

import math

import numpy as np
import pytest

from benchmarks import growth, made
from deeplearn.errors import UsageError


@pytest.mark.parametrize("name", made.CASES)
def test_what_is_written_is_read(name, tmp_path):
    case = made.CASES[name]
    case.write(tmp_path, 200, np.random.default_rng(0))
    case.read(tmp_path)
    assert all(math.isclose(large, 10 * small) for small, large in zip(case.sizes, case.sizes[1:], strict=False))


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_a_power(power):
    assert growth.exponent_of((100, 3.0), (1000, 3.0 * 10**power)) == pytest.approx(power)


def test_an_unknown_case_is_named():
    with pytest.raises(UsageError, match="there is no case 'rows'"):
        growth.main(growth.Config(cases=("rows",)))
