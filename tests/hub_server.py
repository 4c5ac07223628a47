"""A server on this machine that speaks as much of the Hugging Face hub as downloads need."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

__all__ = ["COMMIT", "Hub", "hub_server"]

COMMIT = "c0ffee" + "0" * 34


class Hub(ThreadingHTTPServer):
    """Files by ``repository/path`` at :data:`COMMIT`; ``cut`` says how many bytes of each answer arrive."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(None)

    def do_GET(self) -> None:
        self._answer(self.server.cut if self.server.cut is not None else 1 << 30)

    def _answer(self, limit: int | None) -> None:
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, path = rest.partition("/")
        content = self.server.files.get(f"{repository}/{path}") if revision == COMMIT else None
        self.server.asked.append(f"{self.command} {path}")
        self.send_response(200 if content is not None else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound" if revision == COMMIT else "RevisionNotFound")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            if limit is None:  # the length is announced, and the body ends when the connection does
                self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if limit is not None:
            self.wfile.write((content or b"")[:limit])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(name="hub")
def hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that huggingface_hub talks to during a test."""
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub
        hub.shutdown()
