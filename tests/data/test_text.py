"""Parallel texts: reading, errors that name the line, honest splits, packing, and both catalogue formats."""

import struct

import numpy as np
import pytest

from deeplearn.data import text
from deeplearn.data.sets import bible, gettext, number_words
from deeplearn.data.text import (
    BEGIN,
    END,
    PAD,
    load_tokenizer,
    nearest,
    read_pairs,
    sentences,
    similar_groups,
    train_tokenizer,
    without_near_duplicates,
)
from deeplearn.errors import DataError

PO = r"""
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\n"

#. a comment
#: file.c:10
msgid "Open the file"
msgstr "Öffne die Datei"

#, fuzzy
msgid "Close the file"
msgstr "falsch"

msgctxt "menu"
msgid "%d page of "
"the book"
msgid_plural "%d pages of the book"
msgstr[0] "%d Seite des Buches"
msgstr[1] "%d Seiten des Buches"

msgid "not translated yet"
msgstr ""

#~ msgid "obsolete message"
#~ msgstr "alt"
msgid "say \"hello\"\tnow"
msgstr "sage \"hallo\"\tjetzt"
"""
PAIRS = [
    ("Open the file", "Öffne die Datei"),
    ("<ph> page of the book", "<ph> Seite des Buches"),
    ("<ph> pages of the book", "<ph> Seiten des Buches"),
    ('say "hello" now', 'sage "hallo" jetzt'),
]


def write(folder, **files):
    paths = []
    for name, content in files.items():
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        paths.append(path)
    return paths


def test_pairs_of_files_are_read_line_by_line(tmp_path):
    files = write(tmp_path, source=b"\xef\xbb\xbfone  two\r\nthree\n", target="eins zwei\ndrei")
    assert read_pairs(*files) == [("one two", "eins zwei"), ("three", "drei")]


@pytest.mark.parametrize(
    "source, target, message",
    [
        ("a\nb\n", "a\n", "2 lines but .* has 1"),
        ("a\n\nc\n", "a\nb\nc\n", "source, line 2: is empty"),
        ("a\nb\n", b"a\ncaf\xe9\n", r"target, line 2: not UTF-8 \(byte 0xe9 at column 4\).*iconv"),
        ("a\nb\n", "a\nb\n".encode("utf-16-le"), "target, line 1: holds a byte of zero"),
        ("", "a\n", "source: is empty"),
    ],
)
def test_bad_files_are_errors_that_name_the_line(tmp_path, source, target, message):
    with pytest.raises(DataError, match=message):
        read_pairs(*write(tmp_path, source=source, target=target))
    with pytest.raises(DataError, match="nowhere: cannot be read"):
        read_pairs(tmp_path / "nowhere", tmp_path / "nowhere")


def test_both_catalogue_formats_hold_the_same_messages(tmp_path):
    (po,) = write(tmp_path, **{"de.po": PO})
    assert gettext.read_catalogue(po) == PAIRS
    for order in "<>":
        (mo,) = write(tmp_path, **{"de.mo": compiled(order)})
        assert gettext.read_catalogue(mo) == PAIRS[:3]


def compiled(order):
    """A .mo file: header, then tables of (size, place) of messages and translations, then the strings."""
    messages = [b"", b"Open the file", b"menu\4%d page of the book\0%d pages of the book"]
    translations = [
        b"Content-Type: text/plain; charset=UTF-8",
        "Öffne die Datei".encode(),
        b"%d Seite des Buches\0%d Seiten des Buches",
    ]
    place, tables, strings = 28 + 16 * len(messages), b"", b""
    for side in (messages, translations):
        for message in side:
            tables += struct.pack(f"{order}2I", len(message), place + len(strings))
            strings += message + b"\0"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(messages), 28, 28 + 8 * len(messages), 0, 0)
    return head + tables + strings


def test_damaged_catalogues_are_errors(tmp_path):
    bad = write(
        tmp_path,
        **{"a.po": 'msgid "x"\nmsgstr "y\n', "b.po": b'msgid "\xe9"\n', "c.mo": b"nothing", "d.mo": compiled("<")[:99]},
    )
    for path, message in zip(bad, ("line 2", "line 1: not UTF-8", "no gettext .mo", "is damaged"), strict=True):
        with pytest.raises(DataError, match=message):
            gettext.read_catalogue(path)


def test_the_reference_reader_agrees_on_compiled_catalogues(tmp_path):
    from gettext import GNUTranslations

    (mo,) = write(tmp_path, **{"de.mo": compiled("<")})
    with mo.open("rb") as file:
        reference = GNUTranslations(file)
    assert dict(gettext.read_mo(mo))["Open the file"] == reference.gettext("Open the file")
    assert dict(gettext.read_mo(mo))["%d pages of the book"] == reference.npgettext(
        "menu", "%d page of the book", "", 2
    )


def test_the_tokenizer_is_reproducible_and_gives_the_text_back():
    lines = [line for pair in number_words.corpus(train=300, held_out=1).train for line in pair]
    model = train_tokenizer(lines, 100)
    assert model == train_tokenizer(lines, 100)
    tokenizer = load_tokenizer(model)
    assert tokenizer.decode(tokenizer.encode(lines)) == lines
    assert [tokenizer.pad_id(), tokenizer.bos_id(), tokenizer.eos_id()] == [PAD, BEGIN, END]


@pytest.mark.parametrize("lines, size", [(["abcdef"] * 9, 5), (["", " "], 50)])
def test_a_vocabulary_without_room_or_text_is_an_error(lines, size):
    with pytest.raises(DataError, match=f"vocabulary of {size} pieces .* different letters"):
        train_tokenizer(lines, size)


def test_of_very_much_text_a_part_is_learned_from(monkeypatch):
    monkeypatch.setattr("deeplearn.data.text.LEARNED_FROM", 300)  # of 600
    lines = [line for pair in number_words.corpus(train=300, held_out=1).train for line in pair]
    tokenizer = load_tokenizer(train_tokenizer(lines, 100))
    assert tokenizer.decode(tokenizer.encode(lines)) == lines


def test_near_duplicates_of_held_out_sentences_leave_the_training_side():
    train = {
        1: ("And Amminadab became the father of Nahshon.", "a"),
        2: ("The donkey saw the angel of Yahweh.", "b c d e f"),
        3: ("There is nothing new under the sun.", "es gibt nichts Neues unter der Sonne"),
    }
    held_out = [
        ("Amminadab became the father of Nahshon,", "x y z"),
        ("Nothing.", "Es gibt nichts Neues unter der Sonne!"),
    ]
    assert without_near_duplicates(train, held_out) == [2]
    best, similarity = nearest([train[1][0]], [held_out[1][0], held_out[0][0]])
    assert best.tolist() == [1]
    assert 0.8 < similarity[0] < 1


def test_similarities_do_not_depend_on_how_many_are_taken_at_a_time(monkeypatch):
    lines = [number_words.english(n) for n in range(0, 400, 7)]
    whole = nearest(lines, lines[1:])
    monkeypatch.setattr("deeplearn.data.text.BLOCK", 100)  # one query at a time
    np.testing.assert_array_equal(whole, nearest(lines, lines[1:]))


def test_similar_messages_stay_on_one_side():
    lines = [f"{verb} the selected {noun}" for verb in ("Remove", "Removes") for noun in ("person", "place", "note")]
    groups = similar_groups([*lines, "Quit"], 0.6)
    assert groups[0] == groups[3]
    assert groups[6] not in groups[:6]
    words = [number_words.english(n) for n in range(0, 400, 7)]
    group = dict(zip([*lines, *words], similar_groups([*lines, *words], 0.7).tolist(), strict=True))
    corpus = gettext.split([(line, line) for line in group], 0.3, 0.7, seed=0)
    train, valid, test = ({group[line] for line, _ in part} for part in corpus)
    assert not train & test and not train & valid and not valid & test
    assert sum(map(len, corpus)) == len(group)
    assert min(map(len, corpus)) >= 15
    with pytest.raises(DataError, match="differ enough"):
        gettext.split([(line, line) for line in lines], 0.3, 0.6, seed=0)


def test_markup_and_verse_numbers_are_cleaned():
    assert bible.clean("(101:13) <i>Ты</i>,  [Господи], `вовек`") == "Ты, Господи, 'вовек'"


def test_numbers_in_words():
    assert (number_words.english(421), number_words.german(421)) == (
        "four hundred twenty-one",
        "vierhunderteinundzwanzig",
    )
    assert number_words.german(101_001) == "einhunderteintausendeins"
    parts = number_words.corpus(train=50, held_out=10)
    assert [len(part) for part in parts] == [50, 10, 10]
    assert len({pair for part in parts for pair in part}) == 70


@pytest.mark.parametrize("letter", ["\u2028", "\x85", "\v", "\f", "\x1c", "\r"])
def test_one_line_is_what_a_line_feed_ends(tmp_path, letter):
    (tmp_path / "a.en").write_bytes(f"one{letter}two\r\nthree\nfive".encode())
    (tmp_path / "a.de").write_text("eins\ndrei\nfünf\n")
    pairs = text.read_pairs(tmp_path / "a.en", tmp_path / "a.de")
    assert pairs == [
        ("one two" if letter.isspace() else f"one{letter}two", "eins"),
        ("three", "drei"),
        ("five", "fünf"),
    ]
    assert text.lines_of(f"one{letter}two\nthree\n".encode(), "-") == [f"one{letter}two", "three"]


def test_files_stand_for_their_lines_and_sentences_for_themselves(tmp_path):
    (tmp_path / "new.en").write_bytes(b"one two\r\nthree\n")
    long = "a sentence may be longer than the name of a file " * 9
    assert sentences(["hello", str(tmp_path / "new.en"), long]) == ["hello", "one two", "three", long]
    with pytest.raises(DataError, match="is empty"):
        (tmp_path / "none.en").write_bytes(b"")
        sentences([str(tmp_path / "none.en")])


def families(count, seed=0):
    """Sentences of invented words, each with a sister that differs in one word of nine, and a copy."""
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice(list("abdefgiklmnoprstu"), 6)) for _ in range(3000)])
    lines = [list(rng.choice(words, 9, replace=False)) for _ in range(count)]
    sisters = [[*line[:4], str(rng.choice(words)), *line[5:]] for line in lines]
    return [" ".join(line) for line in [*lines, *sisters, *lines]]


def test_groups_by_common_pieces_are_those_of_all_pairs(monkeypatch):
    lines = families(400)
    exact = text.similar_groups(lines, 0.6)
    assert exact.max() + 1 == 400 and (exact[:400] == exact[400:800]).all() and (exact[:400] == np.arange(400)).all()
    monkeypatch.setattr(text, "EXACT", 10)
    np.testing.assert_array_equal(text.similar_groups(lines, 0.6), exact)


def test_many_pairs_are_split_without_sisters_on_both_sides(monkeypatch):
    monkeypatch.setattr(text, "EXACT", 10)
    monkeypatch.setattr(gettext, "EXACT", 10)
    monkeypatch.setattr(gettext, "MOST", 30)
    corpus = gettext.split([(line, line.upper()) for line in families(400)], 0.05, 0.6, 0)
    held = [source for source, _ in corpus.valid + corpus.test]
    assert 60 <= len(held) <= 70 and len(corpus.train) > 1100
    assert text.nearest([source for source, _ in corpus.train], held)[1].max() <= 0.6
