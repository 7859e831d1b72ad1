"""A small local page, and a JSON address for scripts, where a trained model can be tried.

What a request may do is what `recipe.apply` does with files it has brought itself: a name of a file of this machine is
refused, uploads lie in a folder of their own that goes when they are answered, and whoever does not know the token of
this start, such as a page of another site in the same browser, gets nothing.
"""

import base64
import binascii
import contextlib
import errno
import glob
import hmac
import json
import os
import re
import secrets
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deeplearn import files
from deeplearn.data.inputs import accepted
from deeplearn.errors import ConfigError, DeeplearnError, UsageError
from deeplearn.plain import finite, plain
from deeplearn.record.report import TYPES, engine

MOST = 64
"""Inputs of one request."""
PATIENCE = 60.0
"""Seconds after which a client that sends nothing is hung up on."""
SHOWN = 20_000_000
"""Bytes of a picture that is sent back."""

Apply = Callable[[list[str]], list[dict[str, Any]]]
Draw = Callable[[list[str], Path], Any]


@dataclass(frozen=True, kw_only=True)
class Served:
    """What there is to try."""

    name: str
    about: str
    """What the experiment says of its inputs."""
    apply: Apply
    token: str
    limit: int
    """Most bytes of a request."""
    texts: bool
    """Whether inputs may be texts; else they are files, as the recipe's `TAKES_FILES` says."""
    draw: Draw | None = None
    """Where the experiment has a picture of what it predicts: (inputs, path of the picture)."""


def server(served: Served, host: str, port: int) -> ThreadingHTTPServer:
    """A server that listens; `serve_forever` answers. Port 0 is any free one.

    Raises:
        ConfigError: the port is taken, or the host is none of this machine.
    """
    lock = threading.Lock()  # One prediction at a time: they share the processor, and apply may not be ready for two.

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE
        server_version, sys_version = "deeplearn", ""

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            if address.path != "/":
                return self._send(404, {"error": "there is only the page / and the address /predict"})
            if not self._known("".join(parse_qs(address.query).get("token", []))):
                return None
            nonce = secrets.token_urlsafe(16)
            page = engine().get_template("serve.html.jinja")
            text = page.render(
                name=served.name, about=served.about, texts=served.texts, token=served.token, nonce=nonce
            )
            return self._send(200, text, nonce)

        def do_POST(self) -> None:
            self.close_connection = True  # What a refused request still sends is not read as the next one.
            if urlsplit(self.path).path != "/predict":
                return self._send(404, {"error": "there is only the page / and the address /predict"})
            if not self._known(self.headers.get("Authorization", "").removeprefix("Bearer ")):
                return None
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal():
                return self._send(411, {"error": "say how long the request is: Content-Length"})
            if int(length) > served.limit:
                return self._send(413, {"error": f"a request may have {served.limit} bytes; --limit says how many"})
            try:
                with lock:
                    return self._send(200, answer(served, self.rfile.read(int(length))))
            except DeeplearnError as error:
                return self._send(422, {"error": str(error)})
            except Exception as error:
                traceback.print_exc()
                return self._send(500, {"error": f"{type(error).__name__}: the terminal of the server says more"})

        def _known(self, token: str) -> bool:
            if hmac.compare_digest(token.encode(), served.token.encode()):
                return True
            self._send(403, {"error": "open the address that deeplearn serve printed, with its token"})
            return False

        def _send(self, code: int, content: Any, nonce: str = "") -> None:
            page = isinstance(content, str)
            body = (content if page else json.dumps(content, ensure_ascii=False, allow_nan=False)).encode()
            self.send_response(code)
            own = f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'" if page else ""
            for name, value in {
                "Content-Type": f"{'text/html' if page else 'application/json'}; charset=utf-8",
                "Content-Length": str(len(body)),
                "Content-Security-Policy": "default-src 'none'; img-src data: blob:; media-src data: blob:; "
                f"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; {own}",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
                "Cross-Origin-Resource-Policy": "same-origin",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            path = urlsplit(getattr(self, "path", "")).path  # without the token
            print(f"{self.command or '-'} {path} {args[1] if len(args) > 1 else ''}", file=sys.stderr)

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)  # in use, or below 1024 and the system's
        step = "--port 0 takes a free one" if taken else "give an address of this machine as --host, or leave it out"
        raise ConfigError(f"cannot listen at {host}:{port} ({error.strerror}); {step}.") from error


def answer(served: Served, body: bytes) -> dict[str, Any]:
    """{"rows", "pictures"} for a request {"texts": [text, ...], "files": {name: base64, ...}}.

    A picture has a "name", an "address" that holds it and, where it was made from one file, the name "of" that file.

    Raises:
        UsageError: it is no such request, or a text is the name of a file of this machine.
        DeeplearnError: what apply says.
    """
    texts, uploads = _request(body)
    if texts and not served.texts:
        raise UsageError(f"{served.name} takes files, not texts such as {plain(texts[0], 40)!r}; send the file itself.")
    # What is made of a text, such as its sound, is written into the current folder: no other request's.
    with tempfile.TemporaryDirectory(prefix="deeplearn-serve-") as place, contextlib.chdir(place):
        folder = Path(place).resolve()
        given = {folder / _safe(name): name for name in uploads}
        for path, name in given.items():
            path.write_bytes(uploads[name])
        names = {str(path): given[path] for path in sorted(given, reverse=True)} | {f"{folder}{os.sep}": ""}
        inputs = [*texts, *map(str, given)]
        try:
            rows = served.apply(inputs)
            drawn = folder / "the drawing.svg"  # no upload has a name with a space
            if served.draw is not None and (good := accepted(inputs, rows)):
                served.draw(good, drawn)
        except DeeplearnError as error:
            raise type(error)(_local(str(error), names)) from error
        made = sorted(path for path in folder.rglob("*") if path not in given and path.suffix in TYPES)
        of = {path.stem: name for path, name in given.items()}
        pictures = [
            {"name": path.name, "of": of.get(path.stem.rpartition(".")[0]), "address": _address(path)}
            for path in made[:MOST]
        ]
        return {"rows": [_local(finite(row), names) for row in rows], "pictures": pictures}


def _request(body: bytes) -> tuple[list[str], dict[str, bytes]]:
    """Texts, and bytes by the client's names."""
    form = 'send {"texts": [text, ...], "files": {name: base64, ...}}'
    try:
        said = files.parse_json(body)
        texts, given = said.get("texts", []), said.get("files", {})
        if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
            raise TypeError("texts are a list of texts")
        uploads = {name: base64.b64decode(data, validate=True) for name, data in given.items()}
    except (ValueError, AttributeError, TypeError, binascii.Error) as error:
        raise UsageError(f"the request is none of ours; {form}") from error
    if not 0 < len(texts) + len(given) <= MOST or len({*map(_safe, uploads)}) < len(given):
        raise UsageError(f"give from one to {MOST} inputs, files by different names; {form}")
    for text in texts:
        if text.startswith(("/", "~")) or ".." in Path(text).parts or _stands_for_a_file(text.replace("\0", "")):
            raise UsageError(f"{text!r} names a file of this machine, which is not read; upload the file itself.")
    return texts, uploads


def _stands_for_a_file(text: str) -> bool:
    """Whether it is a name or a pattern (*.csv) that `data.inputs.expanded` would find a file of this machine by."""
    found = glob.iglob(text, recursive=True)  # noqa: PTH207 (as `expanded` does)
    return os.path.lexists(text) or next(found, None) is not None


def _safe(name: str) -> str:
    """The last part of a name, of signs that mean nothing to a file system or a pattern; the ending stays."""
    path = Path(name.replace("\\", "/"))
    stem, suffix = (re.sub(r"[^\w-]+", "_", part)[:80] for part in (path.stem, path.suffix.removeprefix(".")))
    return f"{stem or 'input'}.{suffix}" if suffix else stem or "input"


def _address(path: Path) -> str | None:
    """A picture or a sound as an address that holds it; None where it is too large."""
    try:
        data = files.read(path, SHOWN)
    except OSError:
        return None
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(data).decode()}"


def _local(value: Any, names: Mapping[str, str]) -> Any:
    """Values whose texts name uploads as the client did."""
    if isinstance(value, Mapping):
        return {name: _local(inner, names) for name, inner in value.items()}
    if isinstance(value, str):
        for path, name in names.items():
            value = value.replace(path, name)
    return value
