"""The vocoder that a voice speaks through: learnt by a run of vocoding, and kept with the voice's own run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, PyTree

from deeplearn import trained
from deeplearn.adversarial import MAKER
from deeplearn.data.doors.teacher import Data
from deeplearn.errors import ConfigError
from deeplearn.methods.sound import Mel
from deeplearn.models.vocos import Vocos, waves
from deeplearn.trained import Trained


class Vocoder(NamedTuple):
    """A trained network."""

    network: Vocos
    params: PyTree

    def sounding(self, bands: Float[np.ndarray, "F M"]) -> Float[np.ndarray, "T"]:
        """Samples of log-mel bands."""
        return waves(self.network, self.params, bands)


def of_model(model: Trained) -> Vocoder:
    """What a run of vocoding has learnt."""
    own = model.config
    return Vocoder(Vocos(own.sound, own.width, own.depth), model.variables["params"][MAKER])


def of_run(folder: Path, mel: Mel, data: Data, seed: int) -> Vocoder:
    """The vocoder of a run folder, for a voice with these spectrograms and recordings.

    Raises:
        ConfigError: it is no run of vocoding, one that has not ended, or of other spectrograms, or has heard what the
            voice is tested on.
    """
    if trained.recipe_of(folder)[0].name != "vocoding":
        raise ConfigError(f"{folder} is no run of vocoding: train one, or leave it out.")
    trained.refuse_unended(folder)
    model = trained.load(folder)
    own = model.config
    if own.sound != mel:
        raise ConfigError(f"the vocoder in {folder} has learnt {own.sound}, this voice has {mel}: make them the same.")
    if data.path is not None and own.data.path == data.path and own.seed != seed:
        raise ConfigError(
            f"the vocoder in {folder} has learnt from other parts of {data.path}, and may have heard the test: "
            f"use its --seed {own.seed}."
        )
    return of_model(model)


def kept(vocoder: Vocoder) -> dict[str, Mapping[str, Any]]:
    """What a voice keeps of it, as assets of its run."""
    network = vocoder.network
    params = {name: np.asarray(leaf) for name, leaf in flatten_dict(dict(vocoder.params), sep="/").items()}
    return {"vocoder.json": {"width": network.width, "depth": network.depth}, "vocoder.npz": params}


def of_assets(model: Trained, mel: Mel) -> Vocoder:
    """The vocoder that a voice keeps."""
    network = Vocos(mel, **model.asset("vocoder.json"))
    return Vocoder(network, unflatten_dict(model.asset("vocoder.npz"), sep="/"))
