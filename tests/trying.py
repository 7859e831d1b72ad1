"""A page to try a model that listens while it is tested, and requests to it."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from deeplearn.serve import Served, server

TOKEN = "a-token"
Address = tuple[str, int]


@contextlib.contextmanager
def listening(served: Served) -> Iterator[Address]:
    """A server's address, until the end of the block."""
    with server(served, "127.0.0.1", 0) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield "127.0.0.1", one.server_port
        one.shutdown()


def ask(
    address: Address, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[http.client.HTTPResponse, str]:
    """The reply, and its text."""
    connection = http.client.HTTPConnection(*address, timeout=120)
    connection.request(method, path, body, headers or {})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply, text


def predict(address: Address, said: Any, token: str = TOKEN) -> tuple[int, Any]:
    """Status and answer of a request for predictions."""
    reply, text = ask(address, "POST", "/predict", json.dumps(said), {"Authorization": f"Bearer {token}"})
    return reply.status, json.loads(text)
