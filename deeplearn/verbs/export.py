"""`deeplearn export`: a trained model without this code."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from deeplearn.flags import before_jax, parse


def main(words: list[str]) -> None:
    import tyro

    @dataclass(frozen=True)
    class Export:
        run: Annotated[Path, tyro.conf.Positional]
        """Run folder, such as runs/latest."""
        output: Path | None = None
        """Folder for model.stablehlo, model.safetensors and model.json; by default export/ in the run folder."""
        platforms: tuple[str, ...] = field(default_factory=lambda: ("cpu", "cuda", "tpu"))
        """Where the program is to run."""
        onnx: bool = False
        """Write model.onnx, too (needs the package jax2onnx)."""
        trust: bool = False
        """Run the experiment's file that lies in the folder; needed where it does not come with this code."""

    form = parse(
        Export,
        words,
        verb="export",
        about="The trained model without this code: StableHLO (any batch size) and safetensors.",
    )
    before_jax()
    from deeplearn.export import export
    from deeplearn.files import refuse_unwritable
    from deeplearn.trained import recipe_of

    recipe_of(form.run, trust=form.trust)  # Nothing is made in a folder that is no run.
    output = form.output or form.run / "export"
    refuse_unwritable(output, "--output")
    for path in export(form.run, output, form.platforms, onnx=form.onnx, trust=form.trust):
        print(path)
