"""What stands before a server and can be cut off: for whoever connects, the server is gone until it is mended."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.integration.servers import HOST

_PIECE = 65536


class Relay:
    """Hands all through to a port of this machine, from one port of its own that stays the same."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = 0
        self.mend()

    def mend(self) -> None:
        """Listen, again or for the first time."""
        self._listener = socket.create_server((HOST, self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuse connections, and break those that there are."""
        assert self._listener is not None
        _close(self._listener)
        self._listener = None
        for one in list(self._open):
            _close(one)

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Cut for the time of the block."""
        self.cut()
        try:
            yield
        finally:
            self.mend()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    upstream = socket.create_connection((HOST, self._server))
                except OSError:
                    client.close()
                    continue
                self._open |= {client, upstream}
                for ends in ((client, upstream), (upstream, client)):
                    threading.Thread(target=self._hand_on, args=ends, daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                target.sendall(piece)
        for one in (source, target):
            _close(one)
            self._open.discard(one)


def _close(one: socket.socket) -> None:
    """Also for a thread that waits at it."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
