"""Pairs of sentences: reading them from files, splitting them honestly, and learning a vocabulary from them.

A pair is (source, target), two lines of text. The vocabulary is one for both sides, learned by SentencePiece
(Kudo & Richardson, 2018) from the training side only.
"""

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplearn.errors import DataError

Pair = tuple[str, str]


class Corpus(NamedTuple):
    """Pairs of sentences in three parts; `copies` says what they share."""

    train: list[Pair]
    valid: list[Pair]
    test: list[Pair]


PAD, UNKNOWN, BEGIN, END = range(4)
"""Token numbers that every vocabulary starts with."""
LEARNED_FROM = 1_000_000
"""Lines that are enough for a vocabulary; its training holds them all in memory, and WMT14 has nine million."""
BLOCK = 2**25
"""Similarities at a time, 128 MiB: few queries against a large memory."""
EXACT = 15_000
"""Different lines up to which all pairs are compared: five seconds, and four times as long for twice as many."""
SHARED, PIECES = 200, 12
"""Lines that may share a piece of text, and pieces of each line, where not all pairs are compared: time's bound."""


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file, without their ends. Raises DataError where it is missing, empty or not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give the path of a UTF-8 text file.") from error
    if not content:
        raise DataError(f"{path}: is empty; give a file with one sentence a line.")
    return lines_of(content, path)


def lines_of(content: bytes, name: str | Path) -> list[str]:
    """Lines of UTF-8 text: what ends them is a line feed, and nothing else that Unicode calls a line.

    Raises:
        DataError: it is not UTF-8; names the line.
    """
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise DataError(f"{name}, line {line}: holds a byte of zero, as UTF-16 does; save the file as UTF-8.")
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")  # a byte-order mark is not text
    decoded = []
    for number, line in enumerate(lines, 1):
        try:
            decoded.append(line.decode("utf-8").rstrip("\r"))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name}, line {number}: not UTF-8 (byte {line[error.start]:#04x} at column {error.start + 1}); "
                f"convert it first, for example with `iconv -f latin1 -t utf-8`."
            ) from error
    return decoded[:-1] if decoded[-1] == "" else decoded


def sentences(inputs: Iterable[str]) -> list[str]:
    """The lines of what is a file, and what is none as it is. Raises DataError as `read_lines`."""
    found = []
    for given in inputs:  # a long sentence is an error to Path.is_file
        found += read_lines(Path(given)) if os.path.isfile(given) else [given]  # noqa: PTH113
    return found


def read_pairs(source: Path, target: Path) -> list[Pair]:
    """Line n of `source` with line n of `target`.

    Raises:
        DataError: a file is missing or not UTF-8, a line is empty, or there are more lines in one than in the other.
    """
    sides = read_lines(source), read_lines(target)
    if len(sides[0]) != len(sides[1]):
        raise DataError(
            f"{source} has {len(sides[0])} lines but {target} has {len(sides[1])}; "
            "line n of one must translate line n of the other."
        )
    for path, lines in zip((source, target), sides, strict=True):
        for number, line in enumerate(lines, 1):
            if not line.strip():
                raise DataError(f"{path}, line {number}: is empty; remove the line from both files or fill it in.")
    return [(" ".join(a.split()), " ".join(b.split())) for a, b in zip(*sides, strict=True)]


def copies(corpus: Corpus) -> dict[str, int]:
    """How many pairs of the validation and the test part are training pairs, too."""
    known = set(corpus.train)
    return {name: sum(pair in known for pair in getattr(corpus, name)) for name in ("valid", "test")}


def train_tokenizer(lines: Sequence[str], size: int) -> bytes:
    """SentencePiece model (unigram, one thread, hence reproducible) of at most `size` pieces, as its file's bytes.

    Of more than `LEARNED_FROM` lines, it learns from as many at random.

    Raises:
        DataError: the lines hold no text, or more different letters than `size` has room for.
    """
    import io

    import sentencepiece

    if len(lines) > LEARNED_FROM:  # not every n-th: source and target lines may alternate
        drawn = np.random.default_rng(0).choice(len(lines), LEARNED_FROM, replace=False)
        lines = [lines[n] for n in drawn]
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=size,
            hard_vocab_limit=False,  # little text has fewer pieces than asked for
            character_coverage=1.0,  # every letter of the training side can be written
            num_threads=1,
            pad_id=PAD,
            unk_id=UNKNOWN,
            bos_id=BEGIN,
            eos_id=END,
            minloglevel=2,  # errors only
        )
    except RuntimeError as error:  # whose text is a place in SentencePiece's source
        letters = len({letter for line in lines for letter in line})
        raise DataError(
            f"no vocabulary of {size} pieces can be learned from {len(lines)} lines with {letters} different letters; "
            "give more text, or a larger vocabulary (--data.vocabulary)."
        ) from error
    return model.getvalue()


def load_tokenizer(model: bytes):
    """The `sentencepiece.SentencePieceProcessor` of these bytes: `.encode(lines)`, `.decode(numbers)`."""
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=model)


def nearest(queries: Sequence[str], memory: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each query the most similar line of `memory`: (its number [Q], cosine [Q] of character-trigram TF-IDF)."""
    best, similarity = [], []
    for _, block in _similarities(queries, memory):
        best.append(block.argmax(1))
        similarity.append(block.max(1))
    return np.concatenate(best), np.concatenate(similarity)


def similar_groups(lines: Sequence[str], threshold: float) -> np.ndarray:
    """Group number of each line [N]: lines more similar than `threshold` share a group, if only by way of others.

    Of up to EXACT different lines all pairs are compared; of more, those that share a rare piece of text, which finds
    19 of 20 (of 8,000 software messages) or all (of 10,000 Bible verses), in a time that grows with the lines.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    different, place = np.unique(np.array(lines, np.dtypes.StringDType()), return_inverse=True)
    found = _all_pairs if len(different) <= EXACT else _pairs_with_common_pieces
    left, right = np.concatenate(list(found(different.tolist(), threshold))).T
    links = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(different),) * 2)
    groups = connected_components(links, directed=False)[1][place]
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group]  # numbered as they come


def _all_pairs(lines: Sequence[str], threshold: float) -> Iterator[np.ndarray]:
    """Pairs [P, 2] of lines that are more similar, each line with itself among them."""
    for start, block in _similarities(lines, lines):
        yield np.argwhere(block > threshold) + np.array([start, 0])


def _pairs_with_common_pieces(lines: Sequence[str], threshold: float) -> Iterator[np.ndarray]:
    """Pairs [P, 2] of lines that are more similar among those that share one of their PIECES rarest six letters."""
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import HashingVectorizer

    table = _trigrams().fit_transform(lines)
    pieces = HashingVectorizer(
        analyzer="char_wb", ngram_range=(6, 6), n_features=2**24, norm=None, alternate_sign=False
    )
    found = pieces.transform(lines).tocsr()
    often = np.bincount(found.indices, minlength=found.shape[1])[found.indices]
    line = np.repeat(np.arange(len(lines)), np.diff(found.indptr))
    line, piece, often = (own[(often > 1) & (often <= SHARED)] for own in (line, found.indices, often))
    order = np.lexsort((often, line))
    line, piece = line[order], piece[order]
    rarest = np.arange(len(line)) - np.searchsorted(line, line) < PIECES
    keys = csr_array((np.ones(rarest.sum(), np.float32), (line[rarest], piece[rarest])), shape=found.shape)
    for start in range(0, len(lines), 5000):
        likely = (keys[start : start + 5000] @ keys.T).tocoo()
        left, right = (own[likely.row + start < likely.col] for own in (likely.row + start, likely.col))
        for part in np.array_split(np.arange(len(left)), 1 + len(left) // 200_000):
            cosine = table[left[part]].multiply(table[right[part]]).sum(1)
            alike = part[np.asarray(cosine).ravel() > threshold]
            yield np.column_stack([left[alike], right[alike]])


def _trigrams() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), sublinear_tf=True, dtype=np.float32)


def _similarities(queries: Sequence[str], memory: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first query, cosines [up to 256, M]) block by block."""
    vectorizer = _trigrams()
    table = vectorizer.fit_transform(memory).T.tocsr()
    asked = vectorizer.transform(queries)
    size = min(256, max(1, BLOCK // len(memory)))
    for start in range(0, asked.shape[0], size):
        yield start, (asked[start : start + size] @ table).toarray()


def without_near_duplicates(
    train: Mapping[Hashable, Pair], held_out: Sequence[Pair], *, threshold: float = 0.6
) -> list[Hashable]:
    """Keys of the pairs of which neither side is nearly one of `held_out`; similarity is that of `nearest`.

    Above 0.6 two Bible verses tell the same event in mostly the same words; at 0.5 they share the subject only.
    """
    keep = np.ones(len(train), bool)
    for side in range(2):
        _, similarity = nearest([pair[side] for pair in train.values()], [pair[side] for pair in held_out])
        keep &= similarity <= threshold
    return [key for key, kept in zip(train, keep, strict=True) if kept]
