"""`deeplearn resume`: go on with a run where it stopped, with nothing retyped."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from deeplearn import processes
from deeplearn.errors import UsageError, note
from deeplearn.flags import before_jax, parse


def main(words: list[str]) -> None:
    """The knobs are those of the run folder, but for how far it goes and on how many devices."""
    import tyro

    @dataclass(frozen=True)
    class Resume:
        run: Annotated[Path, tyro.conf.Positional]
        """Run folder, such as runs/latest."""
        steps: int | None = None
        """Train up to so many steps instead of those of the run."""
        mesh: str | None = None
        """Devices by axis instead of those of the run, such as data=4,fsdp=2; "" puts all there are on data."""
        trust: bool = False
        """Run the experiment's file that lies in the folder; needed where it does not come with this code."""

    form = parse(Resume, words, verb="resume", about="Go on with a run where it stopped.")
    before_jax(form.run)
    processes.join()
    from deeplearn.record import seal
    from deeplearn.trained import recipe_of
    from deeplearn.verbs.train import run

    recipe, config = recipe_of(form.run.resolve(), trust=form.trust)
    if form.steps is not None and form.steps < config.steps:
        raise UsageError(f"{form.run} is a run of {config.steps} steps: --steps can only grow.")
    if form.steps in (None, config.steps) and seal.ended(config.workdir):
        note(f"{form.run} is finished; to train further: deeplearn resume {shlex.quote(str(form.run))} --steps N")
        return
    changed = {"steps": form.steps, "mesh": form.mesh}
    run(recipe, replace(config, **{name: value for name, value in changed.items() if value is not None}))
