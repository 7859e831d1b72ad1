"""`deeplearn serve`: a small local page to try a model."""

import os
import secrets
import signal
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from deeplearn.errors import UsageError, note
from deeplearn.flags import before_jax, bounded, parse
from deeplearn.knobs import Count, Range


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Serve:
        run: Annotated[Path, tyro.conf.Positional]
        """Run folder, such as runs/latest."""
        host: str = "127.0.0.1"
        """Where to listen; by default nobody outside this machine can connect. The connection is not encrypted."""
        port: Annotated[int, Range(low=0, high=65535)] = 8000
        """0 takes a free one."""
        limit: Count = 32_000_000
        """Most bytes of a request; a file takes a third more than its size."""
        trust: bool = False
        """Run the experiment's file that lies in the folder; needed where it does not come with this code."""

    form = parse(Serve, words, verb="serve", about="A page in the browser, and a JSON address, to try a model.")
    bounded(form)
    before_jax()
    from deeplearn import trained
    from deeplearn.serve import Served, server

    recipe, config = trained.recipe_of(form.run.resolve(), trust=form.trust)
    if recipe.apply is None:
        raise UsageError(f"{recipe.name} has no apply(), so there is nothing to predict with.")
    model = trained.opened(recipe, config)
    served = Served(
        name=recipe.name,
        about=" ".join((recipe.apply.__doc__ or "").split("\n\n")[0].split()),
        apply=partial(recipe.apply, model),
        token=secrets.token_urlsafe(16),
        limit=form.limit,
        texts=not recipe.TAKES_FILES,
        draw=recipe.draw and partial(recipe.draw, model),
    )
    if form.host not in ("127.0.0.1", "localhost", "::1"):
        note(f"{form.host} can be reached by others, who need the token; what they send is not encrypted")
    listening = server(served, form.host, form.port)
    for number in (signal.SIGINT, signal.SIGTERM):  # Stopping is how it ends, and the folder below is to go.
        signal.signal(number, _stop)
    with tempfile.TemporaryDirectory(prefix="deeplearn-serve-") as empty, listening:
        os.chdir(empty)  # A text such as *.png stands for nothing here.
        print(f"open http://{form.host}:{listening.server_port}/?token={served.token}   (Ctrl-C ends it)", flush=True)
        try:
            listening.serve_forever()
        except KeyboardInterrupt:
            note("")
        finally:
            os.chdir("/")


def _stop(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
