"""Volumes of brain scanners in NIfTI-1 files (.nii, .nii.gz), without nibabel: the voxels and their size."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float

from deeplearn.errors import DataError

TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
"""NumPy's names of the header's data types; complex and colour volumes are not read."""


def read_nifti(path: Path) -> Float[np.ndarray, "X Y Z *T"]:
    """The voxels, scaled as the header says, in the file's order of axes.

    Raises:
        DataError: the file is missing, damaged, or of another kind.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        order = "<" if struct.unpack_from("<i", data)[0] == 348 else ">"
        if struct.unpack_from(f"{order}i", data)[0] != 348 or data[344:347] != b"n+1":
            raise ValueError("its header is not that of NIfTI-1")
        rank, *sizes = struct.unpack_from(f"{order}8h", data, 40)
        (code,) = struct.unpack_from(f"{order}h", data, 70)
        offset, slope, shift = struct.unpack_from(f"{order}3f", data, 108)
        if code not in TYPES or not 3 <= rank <= 7:
            raise ValueError(f"it holds values of type {code} in {rank} axes")
        shape = sizes[:rank]
        values = np.frombuffer(data, order + TYPES[code], math.prod(shape), int(offset)).reshape(shape, order="F")
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"cannot read the volume {path} ({error}); give a .nii or .nii.gz file.") from error
    return values.astype(np.float32) * (slope or 1.0) + shift  # a slope of 0 says that values are not scaled
