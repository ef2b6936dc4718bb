"""The other ends of bench/http-proxy-guest.ts, which cost as little as may be beside what is measured:

    transfer.py serve PORT...             answers GET /LENGTH with so many bytes, and PUT with 200; by bare HTTP, also behind
                                          what begins as TLS does
    transfer.py upstream PORT             an HTTP proxy, for which every name is 127.0.0.1
    transfer.py get|put WAY ADDRESS:PORT LENGTH [PROXY:PORT]
                                          moves a body and prints the seconds that it took; WAY is "direct", "plain" (an
                                          HTTP proxy is asked), "tunnel" (asked by CONNECT) or "tls" (the first bytes are a
                                          ClientHello, as if TLS followed)
    transfer.py tunnels COUNT ADDRESS:PORT PROXY:PORT
                                          opens tunnels, prints "open", and holds them until its standard input ends

The servers print "ready".
"""

import os
import resource
import socket
import sys
import threading
import time

BLOCK = 1 << 20
ZEROS = memoryview(bytes(BLOCK))
NAME = b"large.example"
TLS_HANDSHAKE = 22
AT_ONCE = 50


def read_head(connection):
    """Returns the lines of a head, and what came behind it."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(65536)
        if not part:
            return None, b""
        head += part
        if head[0] == TLS_HANDSHAKE:
            length = 5 + int.from_bytes(head[3:5], "big") if len(head) >= 5 else 5
            if len(head) < length:
                continue
            head = head[length:] or connection.recv(65536)
    head, rest = head.split(b"\r\n\r\n", 1)
    return head.split(b"\r\n"), rest


def length_of(lines):
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("no length")


def send_zeros(connection, length):
    while length > 0:
        part = min(length, BLOCK)
        connection.sendall(ZEROS[:part])
        length -= part


def skip(connection, length):
    buffer = bytearray(BLOCK)
    while length > 0:
        read = connection.recv_into(buffer, min(length, BLOCK))
        if read == 0:
            raise EOFError("the connection ended too early")
        length -= read


def answer(connection):
    with connection:
        while True:
            lines, rest = read_head(connection)
            if lines is None:
                return
            method, target, _ = lines[0].split(b" ")
            if method == b"GET":
                length = int(target.rsplit(b"/", 1)[1])
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
                send_zeros(connection, length)
            else:
                skip(connection, length_of(lines) - len(rest))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def pass_on(source, target):
    """Moves bytes within the kernel, until their end."""
    inlet, outlet = None, None
    try:
        outlet, inlet = os.pipe()
        while True:
            moved = os.splice(source.fileno(), inlet, BLOCK)
            if moved == 0:
                break
            while moved > 0:
                moved -= os.splice(outlet, target.fileno(), moved)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    finally:
        os.close(inlet)
        os.close(outlet)


def relay(client):
    with client:
        lines, rest = read_head(client)
        if lines is None:
            return
        method, target, version = lines[0].split(b" ")
        if method == b"CONNECT":
            origin = socket.create_connection(("127.0.0.1", int(target.rsplit(b":", 1)[1])))
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            first = rest
        else:
            authority, path = target[len(b"http://"):].split(b"/", 1)
            _, _, port = authority.partition(b":")
            origin = socket.create_connection(("127.0.0.1", int(port or b"80")))
            first = b"\r\n".join([b" ".join([method, b"/" + path, version]), *lines[1:]]) + b"\r\n\r\n" + rest
        with origin:
            if first:
                origin.sendall(first)
            back = threading.Thread(target=pass_on, args=(origin, client))
            back.start()
            pass_on(client, origin)
            back.join()


def listen(ports, serve):
    for port in ports:
        server = socket.create_server(("0.0.0.0", int(port)), backlog=1024)

        def accept(server=server):
            while True:
                connection, _ = server.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def vector(size, content):
    return len(content).to_bytes(size, "big") + content


def client_hello():
    """With the extensions server_name and supported_versions (RFC 8446, 4.1.2)."""
    name = b"\0\0" + vector(2, vector(2, b"\0" + vector(2, NAME)))
    versions = b"\0\x2b" + vector(2, vector(1, b"\3\4"))
    body = b"\3\3" + bytes(32) + vector(1, bytes(32)) + vector(2, b"\x13\1") + vector(1, b"\0") + vector(2, name + versions)
    return b"\x16\3\1" + vector(2, b"\1" + vector(3, body))


def address_of(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def expect_success(connection):
    lines, rest = read_head(connection)
    if lines is None or lines[0].split(b" ")[1] != b"200":
        raise ConnectionError("no success: %r" % lines)
    return lines, rest


def open_tunnel(origin, proxy):
    connection = socket.create_connection(address_of(proxy))
    connection.sendall(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (origin.encode(), origin.encode()))
    expect_success(connection)
    return connection


def transfer(method, way, origin, length, proxy=None):
    length = int(length)
    if way == "tunnel":
        connection = open_tunnel(origin, proxy)
    else:
        connection = socket.create_connection(address_of(proxy if way == "plain" else origin))
    if way == "tls":
        connection.sendall(client_hello())
    target = "http://%s/%d" % (origin, length) if way == "plain" else "/%d" % length
    began = time.monotonic()
    if method == "get":
        connection.sendall(("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, origin)).encode())
        lines, rest = expect_success(connection)
        skip(connection, length_of(lines) - len(rest))
    else:
        head = "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (target, origin, length)
        connection.sendall(head.encode())
        send_zeros(connection, length)
        expect_success(connection)
    print(time.monotonic() - began)


def hold_tunnels(count, origin, proxy):
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
    tunnels = []
    left = iter(range(count))

    def work():
        for _ in left:
            tunnels.append(open_tunnel(origin, proxy))

    workers = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if len(tunnels) != count:
        raise ConnectionError("%d of %d tunnels are open" % (len(tunnels), count))
    print("open", flush=True)
    sys.stdin.read()


role, *rest = sys.argv[1:]
if role == "serve":
    listen(rest, answer)
elif role == "upstream":
    listen(rest, relay)
elif role == "tunnels":
    hold_tunnels(int(rest[0]), *rest[1:])
else:
    transfer(role, *rest)
