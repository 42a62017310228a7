"""A network of its own for a command: loopback, a second address, and a way out at which all that leaves is heard."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESS = "203.0.113.7"
GATEWAY = "203.0.113.1"
_SETUP = f"""
link set lo up
link add out type veth peer name wire
link set wire up
addr add {ADDRESS}/24 dev out
link set out up
addr add 2001:db8::7/64 dev out nodad
route add default via {GATEWAY}
route add default via 2001:db8::1
neigh add {GATEWAY} lladdr 02:00:00:00:00:01 dev out nud permanent
neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 dev out nud permanent
"""
_ICMP6 = 58
_HOP_BY_HOP = 0  # the kernel's own multicast reports
_ALL_PROTOCOLS = 3


class Network:
    """A network namespace; commands that start with :attr:`enter` run in it."""

    def __init__(self, name: str, wire: socket.socket) -> None:
        self.name = name
        self.enter = ["ip", "netns", "exec", name]
        self._wire = wire

    def socket(self) -> socket.socket:
        """A TCP socket in this network, for a test that runs outside of it."""
        with _inside(self.name):
            return socket.socket()

    def listening(self) -> set[str]:
        """Addresses and ports at which anything can be reached: TCP that listens, UDP that is bound."""
        found = subprocess.run([*self.enter, "ss", "-Hltun"], capture_output=True, text=True, check=True)
        return {line.split()[4] for line in found.stdout.splitlines()}

    def heard(self) -> list[str]:
        """Where packets went that left since the last call: names are asked for at the gateway too."""
        places = []
        while True:
            try:
                frame = self._wire.recv(2048)
            except BlockingIOError:
                return places
            kind = frame[12:14]
            if kind == b"\x08\x00":
                places.append(socket.inet_ntop(socket.AF_INET, frame[30:34]))
            elif kind == b"\x86\xdd" and frame[20] not in (_ICMP6, _HOP_BY_HOP):
                places.append(socket.inet_ntop(socket.AF_INET6, frame[38:54]))


@contextmanager
def network() -> Iterator[Network]:
    """Set up a network namespace, and remove it. Needs root, and ``ip`` and ``ss`` of Debian's iproute2."""
    name = f"losstune-{os.getpid()}"
    resolver = Path("/etc/netns") / name
    resolver.mkdir(parents=True)
    (resolver / "resolv.conf").write_text(f"nameserver {GATEWAY}\n")
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "-batch", "-"], input=_SETUP, text=True, check=True)
        with _inside(name):
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
            wire.bind(("wire", _ALL_PROTOCOLS))
        wire.setblocking(False)
        with wire:
            yield Network(name, wire)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
        (resolver / "resolv.conf").unlink()
        resolver.rmdir()


@contextmanager
def _inside(name: str) -> Iterator[None]:
    """This thread in another network namespace; a socket made there stays there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as own, open(f"/run/netns/{name}") as other:  # noqa: PTH123
        if libc.setns(other.fileno(), 0):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(own.fileno(), 0)
