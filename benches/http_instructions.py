#!/usr/bin/env python3
"""Instructions of a server for one request, ours and others beside axum::serve, under valgrind's callgrind.

cargo build --release -p adjourn-http-tests --features field --bins
benches/http_instructions.py [--write] [DIRECTORY OF THE BINARIES]

Two runs a server, with few and with many requests on one keep-alive connection: the difference is what
a request costs, without the start and the end. `--write` renews docs/http.md. trillium is built by
`ci/http.sh 20 field`; where it is not built it is left out.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

FEW, MANY = 1_000, 6_000
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SERVERS = [
    ("axum", "field", "`axum::serve`"),
    ("tokio", "served", "ours on Tokio, with axum's `Router`"),
    ("smol", "served", "ours on smol, with axum's `Router`"),
    ("hyper-smol", "field", "hyper on smol by smol-hyper, with axum's `Router`"),
    ("trillium-tokio", "../peers/release/trillium-served", "trillium on Tokio"),
    ("trillium-smol", "../peers/release/trillium-served", "trillium on smol"),
]


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


def write(text):
    page = Path(__file__).parent.parent / "docs/http.md"
    part = r"(<!-- generated: instructions -->\n).*?(<!-- end -->)"
    new, found = re.subn(part, lambda m: f"{m[1]}\n{text}\n{m[2]}", page.read_text(), flags=re.S)
    assert found == 1, "docs/http.md has no such part"
    page.write_text(new)


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--write"]
    directory = Path(arguments[0] if arguments else "target/release")
    rows = ["| server | instructions a request | of `axum::serve`'s |", "|---|---|---|"]
    print("\n".join(rows))
    axum = None
    for name, program, title in SERVERS:
        program = directory / program
        if not program.exists():
            print(f"{title}: not built, left out", file=sys.stderr)
            continue
        command = [str(program), name]
        each = (count(command, MANY) - count(command, FEW)) / (MANY - FEW)
        axum = axum or each
        rows.append(f"| {title} | {each:,.0f} | {each / axum:.2f} |")
        print(rows[-1], flush=True)
    if "--write" in sys.argv:
        write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
