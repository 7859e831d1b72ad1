"""What tables of prices are usually given to: boosted trees, a support-vector machine and ridge regression.

LightGBM, XGBoost and CatBoost are measured, too, where they are installed.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from deeplearn.competitors.search import Setting, Space, between, drawn, one_thread, search, whole
from deeplearn.data.csvtable import take
from deeplearn.data.doors.prices import Fitted, Part, Problem, seen
from deeplearn.data.tabular import encode

MOST_LEVELS = 255
"""Positions of a category that scikit-learn's boosted trees can take; those of larger ones count as numbers."""
SEARCHED = 20_000
"""Rows that a competitor learns from, and is judged on, at most while settings are compared."""
CELLS = 4e7
"""Rows times columns that trees and ridge regression learn from at most: four minutes of a thousand trees."""
KERNEL_WORK = 3e9
"""Rows squared times columns that the support-vector machine learns from at most: about half a minute."""
KERNEL_SEARCH = 1e8
"""The same while settings are compared, where each is to take about a second."""
LOSSES = "squared_error", "absolute_error"
"""What scikit-learn's boosted trees may make small."""


class Regressor(Protocol):
    """scikit-learn's way."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Any: ...

    def predict(self, x: np.ndarray) -> np.ndarray: ...


class Lesson(NamedTuple):
    """Rows to learn from and to judge on, as a competitor sees them; the target is about 0 with a spread of 1."""

    x: Float[np.ndarray, "N F+C"]
    target: Float[np.ndarray, "N"]
    held: Float[np.ndarray, "M F+C"]
    numbers: int
    """The first so many columns are numbers, the others positions of categories."""
    cardinalities: Sequence[int]

    @property
    def levels(self) -> list[int]:
        """Columns that trees take as categories."""
        return [self.numbers + i for i, size in enumerate(self.cardinalities) if size <= MOST_LEVELS]


class Competitor(NamedTuple):
    """A method and its settings."""

    space: Space
    make: Callable[[Setting, Lesson], Regressor]
    kernel: bool = False
    """Its time grows with the square of the rows."""


def design(columns: Mapping[str, np.ndarray]) -> Float[np.ndarray, "N F+C"]:
    """Numbers and positions of categories side by side."""
    return np.hstack([columns["number"], columns["category"].astype(np.float32)])


def competitors(losses: Sequence[str] = LOSSES) -> dict[str, Competitor]:
    """All that are installed; trees may make these losses small."""
    found = {
        "HistGradientBoosting": Competitor(Space(HISTOGRAM, partial(_histogram, losses)), _histogram_model),
        "RBF-SVR": Competitor(Space(KERNEL, _kernel), _kernel_model, kernel=True),
        "ridge": Competitor(Space({"alpha": 1.0}, lambda rng: {"alpha": between(rng, 1e-2, 1e4)}), _ridge_model),
    }
    optional = {"LightGBM": _lightgbm, "XGBoost": _xgboost, "CatBoost": _catboost}
    for name, make in optional.items():
        if importlib.util.find_spec(name.lower()) is not None:
            found[name] = Competitor(Space(BOOSTED, _boosted), make)
    return found


Posed = tuple[Lesson, Callable[[np.ndarray], np.ndarray]]
"""A lesson, and what values for its held rows mean as prices."""


def posed(problem: Problem, part: Part, fitted: Fitted) -> Posed:
    """What a competitor learns from, written as the network's rows are, and is judged on."""
    table, scale, encoding = seen(problem, part).table, fitted.scale, fitted.encoding
    x, held = (design(encode(encoding, take(table, rows))) for rows in part)
    learnt, judged = (scale.units(take(table, rows)) for rows in part)
    target = scale.from_price(problem.price[part.train], learnt)
    given = Lesson(x, target, held, len(encoding.numbers), encoding.cardinalities)
    return given, lambda value: np.asarray(scale.to_price(jnp.float32(value), jnp.float32(judged)))


class Posing(NamedTuple):
    """The lessons of one scale of the prices."""

    trials: Sequence[Posed]
    """How settings are compared."""
    tests: Sequence[Posed]
    """What is learnt in the best one."""


def posings(
    problem: Problem,
    fits: Mapping[str, Callable[[Problem, Part], Fitted]],
    trials: Sequence[Part],
    tests: Sequence[Part],
) -> dict[str, Posing]:
    """Scale -> its lessons; `fits` say what is fitted before, in each of the scales."""
    pose = lambda part, fit: posed(problem, part, fit(seen(problem, part), part))  # noqa: E731
    return {
        name: Posing([pose(part, fit) for part in trials], [pose(part, fit) for part in tests])
        for name, fit in fits.items()
    }


def compared(
    scales: Mapping[str, Posing],
    loss: Callable[[np.ndarray], float],
    losses: Sequence[str] = LOSSES,
    effort: float = 1.0,
) -> dict[str, np.ndarray]:
    """Competitor -> its prices of the held rows of all tests, in the setting whose prices of all trials lose least.

    Args:
        scales: of the prices, of which every setting takes one; the first is the usual.
        loss: of the prices of the held rows of all trials.
        losses: what trees may make small: squared errors alone where the loss is their mean.
        effort: share of the search and of the work to spend, of what a whole run does.
    """

    def priced(one: Competitor, setting: Setting, lessons: Sequence[Posed], rows: Choice) -> np.ndarray:
        own = {key: value for key, value in setting.items() if key != "scale"}
        return np.concatenate([meant(predicted(one, own, lesson, rows(lesson))) for lesson, meant in lessons])

    found = {}
    for name, one in competitors(losses).items():
        tried = lambda s, one=one: loss(priced(one, s, scales[s["scale"]].trials, partial(_few, one)))  # noqa: E731
        best = search(name, _scaled(one.space, [*scales]), tried, effort=effort).setting
        learnt = lambda lesson, one=one, name=name: drawn(name, len(lesson.x), _most(one, lesson, effort))  # noqa: E731
        found[name] = priced(one, best, scales[best["scale"]].tests, learnt)
    return found


def judged(part: Part) -> Part:
    """The part with no more held rows than settings are judged on."""
    return Part(part.train, np.sort(np.random.default_rng(0).permutation(part.held)[:SEARCHED]))


def _scaled(space: Space, scales: Sequence[str]) -> Space:
    """Settings that say a scale, too."""
    usual = {**space.usual, "scale": scales[0]}
    return Space(usual, lambda rng: {**space.draw(rng), "scale": str(rng.choice(scales))})


Choice = Callable[[Lesson], Int[np.ndarray, "R"]]
"""Which rows of a lesson to learn from."""


def _few(one: Competitor, lesson: Lesson) -> Int[np.ndarray, "R"]:
    """Rows to learn from while settings are compared."""
    most = min(SEARCHED, _kernel_rows(lesson, KERNEL_SEARCH)) if one.kernel else SEARCHED
    return np.random.default_rng(0).permutation(len(lesson.x))[:most]


def _most(one: Competitor, lesson: Lesson, effort: float) -> int:
    """Rows to learn from in the setting that was found."""
    return _kernel_rows(lesson, effort * KERNEL_WORK) if one.kernel else int(effort * CELLS / lesson.x.shape[1])


def _kernel_rows(lesson: Lesson, work: float) -> int:
    return int((work / sum((lesson.numbers, *lesson.cardinalities))) ** 0.5)


def predicted(one: Competitor, setting: Setting, lesson: Lesson, rows: Int[np.ndarray, "R"]) -> Float[np.ndarray, "M"]:
    """Values for the held rows, learnt from these."""
    with one_thread():
        model = one.make(setting, lesson)
        model.fit(lesson.x[rows], lesson.target[rows])
        return np.asarray(model.predict(lesson.held), np.float64)


HISTOGRAM = dict(
    loss="squared_error",
    learning_rate=0.1,
    max_iter=100,
    max_leaf_nodes=31,
    min_samples_leaf=20,
    l2_regularization=0.0,
    max_features=1.0,
)
"""scikit-learn's own."""


def _histogram(losses: Sequence[str], rng: np.random.Generator) -> Setting:
    return dict(
        loss=str(rng.choice(losses)),
        learning_rate=between(rng, 0.02, 0.2),
        max_iter=whole(rng, 100, 1000),
        max_leaf_nodes=whole(rng, 4, 48),
        min_samples_leaf=whole(rng, 4, 60),
        l2_regularization=between(rng, 1e-2, 10),
        max_features=float(rng.uniform(0.15, 1)),
    )


def _histogram_model(setting: Setting, lesson: Lesson) -> Regressor:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(random_state=0, categorical_features=lesson.levels, **setting)


KERNEL = {"C": 10.0, "epsilon": 0.05, "gamma": "scale"}


def _kernel(rng: np.random.Generator) -> Setting:
    # The library's "scale" is one over the columns (their deviations are 1 before the categories are spread out).
    return dict(C=between(rng, 0.1, 100), epsilon=between(rng, 0.01, 0.2), gamma=between(rng, 1e-3, 0.1))


def _flat(lesson: Lesson) -> Any:
    """Numbers scaled, and each position of a category a column."""
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    ends = slice(0, lesson.numbers), slice(lesson.numbers, lesson.numbers + len(lesson.cardinalities))
    encoders = StandardScaler(), OneHotEncoder(handle_unknown="ignore")
    return make_column_transformer(*((e, end) for e, end in zip(encoders, ends, strict=True) if end.stop > end.start))


def _kernel_model(setting: Setting, lesson: Lesson) -> Regressor:
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVR

    return make_pipeline(_flat(lesson), SVR(**setting))


def _ridge_model(setting: Setting, lesson: Lesson) -> Regressor:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    return make_pipeline(_flat(lesson), Ridge(**setting))


BOOSTED = dict(rate=0.1, rounds=100, depth=6, l2=1.0, columns=1.0)
"""About what the three libraries set; positions of categories count as numbers in all of them."""


def _boosted(rng: np.random.Generator) -> Setting:
    return dict(
        rate=between(rng, 0.02, 0.2),
        rounds=whole(rng, 100, 1000),
        depth=whole(rng, 3, 8),
        l2=between(rng, 0.1, 10),
        columns=float(rng.uniform(0.15, 1)),
    )


def _lightgbm(setting: Setting, lesson: Lesson) -> Regressor:
    return importlib.import_module("lightgbm").LGBMRegressor(
        learning_rate=setting["rate"],
        n_estimators=setting["rounds"],
        num_leaves=2 ** setting["depth"] // 2,
        reg_lambda=setting["l2"],
        colsample_bytree=setting["columns"],
        random_state=0,
        n_jobs=1,
        verbose=-1,
    )


def _xgboost(setting: Setting, lesson: Lesson) -> Regressor:
    return importlib.import_module("xgboost").XGBRegressor(
        learning_rate=setting["rate"],
        n_estimators=setting["rounds"],
        max_depth=setting["depth"],
        reg_lambda=setting["l2"],
        colsample_bytree=setting["columns"],
        random_state=0,
        n_jobs=1,
    )


def _catboost(setting: Setting, lesson: Lesson) -> Regressor:
    return importlib.import_module("catboost").CatBoostRegressor(
        learning_rate=setting["rate"],
        iterations=setting["rounds"],
        depth=setting["depth"],
        l2_leaf_reg=setting["l2"],
        rsm=setting["columns"],
        random_seed=0,
        thread_count=1,
        allow_writing_files=False,
        verbose=False,
    )
