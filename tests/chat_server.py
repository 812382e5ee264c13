"""A chat-completions endpoint on this machine for tests: it answers by a rule, and never leaves 127.0.0.1."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Grader = Callable[[str], float]
"""From the text of a request to P(first identifier)."""
Reply = tuple[int, str, str]
"""Status, content type and body of a reply that is none as promised."""
Odd = Callable[[str, dict[str, Any]], Reply | None]
"""From the text of a request and the good answer to an odd reply; None sends the good one."""


@dataclass
class Endpoint:
    """Where the server listens, and the bodies of the requests that it got."""

    base_url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


def completion(body: dict[str, Any], p_first: float, names: tuple[str, str], text: str | None) -> dict[str, Any]:
    """A chat completion that says the likelier identifier; both identifiers' log-probs where they are asked for."""
    logprobs = [math.log(max(p, 1e-9)) for p in (p_first, 1 - p_first)]
    top = [{"token": n, "logprob": p, "bytes": list(n.encode())} for n, p in zip(names, logprobs, strict=True)]
    best = max(top, key=lambda entry: entry["logprob"])
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": best["token"] if text is None else text},
        "logprobs": {"content": [{**best, "top_logprobs": top}]} if body.get("logprobs") else None,
    }
    words = sum(len(message["content"].split()) for message in body["messages"])
    usage = {"prompt_tokens": words, "completion_tokens": 1, "total_tokens": words + 1}
    facts = {"id": "chat-1", "object": "chat.completion", "created": 0, "model": body["model"]}
    return {**facts, "choices": [choice], "usage": usage}


@contextmanager
def serving(
    grade: Grader,
    *,
    names: tuple[str, str] = ("m", "M"),
    text: str | None = None,
    status: int = 200,
    odd: Odd | None = None,
) -> Iterator[Endpoint]:
    """Serve until the block ends. `text` replaces the answer's words; a `status` other than 200 refuses everything."""
    endpoint = Endpoint("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.requests.append(body)
            endpoint.keys.append(self.headers.get("Authorization", "").removeprefix("Bearer "))
            asked = "\n".join(message["content"] for message in body["messages"])
            answer = completion(body, grade(asked), names, text) if status == 200 else {"error": {"message": "no"}}
            reply = odd(asked, answer) if odd is not None else None
            code, kind, written = reply or (status, "application/json", json.dumps(answer))
            content = written.encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
