"""A Hugging Face Hub of one's own, on this machine: it takes repositories and commits, and remembers what came."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Hub:
    """What came.

    Attributes:
        endpoint: its address.
        public: whether repositories that are there already are for all to see.
        refuses: nothing may be committed.
        requests: method and path of each request, in order.
        tokens: what was shown as authorisation.
        made: content of each request for a repository.
        files: name -> content of what was committed.
    """

    endpoint: str = ""
    public: bool = True
    refuses: bool = False
    requests: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    made: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and content."""
        if path == "/api/repos/create":
            self.made.append(json.loads(body))
            return 200, {"url": f"{self.endpoint}/me/it"}
        if "/preupload/" in path:
            sent = json.loads(body)["files"]
            return 200, {"files": [{**f, "uploadMode": "regular", "shouldIgnore": False} for f in sent]}
        if "/commit/" in path and self.refuses:
            return 403, {"error": f"no, {body[:20]!r} is not yours to send"}
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return 200, {"commitUrl": f"{self.endpoint}/me/it/commit/abc", "commitOid": "abc", "success": True}
        return 200, {"id": "me/it", "private": not self.public, "sha": "abc"}


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    """Runs it for as long as it is needed."""
    there = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if "agent-harnesses" not in self.path:  # the client asks for it once a day, of its own accord
                there.requests.append(f"{self.command} {self.path}")
                there.tokens.add(self.headers.get("authorization"))
            status, content = there.answer(self.path, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
