"""Sends probes and answers them: one process that has sockets in every namespace of a lab, and one loop over them all.

A probe carries a token.  It is *delivered* when the token comes out at a server, and *answered* when it comes back to
the client.  What came of it is judged from both, so that neither a broken lab nor a filter that stops only the answers
looks like a verdict.
"""

from __future__ import annotations

import errno
import os
import resource
import selectors
import socket
import struct
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from itertools import groupby
from typing import assert_never

from npcompile.netset.cidrs import Address, Family, family_of
from npcompile.netset.ports import Protocol
from npcompile.runtime.lab.observation import Observation, Observed
from npcompile.runtime.lab.packets import Heard, echo_request, payload, read_echo, read_sctp, sctp_answer, sctp_init
from npcompile.runtime.lab.probes import Probe
from npcompile.runtime.lab.services import SLOTS
from npcompile.runtime.namespaces import Namespace

_FAMILIES = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_ICMP = {Family.V4: socket.IPPROTO_ICMP, Family.V6: socket.IPPROTO_ICMPV6}
_TOKEN_SIZE = 4  # bytes
_NUMBER_BITS = 24  # of a token; above them is the phase
_RECEIVE_BUFFER = 33  # SO_RCVBUFFORCE of asm-generic/socket.h
_BUFFER = 1 << 22  # bytes for what arrives while the loop is busy sending
_AT_ONCE = 64  # probes sent between two looks at what arrived
_MOST_CONNECTIONS = 8000  # at once: what is denied keeps its place until it is given up
_SPARE_FILES = 256
_MOST_LATE = 10.0  # seconds that a busy loop may put off giving up
_BACKLOG = 4096
_CLOSE_AT_ONCE = struct.pack("ii", 1, 0)  # struct linger: no TIME-WAIT
_CLIENT_PORTS = range(20032, 60032, SLOTS)
# A filter on the sender's own output refuses with EPERM: a drop, and no failure.
_DROPPED = frozenset({errno.EPERM})

_Handler = Callable[[], None]


class Prober:
    """Probes of one lab.  They are asked in phases, between which whatever filters them may change: what a phase sent
    counts for no other.
    """

    def __init__(self, namespaces: Mapping[Address, Namespace], probes: Sequence[Probe]) -> None:
        if len(probes) >= 1 << _NUMBER_BITS:
            raise ValueError(f"{len(probes)} probes")
        files = _allowed_files()
        self._namespaces = namespaces
        self._probes = probes
        self._phase = 0
        self._answered: set[int] = set()
        self._arrivals: dict[int, tuple[Address, int | None]] = {}
        self._failures: dict[int, str] = {}
        self._pending: dict[int, float] = {}  # number: when to give it up; in the order of sending
        self._connections: dict[int, socket.socket] = {}
        self._raw: dict[tuple[Address, Protocol], socket.socket] = {}
        self._stack = ExitStack()
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        listening = _listening(probes)
        used = {port for ports in listening.values() for _, port in ports}
        self._blocks = (first for first in _CLIENT_PORTS if used.isdisjoint(range(first, first + SLOTS)))
        for address, ports in listening.items():
            with namespaces[address].entered():
                self._listen(address, ports)
        free = files - len(self._selector.get_map()) - _SPARE_FILES
        self._most_connections = max(1, min(_MOST_CONNECTIONS, free // 2))  # a client and, once accepted, a server

    def close(self) -> None:
        """Close every socket."""
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._stack.close()

    def next_phase(self) -> None:
        """Forget what came of all probes."""
        self._phase += 1
        self._answered.clear()
        self._arrivals.clear()
        self._failures.clear()

    def ask(self, numbers: Collection[int], seconds: float) -> None:
        """Send these probes, from ports that none was sent from before, and wait for answers so long at most."""
        block = next(self._blocks)
        waiting = deque(sorted(numbers, key=lambda number: (str(self._probes[number].src), number)))
        datagrams: dict[tuple[Address, int], socket.socket] = {}
        while waiting or self._pending:
            free = min(_AT_ONCE, self._most_connections - len(self._connections))
            batch = [waiting.popleft() for _ in range(min(free, len(waiting)))]
            for src, group in groupby(batch, key=lambda number: self._probes[number].src):
                with self._namespaces[src].entered():
                    for number in group:
                        self._pending[number] = time.monotonic() + seconds
                        self._send(number, block, datagrams)
            busy = self._turn(0 if batch else self._patience())
            self._expire(_MOST_LATE if busy else 0.0)
        for client in datagrams.values():
            self._drop(client)

    def serve(self, is_over: Callable[[], bool]) -> None:
        """Only answer, until told to stop."""
        while not is_over():
            self._turn(0.2)

    def unanswered(self, numbers: Collection[int]) -> list[int]:
        """Those that got no answer in this phase."""
        return [number for number in numbers if number not in self._answered]

    def observation(self, number: int) -> Observation:
        """What came of a probe in this phase."""
        arrival = self._arrivals.get(number)
        if arrival is not None and arrival != self._probes[number].arrival:
            where = f"{arrival[0]} port {arrival[1]}" if arrival[1] else str(arrival[0])
            return Observation(Observed.UNKNOWN, f"it came out at {where}")
        if number in self._answered:
            return Observation(Observed.ALLOW)
        if arrival is not None:
            return Observation(Observed.ONE_WAY, "it arrived, and the answer did not")
        if number in self._failures:
            return Observation(Observed.UNKNOWN, self._failures[number])
        return Observation(Observed.DENY)

    # --- the loop ---

    def _turn(self, seconds: float) -> bool:
        """Handle what arrived, waiting so long at most; whether anything did.  While something does, little expires:
        a busy machine is no silence.
        """
        events = self._selector.select(seconds)
        for key, _ in events:
            handle: _Handler = key.data
            handle()
        return bool(events)

    def _patience(self) -> float:
        first = next(iter(self._pending.values()), 0.0)
        return max(0.0, first - time.monotonic())

    def _expire(self, late: float) -> None:
        """Give up what is overdue by so many seconds."""
        now = time.monotonic() - late
        while self._pending:
            number, deadline = next(iter(self._pending.items()))
            if deadline > now:
                return
            self._finish(number)

    def _finish(self, number: int) -> None:
        self._pending.pop(number, None)
        if connection := self._connections.pop(number, None):
            self._drop(connection)

    def _watch(self, one: socket.socket, handle: _Handler, events: int = selectors.EVENT_READ) -> None:
        one.setblocking(False)
        self._selector.register(one, events, handle)

    def _drop(self, one: socket.socket) -> None:
        self._selector.unregister(one)
        one.close()

    # --- what comes of a probe ---

    def _token(self, number: int) -> int:
        return (self._phase + 1) << _NUMBER_BITS | number

    def _number(self, token: int) -> int | None:
        """The probe of this phase that a token stands for."""
        number = token & (1 << _NUMBER_BITS) - 1
        return number if token == self._token(number) and number < len(self._probes) else None

    def _delivered(self, token: int, address: Address, port: int | None) -> None:
        if (number := self._number(token)) is not None:
            self._arrivals[number] = (address, port)

    def _came_back(self, token: int, sender: str, port: int | None) -> None:
        number = self._number(token)
        if number is not None and (_spelled(self._probes[number].dst), self._probes[number].port) == (sender, port):
            self._answered.add(number)
            self._finish(number)

    def _failed(self, number: int, code: int) -> None:
        if code not in _DROPPED:
            self._failures[number] = os.strerror(code).lower()
        self._finish(number)

    # --- clients ---

    def _send(self, number: int, block: int, datagrams: dict[tuple[Address, int], socket.socket]) -> None:
        probe = self._probes[number]
        sport = block + probe.slot
        try:
            match probe.protocol:
                case Protocol.TCP:
                    self._connect(number, probe, sport)
                case Protocol.UDP:
                    client = datagrams.get((probe.src, sport)) or self._datagram_client(probe.src, sport)
                    datagrams[probe.src, sport] = client
                    client.sendto(self._token(number).to_bytes(_TOKEN_SIZE, "big"), (str(probe.dst), probe.port))
                case Protocol.SCTP:
                    packet = sctp_init(sport, probe.port or 0, self._token(number))
                    self._raw[probe.src, Protocol.SCTP].sendto(packet, (str(probe.dst), 0))
                case Protocol.ICMP:
                    packet = echo_request(family_of(probe.dst), block, self._token(number))
                    self._raw[probe.src, Protocol.ICMP].sendto(packet, (str(probe.dst), 0))
                case _:
                    assert_never(probe.protocol)
        except OSError as error:
            self._failed(number, error.errno or errno.EIO)

    def _connect(self, number: int, probe: Probe, sport: int) -> None:
        client = _socket(probe.src, socket.SOCK_STREAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_AT_ONCE)
        self._connections[number] = client
        self._watch(client, lambda: self._connected(number, client), selectors.EVENT_WRITE)
        client.bind((str(probe.src), sport))
        code = client.connect_ex((str(probe.dst), probe.port))
        if code not in (0, errno.EINPROGRESS):
            self._failed(number, code)

    def _connected(self, number: int, client: socket.socket) -> None:
        if code := client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._failed(number, code)
            return
        client.send(self._token(number).to_bytes(_TOKEN_SIZE, "big"))
        self._selector.modify(client, selectors.EVENT_READ, lambda: self._replied(number, client))

    def _replied(self, number: int, client: socket.socket) -> None:
        try:
            data, peer = client.recv(_TOKEN_SIZE), client.getpeername()
        except OSError as error:
            self._failed(number, error.errno or errno.EIO)
            return
        self._came_back(_token_in(data), *peer[:2])
        self._finish(number)

    def _datagram_client(self, src: Address, sport: int) -> socket.socket:
        client = _socket(src, socket.SOCK_DGRAM)
        client.bind((str(src), sport))

        def read() -> None:
            for data, sender in _received(client):
                self._came_back(_token_in(data), *sender)

        self._watch(client, read)
        return client

    # --- servers ---

    def _listen(self, address: Address, ports: Collection[tuple[Protocol, int]]) -> None:
        """Everything that an address answers on.  This thread must be in its namespace."""
        for protocol, port in sorted(ports, key=str):
            if protocol is Protocol.TCP:
                self._listen_tcp(address, port)
            elif protocol is Protocol.UDP:
                self._listen_udp(address, port)
        self._listen_raw(address, Protocol.ICMP, _ICMP[family_of(address)])
        self._listen_raw(address, Protocol.SCTP, socket.IPPROTO_SCTP)

    def _listen_tcp(self, address: Address, port: int) -> None:
        server = _socket(address, socket.SOCK_STREAM)
        server.bind((str(address), port))
        server.listen(_BACKLOG)

        def accept() -> None:
            with suppress(OSError):  # a client that has gone again
                while True:
                    connection, _ = server.accept()
                    self._watch(connection, lambda connection=connection: answer(connection))  # type: ignore[misc]

        def answer(connection: socket.socket) -> None:
            data = b""
            with suppress(OSError):  # a client that has gone again
                data = connection.recv(_TOKEN_SIZE)
                self._delivered(_token_in(data), address, port)
                connection.send(data)
            if not data:
                self._drop(connection)

        self._watch(server, accept)

    def _listen_udp(self, address: Address, port: int) -> None:
        server = _socket(address, socket.SOCK_DGRAM)
        server.bind((str(address), port))

        def answer() -> None:
            for data, sender in _received(server):
                self._delivered(_token_in(data), address, port)
                with suppress(OSError):  # refused: the client sees that no answer comes
                    server.sendto(data, sender)

        self._watch(server, answer)

    def _listen_raw(self, address: Address, protocol: Protocol, number: int) -> None:
        """The socket that asks and hears: the kernel answers echo requests, and SCTP is answered here."""
        family = family_of(address)
        both = _socket(address, socket.SOCK_RAW, number)
        both.bind((str(address), 0))
        self._raw[address, protocol] = both

        def read() -> None:
            for datagram, sender in _received(both):
                data = payload(family, datagram)
                heard = read_echo(family, data) if protocol is Protocol.ICMP else read_sctp(data)
                if heard is None:
                    continue
                if not heard.is_request:
                    self._came_back(heard.token, sender[0], heard.sport or None)
                    continue
                self._delivered(heard.token, address, heard.dport or None)
                if protocol is Protocol.SCTP and self._is_served(heard, address):
                    with suppress(OSError):
                        both.sendto(sctp_answer(heard), (sender[0], 0))

        self._watch(both, read)

    def _is_served(self, heard: Heard, address: Address) -> bool:
        number = self._number(heard.token)
        return number is not None and self._probes[number].arrival == (address, heard.dport)


def _listening(probes: Sequence[Probe]) -> Mapping[Address, set[tuple[Protocol, int]]]:
    """What each address that takes part must answer on."""
    found: dict[Address, set[tuple[Protocol, int]]] = defaultdict(set)
    for probe in probes:
        address, port = probe.arrival
        found[probe.src].update()
        found[address].update([(probe.protocol, port)] if port is not None else [])
    return found


def _socket(address: Address, kind: int, protocol: int = 0) -> socket.socket:
    made = socket.socket(_FAMILIES[family_of(address)], kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind != socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER, _BUFFER)
    return made


@cache
def _spelled(address: Address) -> str:
    """As the kernel's answers are spelled."""
    return socket.inet_ntop(_FAMILIES[family_of(address)], address.packed)


def _token_in(data: bytes) -> int:
    """The token that was received; 0, which is none, for anything else."""
    return int.from_bytes(data, "big") if len(data) == _TOKEN_SIZE else 0


def _received(one: socket.socket) -> Iterator[tuple[bytes, tuple[str, int]]]:
    """Every datagram that is there."""
    with suppress(BlockingIOError):
        while True:
            data, sender = one.recvfrom(2048)
            yield data, sender[:2]


def _allowed_files() -> int:
    """How many open files this process may have, after asking for all that it can: a server takes one a port."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most if most != resource.RLIM_INFINITY else _MOST_CONNECTIONS * 8
