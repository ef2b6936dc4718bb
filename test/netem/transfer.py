"""Timed transfers over TCP: the client, and a server that does what transfer-server.ts does on the host.

  transfer.py serve PORT
  transfer.py down|up BYTES SECONDS DEVICE=ADDRESS:PORT...

The client makes one connection through each device, all at once. Its first line is "down BYTES SECONDS" or "up BYTES
SECONDS". The end that receives measures: from the first byte until it has them all, or for so many seconds. In an upload
the server answers with its line "BYTES NANOSECONDS". The client prints "DEVICE BYTES NANOSECONDS" or "DEVICE failed WHY".
"""

import select
import socket
import struct
import sys
import threading
import time

CHUNK = 65536
# How long a connect, or a silence before the first byte, may take; lost SYNs are repeated after 1, 3 and 7 s.
PATIENCE = 20


def receive(connection, size, seconds):
    """Reads whole chunks, because under emulation it costs to wake a program for every packet."""
    buffer = bytearray(CHUNK)
    connection.settimeout(PATIENCE)
    received = connection.recv_into(buffer)
    first = time.monotonic()
    left = seconds
    connection.settimeout(None)
    while received < size and left > 0.001:
        limit = struct.pack("ll", int(left), int(left % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        try:
            count = connection.recv_into(buffer, min(CHUNK, size - received), socket.MSG_WAITALL)
            if count == 0:
                raise ConnectionError("the stream ended early")
            received += count
        except BlockingIOError:
            pass  # nothing has come until the time was over
        left = first + seconds - time.monotonic()
    return b"%d %d" % (received, (time.monotonic() - first) * 1e9)


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError("the stream ended early")
        line += byte
    return line[:-1]


def serve(connection):
    try:
        connection.settimeout(PATIENCE)
        kind, size, seconds = read_line(connection).split()
        if kind == b"up":
            connection.sendall(receive(connection, int(size), float(seconds)) + b"\n")
            connection.settimeout(PATIENCE)
        else:
            connection.settimeout(None)
            connection.sendall(bytes(int(size)))
        # The client resets the connection when it has what it wants.
        while connection.recv(CHUNK):
            pass
    except OSError:
        pass
    finally:
        connection.close()


def upload(connection, size, seconds):
    """Sends, and returns the server's line, which comes before the end if the time is over."""
    block = memoryview(bytes(CHUNK))
    connection.setblocking(False)
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLOUT)
    while True:
        ready = poll.poll((seconds + PATIENCE) * 1000)
        if not ready:
            raise TimeoutError("no answer")
        for _, events in ready:
            if events & ~select.POLLOUT:
                connection.settimeout(PATIENCE)
                return read_line(connection)
        size -= connection.send(block[: min(size, CHUNK)])
        if size == 0:
            poll.modify(connection, select.POLLIN)


def transfer(kind, size, seconds, target):
    device, server = target.split("=")
    address, port = server.split(":")
    connection = socket.socket()
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        connection.settimeout(PATIENCE)
        connection.connect((address, int(port)))
        connection.sendall(f"{kind} {size} {seconds}\n".encode())
        result = upload(connection, size, seconds) if kind == "up" else receive(connection, size, seconds)
    except OSError as error:
        result = f"failed {error}".encode()
    finally:
        # What is still on its way does not matter: reset instead of an orderly end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    sys.stdout.write(f"{device} {result.decode()}\n")


def main():
    kind, *words = sys.argv[1:]
    if kind == "serve":
        server = socket.create_server(("", int(words[0])), backlog=64)
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()
    size, seconds, *targets = words
    threads = [threading.Thread(target=transfer, args=(kind, int(size), float(seconds), each)) for each in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
