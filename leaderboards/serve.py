"""A server for a site's folder, on this machine alone."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness.contracts import HarnessError
from leaderboards.html.safety import POLICY

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """Files of one folder, without listings, to requests that name this machine."""

    def do_GET(self) -> None:
        if self._is_ours():
            super().do_GET()

    def do_HEAD(self) -> None:
        if self._is_ours():
            super().do_HEAD()

    def _is_ours(self) -> bool:
        """A page elsewhere whose name was made to point here has that name in its requests."""
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name in (HOST, "localhost"):
            return True
        self.send_error(421, "not a name of this machine")
        return False

    def list_directory(self, path: object) -> None:
        self.send_error(404, "no such page")

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are nobody's news."""


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of `folder` on 127.0.0.1, not yet serving; port 0 takes a free one.

    Raises HarnessError where the folder holds no site, or the port is taken.
    """
    if not (folder / "index.html").is_file():
        raise HarnessError(
            f"no site in {folder}; write one with: python -m harness leaderboard --format html --out FOLDER"
        )
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise HarnessError(f"port {port} on {HOST} cannot be had ({error.strerror}); try --port 0") from error
