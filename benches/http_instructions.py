#!/usr/bin/env python3
"""Instructions of a server for one request, ours beside axum::serve, under valgrind's callgrind.

cargo build --release -p adjourn-http-tests --features field --bins
benches/http_instructions.py [DIRECTORY OF THE BINARIES]

Two runs a server, with few and with many requests on one keep-alive connection: the difference is what
a request costs, without the start and the end.
"""

import os
import re
import signal
import socket
import subprocess
import sys

FEW, MANY = 1_000, 6_000
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def count(command, requests):
    """Runs a server for so many requests and returns its instructions."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    valgrind = "exec valgrind --tool=callgrind --callgrind-out-file=/dev/null"
    server = subprocess.Popen(
        ["sh", "-c", f'export LISTEN_PID=$$; {valgrind} "$@"', "sh", *command, "inherited"],
        env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"},
        preexec_fn=lambda: os.dup2(listener.fileno(), 3),
        pass_fds=[3],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout.readline().startswith("ready"), server.stderr.read()
    client = socket.create_connection(listener.getsockname())
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(requests):
        client.sendall(REQUEST)
        answer = b""
        while not answer.endswith(b"hello"):
            answer += client.recv(4096)
    client.close()
    server.send_signal(signal.SIGTERM)
    _, err = server.communicate()
    return int(re.search(r"Collected : (\d+)", err).group(1))


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else "target/release"
    each = {}
    for name, program in [("axum", "field"), ("tokio", "served"), ("smol", "served")]:
        command = [f"{directory}/{program}", name]
        each[name] = (count(command, MANY) - count(command, FEW)) / (MANY - FEW)
        print(f"{name}: {each[name]:,.0f} a request, {each[name] / each['axum']:.3f} of axum::serve")


if __name__ == "__main__":
    main()
