"""The page to try a model: what it answers, and what it refuses."""

import base64
import http.client
import json
import re
import threading
from pathlib import Path

import pytest

from deeplearn.errors import DataError, UsageError
from deeplearn.serve import MOST, Served, _safe, answer, server

TOKEN = "a-token"


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


@pytest.fixture(scope="module")
def address():
    served = Served(name="<b>lengths</b>", about="Lengths.", apply=lengths, token=TOKEN, limit=5000)
    with server(served, "127.0.0.1", 0) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield "127.0.0.1", listening.server_port
        listening.shutdown()


def ask(address, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request(method, path, body, headers or {})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply, text


def predict(address, said, token=TOKEN):
    reply, text = ask(address, "POST", "/predict", json.dumps(said), {"Authorization": f"Bearer {token}"})
    return reply.status, json.loads(text)


def test_texts_and_files_become_rows_and_pictures(address):
    data = base64.b64encode(b"12345").decode()
    code, found = predict(address, {"texts": ["abc"], "files": {"C:\\my pictures\\../x *.png": data}})
    assert code == 200
    assert found["rows"] == [
        {"input": "abc", "size": 3, "share": None, "shares": {"a": 0.25}},
        {"input": "x_.png", "size": 5, "share": None, "shares": {"a": 0.25}},
    ]
    assert [picture["name"] for picture in found["pictures"]] == ["x_.boxes.png"]
    assert base64.b64decode(found["pictures"][0]["address"].partition(",")[2]) == b"a picture"


def test_what_the_documentation_shows_works(address, tmp_path, monkeypatch, capsys):
    page = Path(__file__).resolve().parent.parent / "docs" / "using-a-model.md"
    shown = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[-1]
    (tmp_path / "digit.png").write_bytes(b"12345")
    monkeypatch.chdir(tmp_path)
    exec(shown.replace("127.0.0.1:8000", f"127.0.0.1:{address[1]}"), {"token": TOKEN})
    out = capsys.readouterr().out
    assert "'size': 5" in out and "['digit.boxes.png']" in out


def test_uploads_are_gone_when_they_are_answered(tmp_path):
    places = []

    def note(inputs: list[str]) -> list[dict]:
        places.extend(Path(given) for given in inputs)
        assert all(place.is_file() for place in places)
        return []

    answer(note, json.dumps({"files": {"x.csv": ""}}).encode())
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
        answer(lengths, json.dumps({"texts": [text]}).encode())
    assert answer(lengths, b'{"texts": ["Is it here?"]}')["rows"]


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
