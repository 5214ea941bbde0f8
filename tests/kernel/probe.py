"""Run inside a network namespace: answer on addresses, or try to reach some.  Standard library only.

`probe.py serve '[["tcp", "10.0.0.1", 80], ...]'` answers until it is ended, and prints `ready` first.
`probe.py try` reads a list of [protocol, source, destination, port] and prints a list of true and false.
`probe.py flood SOURCE DESTINATION PORT` sends datagrams until its input ends, and prints how many, and
how many answers came.
"""

from __future__ import annotations

import json
import select
import selectors
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

TRIES = 3
WAIT = 0.5  # seconds a try: a dropped packet is told from a slow one by this alone
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(places: list[tuple[str, str, int]]) -> None:
    chooser = selectors.DefaultSelector()
    for protocol, address, port in places:
        server = socket.socket(family(address), KINDS[protocol])
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        if protocol == "tcp":
            server.listen(128)
        chooser.register(server, selectors.EVENT_READ, protocol)
    print("ready", flush=True)
    while True:
        for key, _ in chooser.select():
            server = key.fileobj
            if key.data == "tcp":
                connection, _ = server.accept()
                connection.sendall(b"hello")
                connection.close()
            else:
                data, sender = server.recvfrom(64)
                server.sendto(data, sender)


def reaches(flow: tuple[str, str, str, int | None]) -> bool:
    protocol, src, dst, port = flow
    try:
        if protocol == "tcp":
            with socket.create_connection((dst, port or 0), TRIES * WAIT, (src, 0)) as client:
                return client.recv(64) == b"hello"
        return any(ping(src, dst) if port is None else datagram(src, dst, port) for _ in range(TRIES))
    except OSError:
        return False


def datagram(src: str, dst: str, port: int) -> bool:
    with socket.socket(family(dst), socket.SOCK_DGRAM) as client:
        client.settimeout(WAIT)
        client.bind((src, 0))
        client.connect((dst, port))
        client.send(b"hello")
        with suppress(TimeoutError):
            return client.recv(64) == b"hello"
    return False


def ping(src: str, dst: str) -> bool:
    with socket.socket(family(dst), socket.SOCK_DGRAM) as unused:  # a free port makes a fresh identifier
        unused.bind((src, 0))
        number = unused.getsockname()[1]
    v6 = family(dst) is socket.AF_INET6
    protocol = socket.getprotobyname("ipv6-icmp" if v6 else "icmp")
    kind, answer = (128, 129) if v6 else (8, 0)
    body = struct.pack("!BBHHH", kind, 0, 0, number, 1)
    if not v6:  # the kernel sums ICMPv6 itself
        total = sum(struct.unpack("!4H", body))
        body = struct.pack("!BBHHH", kind, 0, ~(total + (total >> 16)) & 0xFFFF, number, 1)
    with socket.socket(family(dst), socket.SOCK_RAW, protocol) as client:
        client.settimeout(WAIT)
        client.bind((src, 0))
        client.sendto(body, (dst, 0))
        with suppress(TimeoutError):
            while True:
                got, (sender, *_) = client.recvfrom(256)
                reply = got if v6 else got[(got[0] & 15) * 4 :]
                if sender == dst and reply[0] == answer and reply[4:6] == number.to_bytes(2, "big"):
                    return True
    return False


def flood(src: str, dst: str, port: int) -> None:
    sent = answers = 0
    with socket.socket(family(dst), socket.SOCK_DGRAM) as client:
        client.bind((src, 0))
        client.connect((dst, port))
        client.setblocking(False)
        while not select.select([sys.stdin], [], [], 0)[0]:
            client.send(b"hello")
            sent += 1
            answers += bool(select.select([client], [], [], 0)[0])
    print(json.dumps([sent, answers]))


def main() -> None:
    if sys.argv[1] == "serve":
        serve(json.loads(sys.argv[2]))
    elif sys.argv[1] == "flood":
        flood(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        flows = json.load(sys.stdin)
        with ThreadPoolExecutor(max_workers=64) as pool:
            print(json.dumps(list(pool.map(reaches, flows))))


main()
