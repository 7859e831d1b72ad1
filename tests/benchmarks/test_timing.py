"""The timer on a simulated clock: it finds what was planted and nothing else."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.timing import Budget, Ratio, Sampler, Timing, compiled, measure, rotated, signed_rank, timed

SIMULATED = Budget(rounds=60, seconds=1e9, warmup=1e9, rest=0)


class Machine:
    """A clock that calls move forward: 3 % noise, one call in twenty up to four times as long, a drift by half."""

    def __init__(self, seed: int):
        self.now = 0.0
        self.rng = np.random.default_rng(seed)

    def takes(self, seconds: float) -> Sampler:
        def call(number: int) -> None:
            noise = self.rng.lognormal(0, 0.03) * (1 + 3 * self.rng.random() * (self.rng.random() < 0.05))
            self.now += seconds * noise * (1 + 0.5 * np.sin(self.now / 2))

        return timed(call, clock=lambda: self.now)


def ratio(seed: int, slowdown: float) -> Ratio:
    machine = Machine(seed)
    candidates = {"a": machine.takes(0.01 * slowdown), "b": machine.takes(0.01)}
    times = measure(candidates, SIMULATED)
    return Ratio.of(times["a"], times["b"])


def test_a_planted_slowdown_of_five_percent_is_found():
    found = [ratio(seed, 1.05) for seed in range(100)]
    assert np.mean([r.p < 0.01 and r.value > 1 for r in found]) >= 0.99
    assert np.mean([r.low <= 1.05 <= r.high for r in found]) >= 0.9
    assert np.mean([r.value for r in found]) == pytest.approx(1.05, abs=0.005)


def test_no_difference_is_reported_between_equals():
    found = [ratio(1000 + seed, 1.0) for seed in range(200)]
    assert np.mean([r.differs for r in found]) <= 0.05
    assert np.mean([r.p < 0.05 for r in found]) <= 0.1


def test_signed_rank_agrees_with_scipy():
    from scipy.stats import wilcoxon

    for seed in range(10):
        values = np.random.default_rng(seed).normal(0.3, 1, 10 + 5 * seed)
        exact = len(values) <= 25
        expected = wilcoxon(values, method="exact" if exact else "approx", correction=False).pvalue
        assert signed_rank(values.tolist()) == pytest.approx(expected, rel=1e-9)
    assert signed_rank([0.0, 0.0]) == 1.0


def test_candidates_take_turns_and_inputs_rotate():
    seen: list[tuple[str, int]] = []
    inputs = [(0,), (1,), (2,)]
    candidates = {
        name: timed(
            rotated(lambda value, name=name: seen.append((name, value)), inputs), clock=itertools.count().__next__
        )
        for name in ("a", "b")
    }
    times = measure(candidates, Budget(rounds=4, seconds=1e9, rest=0))
    turns = [name for name, _ in seen[-8:]]
    assert turns == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert {value for _, value in seen} == {0, 1, 2}
    assert len(times["a"].samples) == 4


def test_time_ends_the_rounds_but_not_before_the_fewest():
    machine = Machine(0)
    times = measure({"a": machine.takes(1.0)}, Budget(rounds=50, fewest=3, seconds=0.5, warmup=0.1, rest=0))
    assert len(times["a"].samples) == 3


def test_fast_calls_are_taken_together():
    machine = Machine(0)
    times = measure({"a": machine.takes(1e-5)}, SIMULATED)
    assert times["a"].calls >= 50
    assert times["a"].median == pytest.approx(1e-5, rel=0.6)


def test_statistics():
    timing = Timing(samples=(1.0, 2.0, 3.0, 4.0, 100.0))
    assert (timing.minimum, timing.median, timing.iqr) == (1.0, 3.0, 2.0)
    assert timing.summary()["samples"] == 5


def test_a_real_program_is_compiled_apart_and_waited_for():
    program, seconds = compiled(lambda x: x @ x, jax.ShapeDtypeStruct((64, 64), jnp.float32))
    inputs = [(jnp.full((64, 64), float(i)),) for i in range(3)]
    times = measure({"product": timed(rotated(program, inputs))}, Budget(rounds=3, seconds=1, warmup=0.2))
    assert seconds > 0 and all(sample > 0 for sample in times["product"].samples)
    assert program(*inputs[1])[0, 0] == 64
