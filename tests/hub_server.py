"""A stand-in of the model hub: folders served as repositories, with the answers that its client reads.

Models are flat folders and are read only; data sets may have folders inside, and take commits.
"""

from __future__ import annotations

import base64
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
NAME = r"(?P<name>(?:datasets/)?[^/]+/[^/]+)"
INFO = re.compile(rf"/api/(?:models/)?{NAME}(?:/revision/(?P<revision>[^/?]+))?/?$")
TREE = re.compile(rf"/api/(?:models/)?{NAME}/tree/(?P<revision>[^/?]+)")
FILE = re.compile(rf"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<file>[^?]+)")
WRITE = re.compile(rf"/api/{NAME}/(?P<what>preupload|commit)/(?P<revision>[^/?]+)")
GATED = "Access to model is restricted and you are not in the authorized list."


@contextmanager
def hub(folders: Mapping[str, Path], gated: frozenset[str] = frozenset(), account: Path | None = None) -> Iterator[str]:
    """Serve `folders` by name; the address. Files of the `gated` names are listed and not given.

    Data sets are named `datasets/OWNER/NAME`; where there is an `account`, new ones are made below it.
    """
    folders = dict(folders)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.respond()

        def do_GET(self) -> None:
            self.respond()

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            found = WRITE.match(path)
            if path == "/api/repos/create" and account is not None:
                asked = json.loads(body)
                name = f"datasets/{asked['organization']}/{asked['name']}"
                folders.setdefault(name, account / name).mkdir(parents=True, exist_ok=True)
                self.send_json({"url": f"/{name}"})
            elif found is None or found["name"] not in folders or account is None:
                self.refuse(403, "Forbidden", "This account may write nothing here")
            elif found["what"] == "preupload":
                asked = [file["path"] for file in json.loads(body)["files"]]
                self.send_json(
                    {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in asked]}
                )
            else:
                for one in map(json.loads, body.splitlines()):
                    if one["key"] == "file":
                        path = folders[found["name"]] / one["value"]["path"]
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(base64.b64decode(one["value"]["content"]))
                self.send_json({"commitUrl": f"/{found['name']}/commit/{COMMIT}", "commitOid": COMMIT})

        def send_json(self, value: object) -> None:
            self.send(json.dumps(value).encode(), {"Content-Type": "application/json"})

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
            files = {p.relative_to(folders[name]).as_posix(): p for p in folders[name].rglob("*") if p.is_file()}
            rows = [
                {"type": "file", "path": at, "size": p.stat().st_size, "oid": etag(p)}
                for at, p in sorted(files.items())
            ]
            siblings = [{"rfilename": at} for at in sorted(files)]
            self.send_json(
                rows if tree else {"id": name.removeprefix("datasets/"), "sha": COMMIT, "siblings": siblings}
            )

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
            if self.command in ("GET", "POST"):
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
