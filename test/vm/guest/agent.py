"""Runs commands for the host, over a virtio-serial port.

Messages are lines of words; bytes are base64, and "-" is no bytes at all.

  host to guest                            guest to host
  run ID TIMEOUT_MS COMMAND                ready
  in ID BYTES       (standard input)       out ID BYTES, err ID BYTES
  eof ID            (its end)              exit ID STATUS TIMED_OUT DURATION_MS
  kill ID SIGNAL

Output flows as it is made, so the guest keeps none of it. A command ends when its shell does: a process that it left
in the background may go on writing, and is read and ignored.

Imports little on purpose: under emulation `import json` alone costs as much as the interpreter's own start.
"""

import binascii
import os
import select
import sys
import time

PORTS = "/sys/class/virtio-ports"
PORT_NAME = "hostd.agent"
SIGKILL = 9
# Python ignores these two signals; a command must not inherit that.
DEFAULT_SIGNALS = (13, 25)  # SIGPIPE, SIGXFSZ
CHUNK = 65536


def encode(data):
    return binascii.b2a_base64(data, newline=False) if data else b"-"


def decode(word):
    return b"" if word == b"-" else binascii.a2b_base64(word)


class Command:
    def __init__(self, agent, number, timeout_ms, text):
        self.agent = agent
        self.number = number
        self.started = time.monotonic()
        self.deadline = self.started + timeout_ms / 1000
        self.timed_out = False
        self.input = bytearray()
        self.input_ended = False
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        self.pid = os.posix_spawn(
            "/bin/bash",
            ["bash", "-c", text],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin, 0),
                (os.POSIX_SPAWN_DUP2, stdout, 1),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
            ],
            setsid=True,
            setsigdef=DEFAULT_SIGNALS,
        )
        for fd in (stdin, stdout, stderr):
            os.close(fd)
        for fd in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(fd, False)
        self.pidfd = os.pidfd_open(self.pid)
        agent.watch(self.stdout, select.POLLIN, lambda: self.read(self.stdout, b"out"))
        agent.watch(self.stderr, select.POLLIN, lambda: self.read(self.stderr, b"err"))
        agent.watch(self.pidfd, select.POLLIN, self.ended)

    def read(self, fd, kind):
        """One read; False when there is nothing to read now or ever again."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self.agent.unwatch(fd)
            os.close(fd)
            return False
        if self.pid is not None:
            self.agent.send(kind, self.number, encode(data))
        return True

    def give(self, data):
        self.input += data
        self.feed()

    def end_input(self):
        self.input_ended = True
        self.feed()

    def feed(self):
        if self.stdin is None:
            return
        try:
            while self.input:
                del self.input[: os.write(self.stdin, self.input[:CHUNK])]
        except BlockingIOError:
            self.agent.watch(self.stdin, select.POLLOUT, self.feed)
            return
        except BrokenPipeError:
            self.input_ended = True
        self.agent.unwatch(self.stdin)
        if self.input_ended:
            self.close_input()

    def close_input(self):
        if self.stdin is not None:
            self.agent.unwatch(self.stdin)
            os.close(self.stdin)
            self.stdin = None
        self.input.clear()

    def kill(self, signal):
        try:
            os.killpg(self.pid, signal)
        except ProcessLookupError:
            pass

    def ended(self):
        # Within one round of events the number of a closed descriptor may already name a newer one.
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return
        self.agent.unwatch(self.pidfd)
        os.close(self.pidfd)
        for fd, kind in ((self.stdout, b"out"), (self.stderr, b"err")):
            # Bounded, because a process in the background may write without end.
            for _ in range(1024):
                if not self.agent.watches(fd) or not self.read(fd, kind):
                    break
        self.close_input()
        status = os.waitstatus_to_exitcode(status)
        self.pid = None
        duration = int((time.monotonic() - self.started) * 1000)
        # A signal reads as the shell reports it: 128 + its number.
        self.agent.send(
            b"exit",
            self.number,
            b"%d %d %d" % (status if status >= 0 else 128 - status, self.timed_out, duration),
        )
        del self.agent.commands[self.number]


class Agent:
    def __init__(self, port):
        self.port = port
        self.poll = select.poll()
        self.handlers = {}
        self.commands = {}
        self.partial = b""
        self.watch(port, select.POLLIN, self.receive)

    def watch(self, fd, events, handler):
        self.poll.register(fd, events)
        self.handlers[fd] = handler

    def unwatch(self, fd):
        if self.handlers.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def watches(self, fd):
        return fd in self.handlers

    def send(self, *words):
        line = b" ".join(words) + b"\n"
        while line:
            line = line[os.write(self.port, line) :]

    def receive(self):
        data = os.read(self.port, CHUNK)
        if not data:
            os._exit(0)  # the host is gone
        lines = (self.partial + data).split(b"\n")
        self.partial = lines.pop()
        for line in lines:
            self.handle(line.split())

    def handle(self, words):
        kind, number = words[0], words[1]
        if kind == b"run":
            self.commands[number] = Command(self, number, int(words[2]), decode(words[3]))
            return
        command = self.commands.get(number)
        if command is None:
            return  # it ended while the message was on its way
        if kind == b"in":
            command.give(decode(words[2]))
        elif kind == b"eof":
            command.end_input()
        elif kind == b"kill":
            command.kill(int(words[2]))

    def expire(self):
        now = time.monotonic()
        for command in self.commands.values():
            if not command.timed_out and command.deadline <= now:
                command.timed_out = True
                command.kill(SIGKILL)

    def serve(self):
        while True:
            waiting = [c.deadline for c in self.commands.values() if not c.timed_out]
            timeout = None if not waiting else max(0, (min(waiting) - time.monotonic()) * 1000 + 1)
            for fd, _ in self.poll.poll(timeout):
                handler = self.handlers.get(fd)
                if handler is not None:
                    handler()
            self.expire()


def open_port():
    """The driver makes the port a moment after its module is loaded."""
    for _ in range(500):
        for device in os.listdir(PORTS) if os.path.isdir(PORTS) else ():
            with open(f"{PORTS}/{device}/name") as name:
                if name.read().strip() == PORT_NAME:
                    return os.open("/dev/" + device, os.O_RDWR)
        time.sleep(0.01)
    sys.exit(f"hostd-vm: no virtio-serial port named {PORT_NAME}")


def main():
    agent = Agent(open_port())
    agent.send(b"ready")
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    os.chdir("/root")
    agent.serve()


main()
