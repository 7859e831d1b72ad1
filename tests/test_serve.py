"""The page to try a model: what it answers, and what it refuses."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from trying import TOKEN, ask, listening, predict

from deeplearn.cli import main
from deeplearn.errors import ConfigError, DataError, UsageError
from deeplearn.serve import MOST, Served, _safe, answer, server


def lengths(inputs: list[str]) -> list[dict]:
    """Of a file its size, and a picture beside it; of a text its length."""
    rows = []
    for given in inputs:
        path = Path(given)
        if path.is_file():
            path.with_suffix(".boxes.png").write_bytes(b"a picture")
        size = path.stat().st_size if path.is_file() else len(given)
        rows.append({"input": given, "size": size, "share": float("nan"), "shares": {"a": 0.25}})
    if "bad" in inputs:
        raise DataError("bad cannot be read; give another.")
    if "worse" in inputs:
        raise RuntimeError("a fault of ours")
    return rows


SERVED = Served(name="<b>lengths</b>", about="Lengths.", apply=lengths, token=TOKEN, limit=5000, texts=True)


@pytest.fixture(scope="module")
def address():
    with listening(SERVED) as own:
        yield own


NAME = "C:\\my pictures\\../x *.png"
"""Of an upload; no file system of ours sees it."""


def test_texts_and_files_become_rows_and_pictures(address):
    data = base64.b64encode(b"12345").decode()
    code, found = predict(address, {"texts": ["abc"], "files": {NAME: data}})
    assert code == 200
    assert found["rows"] == [
        {"input": "abc", "size": 3, "share": None, "shares": {"a": 0.25}},
        {"input": NAME, "size": 5, "share": None, "shares": {"a": 0.25}},
    ]
    assert [(picture["name"], picture["of"]) for picture in found["pictures"]] == [("x_.boxes.png", NAME)]
    assert base64.b64decode(found["pictures"][0]["address"].partition(",")[2]) == b"a picture"


def test_what_the_documentation_shows_works(address, tmp_path, monkeypatch, capsys):
    page = Path(__file__).resolve().parent.parent / "docs" / "using-a-model.md"
    shown = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[-1]
    (tmp_path / "digit.png").write_bytes(b"12345")
    monkeypatch.chdir(tmp_path)
    exec(shown.replace("127.0.0.1:8000", f"127.0.0.1:{address[1]}"), {"token": TOKEN})
    out = capsys.readouterr().out
    assert "'size': 5" in out and "['digit.boxes.png']" in out


def test_the_drawing_is_of_the_inputs_that_could_be_used():
    drawn = []

    def apply(inputs: list[str]) -> list[dict]:
        return [{"input": given, "error": "cannot be read"} if given == "bad" else {"input": given} for given in inputs]

    def draw(inputs: list[str], path: Path) -> None:
        drawn.extend(inputs)
        path.write_text("<svg/>")

    found = answer(replace(SERVED, apply=apply, draw=draw), b'{"texts": ["a", "bad", "b"]}')
    assert drawn == ["a", "b"] and [picture["of"] for picture in found["pictures"]] == [None]
    assert found["pictures"][0]["address"].startswith("data:image/svg+xml;base64,")
    assert not answer(replace(SERVED, apply=apply, draw=draw), b'{"texts": ["bad"]}')["pictures"]


def test_an_error_names_an_upload_as_the_client_did():
    def refuse(inputs: list[str]) -> list[dict]:
        raise DataError(f"{inputs[0]} is no picture.")

    with pytest.raises(DataError, match=r"^my photo\.png is no picture"):
        answer(replace(SERVED, apply=refuse), json.dumps({"files": {"my photo.png": ""}}).encode())


def test_what_is_made_of_a_text_is_sent_back_and_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def speak(inputs: list[str]) -> list[dict]:
        Path("hello.wav").write_bytes(b"a sound")
        return [{"text": inputs[0], "sound": "hello.wav"}]

    found = answer(replace(SERVED, apply=speak), b'{"texts": ["hello"]}')
    sound = {"name": "hello.wav", "of": None, "address": "data:audio/wav;base64,YSBzb3VuZA=="}
    assert found["pictures"] == [sound]
    assert not list(tmp_path.iterdir()) and Path.cwd() == tmp_path


def test_uploads_are_gone_when_they_are_answered(tmp_path):
    places = []

    def note(inputs: list[str]) -> list[dict]:
        places.extend(Path(given) for given in inputs)
        assert all(place.is_file() for place in places)
        return []

    answer(replace(SERVED, apply=note), json.dumps({"files": {"x.csv": ""}}).encode())
    assert places and not any(place.exists() or place.parent.exists() for place in places)


def test_the_page_needs_the_token_and_lets_nothing_else_run(address):
    assert ask(address, "GET", "/")[0].status == 403
    reply, text = ask(address, "GET", f"/?token={TOKEN}")
    assert reply.status == 200
    assert "<b>lengths" not in text and "&lt;b&gt;lengths" in text
    policy = reply.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert reply.getheader("Access-Control-Allow-Origin") is None
    assert ask(address, "GET", f"/../etc/passwd?token={TOKEN}")[0].status == 404
    assert ask(address, "OPTIONS", "/predict", headers={"Origin": "http://evil.example"})[0].status == 501


def test_a_model_of_files_has_no_field_for_texts_and_refuses_them(address):
    assert 'id="texts"' in ask(address, "GET", f"/?token={TOKEN}")[1]
    with listening(replace(SERVED, name="digits", texts=False)) as own:
        assert 'id="texts"' not in ask(own, "GET", f"/?token={TOKEN}")[1]
        code, found = predict(own, {"texts": ["hello"]})
        assert code == 422 and found["error"] == "digits takes files, not texts such as 'hello'; send the file itself."
        assert predict(own, {"files": {"x.png": ""}})[0] == 200


@pytest.mark.parametrize("words", [["--port", "99999"], ["--port", "-1"], ["--limit", "-1"], ["--limit", "0"]])
def test_a_port_or_limit_that_cannot_be_is_refused(words, capsys):
    assert main(["serve", "runs/none", *words]) == 2
    said = capsys.readouterr().err
    assert f"{words[0][2:]} is {words[1]}" in said and "at least" in said


@pytest.mark.parametrize(("host", "step"), [("127.0.0.1", "--port 0"), ("192.0.2.1", "as --host")])
def test_where_it_cannot_listen_the_step_fits_the_reason(address, host, step):  # the latter is nobody's, RFC 5737
    with pytest.raises(ConfigError, match=step):
        server(SERVED, host, address[1])


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer other"}, {"Origin": "http://evil.example"}])
def test_a_post_without_the_token_is_refused(address, headers):
    assert ask(address, "POST", "/predict", '{"texts": ["a"]}', headers)[0].status == 403


def test_requests_have_a_length_and_a_limit(address):
    assert predict(address, {"texts": ["x" * 6000]})[0] == 413
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Length": "-1"}
    assert ask(address, "POST", "/predict", b"", headers)[0].status == 411


@pytest.mark.parametrize(
    "said",
    [
        *([], "x", {}, {"texts": "abc"}, {"texts": [1]}, {"files": {"a.png": "no base64!"}}, {"files": ["a"]}),
        *({"texts": ["a"] * (MOST + 1)}, {"files": {"a/x.png": "", "b/x.png": ""}}),
    ],
)
def test_a_request_of_another_form_is_told_the_form(address, said):
    code, found = predict(address, said)
    assert code == 422 and "base64" in found["error"]


@pytest.mark.parametrize("text", ["/etc/passwd", "~/.ssh/id_rsa", "../secret", "a/../../secret"])
def test_a_text_that_names_a_file_of_the_machine_is_refused(address, text):
    assert "not read" in predict(address, {"texts": [text]})[1]["error"]


@pytest.mark.parametrize("text", ["here.png", "*.png", "h?re.png", "**/*.png", "inner", "inner/*"])
def test_names_and_patterns_of_the_working_folder_are_refused(tmp_path, monkeypatch, text):
    (tmp_path / "inner").mkdir()
    for place in (tmp_path, tmp_path / "inner"):
        (place / "here.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="not read"):
        answer(SERVED, json.dumps({"texts": [text]}).encode())
    assert answer(SERVED, b'{"texts": ["Is it here?"]}')["rows"]


def test_errors_of_the_user_are_told_and_ours_are_not(address, capfd):
    assert predict(address, {"texts": ["bad"]}) == (422, {"error": "bad cannot be read; give another."})
    code, found = predict(address, {"texts": ["worse"]})
    assert code == 500 and "a fault of ours" not in found["error"]
    assert "a fault of ours" in capfd.readouterr().err


def test_the_log_does_not_hold_the_token(address, capfd):
    ask(address, "GET", f"/?token={TOKEN}")
    assert "GET /" in (log := capfd.readouterr().err) and TOKEN not in log


@pytest.mark.parametrize(("name", "safe"), [("a.tar.gz", "a_tar.gz"), ("..", "_"), ("", "input"), (".csv", "_csv")])
def test_names_of_uploads_mean_nothing_to_a_file_system(name, safe):
    assert _safe(name) == safe


def test_the_page_shows_rows_and_pictures_in_a_browser(address, browser, tmp_path):
    (tmp_path / "my digit.png").write_bytes(b"12345")
    browser.goto(f"http://{address[0]}:{address[1]}/?token={TOKEN}")
    browser.set_input_files("#files", tmp_path / "my digit.png")
    browser.fill("#texts", "abc")
    browser.click("#go")
    browser.locator("#pictures figure").nth(1).wait_for(timeout=10_000)
    assert browser.inner_text("#said") == "2 rows"
    assert "my digit.png" in browser.inner_text("#rows") and "my_digit.boxes.png" in browser.inner_text("#pictures")


def test_the_page_without_a_field_for_texts_works_in_a_browser(browser, tmp_path):
    (tmp_path / "digit.png").write_bytes(b"12345")
    with listening(replace(SERVED, texts=False)) as own:
        browser.goto(f"http://{own[0]}:{own[1]}/?token={TOKEN}")
        browser.set_input_files("#files", tmp_path / "digit.png")
        browser.click("#go")
        browser.locator("#pictures figure").first.wait_for(timeout=10_000)
        assert browser.inner_text("#said") == "1 row"
