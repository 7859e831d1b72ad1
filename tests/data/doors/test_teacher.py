"""A voice to learn from: what is read aloud is the text as it was written."""

import numpy as np

from deeplearn.data import audio
from deeplearn.data.doors.teacher import PAUSE, Data, load


def test_texts_are_read_with_their_commas_and_scored_without(tmp_path):
    lines = ["file,text,split"]
    for part in ("train", "valid", "test"):
        audio.write(tmp_path / f"{part}.wav", 0.5 * np.sin(np.arange(8000)), 8000)
        lines.append(f'{part}.wav,"Press one, please.",{part}')
    (tmp_path / "transcripts.csv").write_text("\n".join(lines))
    (lesson,) = load(Data(path=tmp_path), 8000, 0).train
    assert PAUSE in lesson.phonemes and lesson.text == "press one please"
