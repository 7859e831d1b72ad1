"""What found objects before networks: histograms of gradients in sliding windows, told apart by a linear SVM.

Dalal & Triggs, "Histograms of oriented gradients for human detection" (2005): cells of 4 x 4 pixels with nine
directions, blocks of 2 x 2 cells, windows of 32 x 32 pixels, and a second training with the first one's worst mistakes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from deeplearn.competitors.search import progress
from deeplearn.data.doors.scenes import Scenes
from deeplearn.methods.boxes import Found, iou

CELL, DIRECTIONS, WINDOW = 4, 9, 32
BLOCKS = WINDOW // CELL - 1
"""Along a side of a window."""
AROUND = 1.25
"""Side of the window of an object, in longer sides of its box."""
EMPTY_EACH = 3
"""Windows without an object from each training picture."""
BATCHES = 40
"""Of training pictures, so that it learns for a minute."""
DOUBLES = 0.3
"""Of two boxes of a class that overlap more the surer stays."""


@dataclass(frozen=True)
class Detector:
    """A linear function of a window's blocks for each class, and what a window of it holds."""

    weight: Float[np.ndarray, "F C"]
    bias: Float[np.ndarray, "C"]
    shape: Float[np.ndarray, "C 2"]
    """Width and height of the mean box of a class, in sides of its window."""
    sides: Float[np.ndarray, "S"]
    """Of the windows that slide, in pixels."""


def sliding(data: Scenes, most: int) -> list[Found]:
    """What it finds in the test pictures, in their own pixels: at most so many boxes each."""
    zooms = data.test.columns["zoom"]
    detector = trained(data)
    found = []
    for image, zoom in zip(data.test.columns["image"], zooms, strict=True):
        own = detected(detector, image, most)
        found.append(own._replace(box=own.box / zoom))
        progress(f"HOG + SVM: {len(found)} of {len(zooms)} pictures looked through")
    progress("")
    return found


def trained(data: Scenes) -> Detector:
    """From windows of objects and others, then again with the surest mistakes on the same pictures."""
    pictures = [*_pictures(data)]
    progress(f"HOG + SVM: learns from {len(pictures)} pictures")
    rng = np.random.default_rng(0)
    squares = [_squares(box) for _, box, _ in pictures]
    longest = np.concatenate([square[:, 2] - square[:, 0] for square in squares])
    sides = np.geomspace(*np.quantile(longest, [0.05, 0.95]), 6)
    features, labels = [], []
    for (image, box, label), own in zip(pictures, squares, strict=True):
        features += [_window(image, square) for square in own]
        labels += label.tolist()
        for square in _empty(image, box, sides, rng):
            features.append(_window(image, square))
            labels.append(-1)
    shape = _shapes(pictures, squares, len(data.classes.classes))
    first = _fitted(features, labels, shape, sides)
    for image, box, _ in pictures[::4]:
        found = detected(first, image, 20)
        wrong = found.box[(iou(found.box, box).max(1, initial=0) < 0.3) & (found.score > 0)]
        features += [_window(image, square) for square in _squares(wrong)[:10]]
        labels += [-1] * len(wrong[:10])
    return _fitted(features, labels, shape, sides)


def _fitted(features: Sequence[np.ndarray], labels: Sequence[int], shape: np.ndarray, sides: np.ndarray) -> Detector:
    from sklearn.linear_model import SGDClassifier

    # The hinge of an SVM; one machine for each class against all others and what shows nothing.
    weights, biases = [], []
    x, y = np.stack(features), np.asarray(labels)
    for label in range(len(shape)):
        machine = SGDClassifier(alpha=1e-5, class_weight={True: 3.0, False: 1.0}, average=True, random_state=0)
        machine.fit(x, y == label)
        weights.append(machine.coef_[0])
        biases.append(machine.intercept_[0])
    return Detector(np.stack(weights, axis=1), np.array(biases), shape, sides)


def detected(detector: Detector, image: UInt8[np.ndarray, "H W 3"], most: int) -> Found:
    """The surest boxes of all windows of all sizes, a cell apart, without doubles."""
    boxes, scores, labels = [], [], []
    for side in detector.sides:
        zoom = WINDOW / side
        blocks = _blocks(_scaled(image, zoom))
        if min(blocks.shape[:2]) < BLOCKS:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(blocks, (BLOCKS, BLOCKS), (0, 1))  # [h, w, 36, 7, 7]
        margin = windows.reshape(*windows.shape[:2], -1) @ detector.weight + detector.bias  # [h, w, C]
        row, column, label = np.unravel_index(np.argsort(-margin, axis=None)[: 4 * most], margin.shape)
        centre = (np.stack([column, row], axis=1) * CELL + WINDOW / 2) / zoom
        half = detector.shape[label] * side / 2
        boxes.append(np.concatenate([centre - half, centre + half], axis=1))
        scores.append(margin[row, column, label])
        labels.append(label)
    box, score, label = np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels)
    order = np.argsort(-score, kind="stable")
    rivals = (iou(box[order], box[order]) > DOUBLES) & (label[order][:, None] == label[order])
    stays = np.ones(len(order), bool)
    for place in range(len(order)):
        stays[place] = not (stays[:place] & rivals[place, :place]).any()
    kept = order[stays][:most]
    return Found(box[kept], score[kept].astype(np.float64), label[kept])


def _pictures(data: Scenes) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(image, boxes [G, 4], labels [G]) of the training part."""
    for step in range(BATCHES):
        batch = data.train.at(step)
        for image, box, label, crowd in zip(*(batch[n] for n in ("image", "box", "label", "crowd")), strict=True):
            yield image, box[(label >= 0) & ~crowd], label[(label >= 0) & ~crowd]


def _squares(box: Float[np.ndarray, "G 4"]) -> Float[np.ndarray, "G 4"]:
    """The windows of boxes."""
    centre, half = (box[:, :2] + box[:, 2:]) / 2, AROUND / 2 * (box[:, 2:] - box[:, :2]).max(1, keepdims=True)
    return np.concatenate([centre - half, centre + half], axis=1)


def _shapes(pictures: Sequence[tuple], squares: Sequence[np.ndarray], classes: int) -> Float[np.ndarray, "C 2"]:
    box, label = (np.concatenate([picture[i] for picture in pictures]) for i in (1, 2))
    side = np.concatenate([square[:, 2:3] - square[:, :1] for square in squares])
    share = (box[:, 2:] - box[:, :2]) / side
    return np.stack([share[label == c].mean(0) if (label == c).any() else share.mean(0) for c in range(classes)])


def _empty(image: np.ndarray, box: np.ndarray, sides: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Random windows that hold no object, or a part of one."""
    for _ in range(EMPTY_EACH):
        side = rng.choice(sides)
        corner = rng.uniform(0, np.maximum(np.array(image.shape[1::-1]) - side, 1))
        square = np.concatenate([corner, corner + side])
        if not len(box) or iou(square[None], box).max() < 0.3:
            yield square


def _window(image: UInt8[np.ndarray, "H W 3"], square: Float[np.ndarray, "4"]) -> Float[np.ndarray, "F"]:
    """The blocks of a square of the image, as `detected` orders them."""
    from PIL import Image

    size = (WINDOW, WINDOW)
    part = Image.fromarray(image).transform(size, Image.Transform.EXTENT, tuple(square), Image.Resampling.BILINEAR)
    return np.moveaxis(_blocks(np.asarray(part)), 2, 0).ravel()


def _scaled(image: UInt8[np.ndarray, "H W 3"], zoom: float) -> UInt8[np.ndarray, "h w 3"]:
    from PIL import Image

    shape = [round(extent * zoom) for extent in image.shape[1::-1]]
    return np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR))


def _blocks(image: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "h w 36"]:
    """Of every 2 x 2 cells the histograms, at length one; of three channels the steepest gradient counts."""
    pixels = np.sqrt(image.astype(np.float32) / 255)
    down, across = np.gradient(pixels, axis=(0, 1))
    steep = np.hypot(down, across)
    channel = steep.argmax(-1)[..., None]
    pick = lambda x: np.take_along_axis(x, channel, -1)[..., 0]  # noqa: E731
    angle = np.mod(np.arctan2(pick(down), pick(across)), np.pi) / np.pi * DIRECTIONS
    low, share = np.floor(angle).astype(int) % DIRECTIONS, (angle % 1)[..., None]
    eye: Any = np.eye(DIRECTIONS, dtype=np.float32)
    votes = pick(steep)[..., None] * ((1 - share) * eye[low] + share * eye[(low + 1) % DIRECTIONS])
    rows, columns = (side // CELL for side in image.shape[:2])
    votes = votes[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL, DIRECTIONS).sum((1, 3))
    block = np.concatenate([votes[:-1, :-1], votes[:-1, 1:], votes[1:, :-1], votes[1:, 1:]], axis=-1)
    block /= np.linalg.norm(block, axis=-1, keepdims=True) + 1e-3
    block = block.clip(max=0.2)
    return block / (np.linalg.norm(block, axis=-1, keepdims=True) + 1e-3)
