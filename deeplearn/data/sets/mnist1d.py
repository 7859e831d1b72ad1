"""MNIST-1D: ten short signals, moved and distorted (Greydanus & Kobak, ICML 2024, arXiv:2011.14439).

A problem of 40 numbers an example on which models differ as they do on large images: logistic regression reaches 32 %,
an MLP 68 %, a CNN 94 % and a human 96 % in the paper. The generator below follows the paper's recipe and knobs; its
random numbers are NumPy's, so single examples differ from the authors' file while their distribution does not.
"""

import numpy as np

from deeplearn.data.images import Images, Splits, carved

TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)  # the paper's outlines of the digits 0 to 9, drawn as one line each
LONGEST = 72  # a template of 12 points and the longest padding of 60


def mnist1d(seed: int = 42, size: int = 5000, length: int = 40) -> Splits:
    """A generated set: four fifths train and validation, one fifth test; `image` is float32 [N, length, 1, 1].

    Args:
        seed: draws every example and the split.
        size: examples of all splits together, the same number of each class.
        length: numbers in one example.
    """
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(size) % 10).astype(np.int32)
    signal = _resample(_distorted(_placed(_normalised(TEMPLATES)[label], rng), rng), length)
    rows, test = np.split(np.arange(size), [size * 4 // 5])
    signal = (signal - signal[rows].mean()) / signal[rows].std()
    everything = Images(
        image=signal.astype(np.float32)[:, :, None, None],
        label=label,
        classes=tuple("0123456789"),
        name=f"mnist1d-{seed}",
    )
    return carved(everything, rows, test, seed=1)


def _normalised(template: np.ndarray) -> np.ndarray:
    """[10, 12]: deviation 1/6, starting at zero."""
    template = (template - template.mean(1, keepdims=True)) / template.std(1, keepdims=True)
    return (template - template[:, :1]) / 6


def _placed(template: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pads, dilates, scales and rolls each template: signal and whether the digit lies there, both [N, LONGEST]."""
    count, points = template.shape
    padding = rng.integers(36, 60, (count, 1), endpoint=True)
    place = np.linspace(0, 1, LONGEST) * (points + padding - 1)  # of each output sample, in points of the template
    signal = np.stack([np.interp(x, np.arange(points), y, right=0) for x, y in zip(place, template, strict=True)])
    signal *= 1 + 0.4 * (rng.random((count, 1)) - 0.5)
    rolled = (np.arange(LONGEST) - rng.integers(48, size=(count, 1))) % LONGEST
    return np.take_along_axis(signal, rolled, 1), np.take_along_axis(place < points, rolled, 1)


def _distorted(placed: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise around the digit, white noise everywhere, and a slope: [N, LONGEST]."""
    from scipy.ndimage import gaussian_filter1d

    signal, inside = placed
    smooth = gaussian_filter1d(0.25 * rng.standard_normal(signal.shape), sigma=2, axis=1)
    signal = np.where(inside, signal, smooth) + 0.02 * rng.standard_normal(signal.shape)
    return signal - 0.75 * (rng.random((len(signal), 1)) - 0.5) * np.linspace(-0.5, 0.5, LONGEST)


def _resample(signal: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation to [N, length]."""
    place = np.linspace(0, signal.shape[1] - 1, length)
    left = np.minimum(place.astype(int), signal.shape[1] - 2)
    weight = place - left
    return signal[:, left] * (1 - weight) + signal[:, left + 1] * weight
