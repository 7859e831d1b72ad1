"""What an experiment's file defines, what one fit of it needs, and the knobs every run has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import optax
from jaxtyping import PyTree

from deeplearn.data.source import Source
from deeplearn.knobs import Count, NotNegative, Range
from deeplearn.optimizer import Optimizer
from deeplearn.task import Task

SEEDS = 1000
"""Most seeds of a run; the last one still has to be a uint32, which is what JAX makes keys of."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Knobs of every run; an experiment's Config extends them."""

    steps: Annotated[int, Range(low=1, high=2**31 - 1)] = 1000
    """Optimizer updates."""
    batch: Count = 128
    """Examples an update, over all devices and processes."""
    seed: Annotated[int, Range(low=0, high=2**32 - 1 - SEEDS)] = 0
    """Fixes initial parameters, order of the data, augmentation and dropout."""
    seeds: Annotated[int, Range(low=1, high=SEEDS)] = 1
    """Train this many seeds (seed, seed + 1, ...) and report mean, standard deviation and a 95 % interval."""
    together: bool | None = None
    """All seeds in one vmapped program; by default where the model has no convolution, since there it is faster."""
    log_every: Count = 100
    """Steps between lines in the log."""
    eval_every: Count | None = None
    """Steps between evaluations; by default only after the last step."""
    best: str = ""
    """Metric of the validation, such as valid/loss: keep the step of the best evaluation instead of the last step."""
    patience: Count | None = None
    """With `best`: train no further after so many evaluations in a row none of which was better."""
    save_every: Count | None = None
    """Steps between checkpoints; by default `save_seconds` alone says when, and the last step is saved."""
    save_seconds: NotNegative | None = 300.0
    """Seconds between checkpoints, so that a killed run loses minutes; more where saving would take over 1 % of it."""
    stuck_seconds: Annotated[float, Range(low=0, above=True)] | None = 1800.0
    """Seconds without a step or a batch evaluated after which the run ends, unless it paused for long before."""
    keep: Count = 2
    """Newest checkpoints to keep."""
    microbatches: Count = 1
    """Parts of the batch whose gradients are added before each update, to save memory."""
    exact: Annotated[int, Range(low=0, high=2**16)] = 0
    """Virtual shards of a batch, a power of two: the same bits on any number of devices that divides it; 0: off."""
    parallel: Literal["jit", "shard_map", "pmap"] = "jit"
    """How the step is spread over devices: by the compiler, or with explicit sums."""
    mesh: str = ""
    """Devices by axis, such as data=4,fsdp=2 or data=2,tensor=4; by default all on data."""
    workdir: Path | None = None
    """Run folder; by default a new one under runs/. A folder with checkpoints is resumed."""
    restart: bool = False
    """Start again at step 0, and remove the checkpoints in --workdir first."""
    sinks: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Where metrics go besides metrics.jsonl and TensorBoard; each needs the extra of its name, none a network."""
    optimizer: Optimizer = field(default_factory=Optimizer)


FREE = frozenset(
    {"steps", "seeds", "together", "parallel", "mesh", "workdir", "restart"}
    | {"log_every", "eval_every", "save_every", "save_seconds", "stuck_seconds", "keep", "sinks"}
    | {"remat", "model.remat"}
)
"""Knobs that may differ when a run is resumed: they do not change the data or what the model is."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Data to evaluate on."""

    source: Source
    score: Callable[[PyTree, Mapping[str, Any]], Mapping[str, Any]] | None = None
    """(predictions [N, ...], columns [N, ...] without padding) -> values, for what does not add up (BLEU, mAP)."""
    final: bool = False
    """Evaluate once, after the last step only: a test set must not be looked at while choices are made."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A task, its data and its optimizer: all that the loop needs."""

    task: Task
    optimizer: optax.GradientTransformation
    train: Source
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    fitted: Any = None
    """The file's `Fitted`: what was computed from the training part before training; stored with the run."""
    assets: Mapping[str, Any] = field(default_factory=dict)
    """File name -> bytes or JSON values that prediction needs besides: a tokenizer, examples to draw, ..."""
    rules: Sequence[tuple[str, tuple[str | None, ...]]] = ()
    """(path regex, mesh axis of each trailing array axis): the first match places a leaf; see `parallel.placements`."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an experiment's file defines. `catalog.load` reads it, once; nobody else looks into the file."""

    name: str
    """Of an experiment that comes with the code; else the path of the file."""
    path: Path
    about: str
    """The file's docstring."""
    Config: type[Run]
    experiment: Callable[..., Experiment] | None = None
    """(config, fitted=None) -> what one fit needs. Without `fitted` it is computed from the training part; with it, a
    stored model is evaluated again. Files without `Fitted` take the config alone."""
    main: Callable[[Any, Any], Mapping[str, Any]] | None = None
    """(config, `workspace.Workspace`) -> results, where one fit is not enough or none is needed."""
    Fitted: type | None = None
    """Dataclass of what is computed from the training part before training."""
    task: Callable[[Any, Any], Task] | None = None
    """(config, fitted) -> the task of the model that predicts; needs no data set."""
    baseline: Callable[[Any], Mapping[str, Mapping[str, Any]]] | None = None
    """config -> competitor -> its results on the same split."""
    apply: Callable[[Any, list[str]], list[dict[str, Any]]] | None = None
    """(`trained.Trained`, inputs) -> a row of values for each prediction."""
    produce: Callable[[Any, str, Path], dict[str, Any]] | None = None
    """(`trained.Trained`, input, path) -> a row of values: writes what is predicted, such as sound, into that file."""
    draw: Callable[[Any, list[str], Path | None], str] | None = None
    """(`trained.Trained`, inputs, path) -> the predictions as a drawing in characters; as a picture at a given path."""
    figures: Callable[[Any, Path], None] | None = None
    """(`trained.Trained`, run folder): draws into folder/figures."""
    TAKES_FILES: bool = False
    """Inputs of `apply` are names of files alone: `deeplearn serve` then has no field for texts."""
    PRESETS: Mapping[str, Run] = field(default_factory=dict)
    """Name -> config, for --preset."""
    EXPECTED: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Metric -> (value, tolerance) that the default reaches."""
    SMOKE: Mapping[str, Any] = field(default_factory=dict)
    """Dotted knob -> value, for a run of seconds."""
