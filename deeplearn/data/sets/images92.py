"""Kriegeskorte et al. (2008): how alike 92 objects are for inferior temporal cortex, and the objects."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from deeplearn.errors import DataError

FILES = ("92_brainRDMs.mat", "Kriegeskorte_Neuron2008_supplementalData.mat")
ADDRESS = "https://github.com/rsagroup/rsatoolbox, folder demos/92imageData"


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Images, and how dissimilar each pair of them is for S subjects."""

    name: str
    images: UInt8[np.ndarray, "C H W 3"]
    rdms: Float[np.ndarray, "S C C"]
    models: dict[str, Float[np.ndarray, "C C"]]
    """Dissimilarities that people's categories predict: what a network has to beat."""


def images92(folder: Path | None) -> Alike:
    """92 objects (175 x 175) and the matrices of four people, each the mean of two sessions.

    The data have no licence that would let a package carry them, so everybody fetches them once.

    Raises:
        DataError: the folder does not hold the two files, or they are damaged.
    """
    if folder is None or not all((folder / name).is_file() for name in FILES):
        raise DataError(
            f"{folder or 'the set images92'} lacks {' and '.join(FILES)}; put them from {ADDRESS} "
            "into a folder and give it as --data.path."
        )
    from scipy.io import loadmat

    try:
        brain, objects = (loadmat(folder / name, squeeze_me=True, struct_as_record=False) for name in FILES)
        images = np.stack([stimulus.image for stimulus in objects["stimuli_92objs"]])
        # [4 subjects, 2 sessions]
        rdms = np.array([[session.RDM for session in subject] for subject in brain["RDMs"]]).mean(1)
        vectors = objects["categoryVectors"].astype(np.float64)  # [92, 12] yes or no; the first is "animate"
    except Exception as error:  # Damaged .mat files raise many types.
        raise DataError(f"{folder} holds damaged files ({error}); fetch them again from {ADDRESS}.") from error
    categories = np.abs(vectors[:, None] - vectors[None])
    models = {"animate or not": categories[..., 0], "twelve categories": categories.mean(-1)}
    return Alike(name="images92", images=images, rdms=rdms, models=models)
