"""Servers of the guest that published ports lead to.

8080  HTTP: answers each request with the client's address, and keeps the connection when asked to
9000  takes bytes until the end and answers with their hash
9001  sends as many bytes as the line it is sent says, of which hash_of_pattern() knows the hash
7001, 7002, 7003  say which of them they are
5353  UDP: echo
"""
import asyncio
import hashlib

BLOCK = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(32768))


async def http(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = (writer.get_extra_info("peername")[0] + "\n").encode()
            close = b"connection: close" in head.lower()
            end = b"Connection: close\r\n" if close else b""
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), end, body))
            await writer.drain()
            if close:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def take(reader, writer):
    digest = hashlib.blake2b()
    while chunk := await reader.read(1 << 20):
        digest.update(chunk)
    writer.write(digest.hexdigest().encode())
    writer.close()


async def give(reader, writer):
    left = int(await reader.readline())
    while left > 0:
        part = BLOCK[: min(left, len(BLOCK))]
        writer.write(part)
        await writer.drain()
        left -= len(part)
    writer.close()


async def say(reader, writer):
    writer.write(b"port %d\n" % writer.get_extra_info("sockname")[1])
    writer.close()


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def main():
    options = {"host": "0.0.0.0", "backlog": 4096}
    await asyncio.start_server(http, port=8080, **options)
    await asyncio.start_server(take, port=9000, limit=1 << 20, **options)
    await asyncio.start_server(give, port=9001, **options)
    for port in (7001, 7002, 7003):
        await asyncio.start_server(say, port=port, **options)
    await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("0.0.0.0", 5353))
    print("serving", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
