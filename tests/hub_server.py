"""A stand-in of the model hub: folders served as repositories, with the answers that its client reads."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The one commit of every repository; `main` is its branch."""
INFO = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/?]+))?/?$")
TREE = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/?]+)")
FILE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^?]+)")
GATED = "Access to model is restricted and you are not in the authorized list."


@contextmanager
def hub(folders: Mapping[str, Path], gated: frozenset[str] = frozenset()) -> Iterator[str]:
    """Serve `folders` by name; the address. Files of the `gated` names are listed and not given."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.respond()

        def do_GET(self) -> None:
            self.respond()

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

        def respond(self) -> None:
            path = self.path.partition("?")[0]
            found = INFO.match(path) or TREE.match(path) or FILE.match(path)
            if found is None or found["name"] not in folders:
                self.refuse(404, "RepoNotFound", "Repository not found")
            elif found["revision"] not in (None, "main", COMMIT):
                self.refuse(404, "RevisionNotFound", "Invalid rev id")
            elif "file" in found.groupdict():
                self.give_file(found["name"], found["file"])
            else:
                self.list_files(found["name"], tree=TREE.match(path) is not None)

        def list_files(self, name: str, *, tree: bool) -> None:
            files = sorted(p for p in folders[name].iterdir() if p.is_file())
            rows = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": etag(p)} for p in files]
            about = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": p.name} for p in files]}
            self.send(json.dumps(rows if tree else about).encode(), {"Content-Type": "application/json"})

        def give_file(self, name: str, file: str) -> None:
            path = folders[name] / file
            if name in gated:
                self.refuse(403, "GatedRepo", GATED)
            elif not path.is_file():
                self.refuse(404, "EntryNotFound", "Entry not found")
            else:
                self.send(path.read_bytes(), {"ETag": f'"{etag(path)}"', "X-Repo-Commit": COMMIT})

        def refuse(self, status: int, code: str, message: str) -> None:
            self.send(b"", {"X-Error-Code": code, "X-Error-Message": message}, status)

        def send(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def etag(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
