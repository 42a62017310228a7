"""An HTTP server that answers with an error, late, or never; or stands before a real one and loses its answers."""

import http.client
import itertools
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["500", "429", "hang", "slow", "lost answers", "none"]

SLOW_SECONDS = 2.0
LOST = 3
"""The answer to every so many-th POST of each kind is lost, when answers are: whatever the tracker calls in between."""


class FaultyServer(ThreadingHTTPServer):
    """On a free port of loopback; ``upstream`` is the port of the real server, where there is one."""

    daemon_threads = True

    def __init__(self, fault: Fault, upstream: int | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault = fault
        self.upstream = upstream
        self.requests = 0
        self.posts: defaultdict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))
        self.closing = threading.Event()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: FaultyServer

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests += 1
        match self.server.fault:
            case "500" | "429" as code:
                self._answer(int(code), {}, b"not now")
            case "hang":
                self.server.closing.wait()
                self.close_connection = True
            case "slow":
                time.sleep(SLOW_SECONDS)
                self._forward(body, lose=False)
            case "lost answers":
                self._forward(body, lose=self.command == "POST" and next(self.server.posts[self.path]) % LOST == 0)
            case "none":
                self._forward(body, lose=False)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = handle_request  # noqa: N815

    def _forward(self, body: bytes, *, lose: bool) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if lose:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._answer(answer.status, dict(answer.getheaders()), content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", headers.get("content-type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


@contextmanager
def serving(fault: Fault, upstream: int | None = None) -> Iterator[FaultyServer]:
    """A server with this fault, for the time of the block."""
    server = FaultyServer(fault, upstream)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        stop(server)


def stop(server: FaultyServer) -> None:
    """It dies: connections are refused from now on."""
    server.closing.set()
    server.shutdown()
    server.server_close()


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
