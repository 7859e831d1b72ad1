"""Software messages as parallel text, from gettext catalogues (.po and .mo), read by our own two readers.

The catalogues of Django and JupyterLab (BSD) and of the genealogy program Gramps (GPL-2+; read as data, not used) come
from their packages. Messages repeat each other ("Add a person", "Add a place"): the split is by groups of similar ones.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deeplearn.data.package import package
from deeplearn.data.split import grouped
from deeplearn.data.text import EXACT, Corpus, Pair, nearest, similar_groups
from deeplearn.errors import DataError

JUPYTERLAB = {  # language -> (region, sha256 of the wheel)
    "de": ("DE", "b716b56f7e0c884f42152d5e36c253ea0f32ca41f99097d842d3934f4a4bc7fb"),
    "es": ("ES", "8b315de006bc48d5798988cff6141f00694e411265011ea21570b4f459070381"),
    "fr": ("FR", "9f6ce9d4e64b367ff084a2313af29d6ad8a02d1d08000f3e6c53e2856fa9a11f"),
    "ru": ("RU", "d294daf163b0df9bdd14012b574ff311f1f4a166524b38469e90e26eb2c380f6"),
}
DJANGO = "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00"
GRAMPS = "56f03bcb643320eb9f9892d4c3f8bbe7c4c4d2e4c71e56f598584af24561ec1c"

MOST = 5000
"""Pairs to test on at most: enough to tell two systems apart, and few enough to translate."""

PLACEHOLDER = re.compile(r"%(?:\([^)]*\))?[-#0 +]*\d*(?:\.\d+)?[sdifrxgc]|%\d|\$\{[^}]*\}|\{\{?[^}]*\}?\}")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


def read_po(path: Path) -> Iterator[Pair]:
    """(message, translation) of a .po file: singular, and plural with its last form; without fuzzy and empty ones.

    Raises:
        DataError: the file is not UTF-8 or a string is not closed; names the line.
    """
    entry: dict[str, str] = {}
    field, fuzzy = "", False
    for number, line in enumerate([*_text(path).split("\n"), ""], 1):
        line = line.strip()
        starts_entry = line.startswith(("msgctxt", "msgid ", "#"))
        if not line or (starts_entry and any(name.startswith("msgstr") for name in entry)):
            if not fuzzy:
                yield from _pairs(entry)
            entry, field, fuzzy = {}, "", False
        if line.startswith("#"):
            fuzzy |= line.startswith("#,") and "fuzzy" in line
        elif line:
            match = re.fullmatch(r'(?:(msgctxt|msgid_plural|msgid|msgstr(?:\[\d+\])?)\s+)?"(.*)"', line)
            if match is None or not (match[1] or field):
                raise DataError(
                    f'{path}, line {number}: {line[:40]!r} is not gettext; expected msgid or msgstr and a "string".'
                )
            field = match[1] or field
            entry[field] = entry.get(field, "") + re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[0]), match[2])


def read_mo(path: Path) -> Iterator[Pair]:
    """(message, translation) of a compiled .mo file: singular, and plural with its last form.

    Raises:
        DataError: the file is damaged or no .mo file.
    """
    content = path.read_bytes()
    order = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}.get(content[:4])
    if order is None:
        raise DataError(f"{path}: is no gettext .mo file (wrong first bytes); give a .po or .mo catalogue.")
    try:
        count, *tables = struct.unpack_from(f"{order}3I", content, 8)
        for n in range(count):
            places = [struct.unpack_from(f"{order}2I", content, table + 8 * n) for table in tables]
            message, translation = (
                struct.unpack_from(f"{size}s", content, start)[0].decode() for size, start in places
            )
            messages, forms = message.rpartition("\4")[2].split("\0"), translation.split("\0")
            names = {"msgid": messages[0], "msgstr[0]": forms[0]}
            if len(messages) > 1:
                names |= {"msgid_plural": messages[1], f"msgstr[{len(forms) - 1}]": forms[-1]}
            yield from _pairs(names)
    except (struct.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is damaged ({error}); fetch or compile it again.") from error


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; convert it, for example with `msgconv -t UTF-8`.") from error


def _pairs(entry: dict[str, str]) -> Iterator[Pair]:
    """Of one entry by field name; the header has an empty message."""
    forms = [value for name, value in sorted(entry.items()) if name.startswith("msgstr") and value]
    if entry.get("msgid") and forms:
        yield entry["msgid"], forms[0]
        if "msgid_plural" in entry and len(forms) > 1:
            yield entry["msgid_plural"], forms[-1]


def read_catalogue(path: Path) -> list[Pair]:
    """Usable pairs of one .po or .mo file. Raises DataError if there are none."""
    found = usable(read_mo(path) if path.suffix == ".mo" else read_po(path))
    if not found:
        raise DataError(f"{path}: holds no translated message; give a catalogue of a finished translation.")
    return found


def usable(pairs: Iterator[Pair]) -> list[Pair]:
    """Plain text without markup, each message once; placeholders become `<ph>`, and both sides must have as many."""
    found: dict[str, str] = {}
    for pair in pairs:
        source, target = (_plain(text) for text in pair)
        words = re.search(r"[A-Za-z]{2,}", source)
        # Outside of these lengths a pair is more often a mistake or an essay than a message.
        sane = 0.4 < len(target) / max(len(source), 1) < 3 and len(source) <= 400
        if words and sane and source != target and source.count("<ph>") == target.count("<ph>"):
            found.setdefault(source, target)
    return list(found.items())


def _plain(text: str) -> str:
    text = re.sub(r"<[^>]+>", " ", PLACEHOLDER.sub("\0", text))
    for entity, character in (("&quot;", '"'), ("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(entity, character)
    text = re.sub(r"[&_](?=\w)", "", text) if re.match(r"^\S*[&_]\w", text) else text  # the key of a menu entry: _File
    return " ".join(text.replace("\0", "<ph>").split())


def corpus(language: str, *, held_out: float = 0.05, threshold: float = 0.6, seed: int = 0) -> Corpus:
    """English to `language` (de, es, fr, ru); validation and test are `held_out` of the pairs each.

    No training message is more similar than `threshold` to a held-out one; 1 is the easy, random split.

    Raises:
        DataError: no such language, or a package cannot be fetched.
    """
    if language not in JUPYTERLAB:
        raise DataError(f"there are no catalogues in {language!r}; there are {', '.join(JUPYTERLAB)}.")
    region, sha256 = JUPYTERLAB[language]
    name = f"jupyterlab_language_pack_{language}_{region}"
    folders = [
        package("django", "5.2.19", DJANGO, "django"),
        package(name.replace("_", "-"), "4.5.post3", sha256, name),
        package("gramps", "6.0.8", GRAMPS, "gramps-6.0.8.data"),
    ]
    codes = (language, f"{language}_{region}")
    files = [file for folder in folders for code in codes for file in sorted(folder.rglob(f"{code}/LC_MESSAGES/*.mo"))]
    return split(usable(pair for file in files for pair in read_mo(file)), held_out, threshold, seed)


def split(pairs: list[Pair], held_out: float, threshold: float, seed: int) -> Corpus:
    """Validation and test of about `held_out` of the pairs each, at most MOST, by groups of messages above `threshold`.

    Equal messages are always on one side. Chains of similar messages may tie half of them into one group; groups beyond
    a tenth of `held_out` always train. Of many pairs not all are compared to group them; what trains is then compared
    with all that is held out, and left out where it is as similar.

    Raises:
        DataError: nearly all messages are alike.
    """
    sources = [source for source, _ in pairs]
    groups = similar_groups(sources, threshold) if threshold < 1 else _equal_groups(sources)
    aside = min(held_out * len(pairs), MOST)
    free = np.flatnonzero(np.bincount(groups)[groups] <= max(aside / 10, 1))
    if len(free) < 2 * aside:
        raise DataError(
            f"only {len(free)} of {len(pairs)} sentences differ enough from the others to be tested on; "
            "give more varied text, or split at random with --data.no-honest."
        )
    rest, test = grouped(groups[free], aside / len(free), seed)
    _, valid = grouped(groups[free[rest]], aside / len(rest), seed + 1)
    valid, test = free[rest[valid]], free[test]
    train = np.setdiff1d(np.arange(len(pairs)), np.concatenate([valid, test]))
    if threshold < 1 and len(pairs) > EXACT:
        held = [sources[n] for n in np.concatenate([valid, test])]
        train = train[nearest([sources[n] for n in train], held)[1] <= threshold]
    return Corpus(*([pairs[n] for n in rows] for rows in (train, valid, test)))


def _equal_groups(lines: list[str]) -> np.ndarray:
    """Group number of each line [N], the same for equal ones, numbered as they come."""
    number: dict[str, int] = {}
    return np.array([number.setdefault(line, len(number)) for line in lines])
