/*
 * A network card whose cable is a socket: copies Ethernet frames between a TAP device, which it makes in the network
 * namespace that it runs in, and a Unix stream socket on which each frame follows its length in 32 bits, most
 * significant byte first (QEMU's stream netdev). Neither changes nor drops a frame.
 *
 *     bridge DEVICE SOCKET
 *
 * Writes "ready" when both ends are open; ends when either end is gone. It stands for the virtual machine monitor in
 * measurements: one thread, one read or write per frame on the device, and few large ones on the socket.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  /* An Ethernet header with one VLAN tag, and the largest IP packet. */
  MAX_FRAME = 18 + 65535,
  LENGTH_SIZE = 4,
  /* What a Unix socket takes in one write by default is about 208 KiB. */
  BATCH = 192 * 1024,
  READ = 256 * 1024,
};

static int device, cable;
/* Frames read from the device that the socket has not taken yet. */
static uint8_t out[BATCH + LENGTH_SIZE + MAX_FRAME];
static size_t out_start, out_end;
/* What the socket brought and has not made a whole frame yet, from the start. */
static uint8_t in[LENGTH_SIZE + MAX_FRAME + READ];
static size_t in_end;

static void fail(const char *what) {
  fprintf(stderr, "bridge: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void open_device(const char *name) {
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  if (strlen(name) >= IFNAMSIZ) {
    errno = ENAMETOOLONG;
    fail(name);
  }
  strcpy(request.ifr_name, name);
  device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) fail("/dev/net/tun");
  if (ioctl(device, TUNSETIFF, &request) < 0) fail(name);
}

static void open_cable(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    fail(path);
  }
  strcpy(address.sun_path, path);
  cable = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (cable < 0) fail("socket");
  if (connect(cable, (struct sockaddr *)&address, sizeof address) < 0) fail(path);
  if (fcntl(cable, F_SETFL, O_NONBLOCK) < 0) fail("fcntl");
}

/* Reads frames until there are none or the batch is full. */
static void read_device(void) {
  while (out_end < BATCH) {
    ssize_t length = read(device, out + out_end + LENGTH_SIZE, MAX_FRAME);
    if (length < 0) {
      if (errno == EAGAIN) return;
      if (errno == EINTR) continue;
      fail("reading the device");
    }
    out[out_end] = length >> 24;
    out[out_end + 1] = length >> 16;
    out[out_end + 2] = length >> 8;
    out[out_end + 3] = length;
    out_end += LENGTH_SIZE + length;
  }
}

static void write_cable(void) {
  while (out_start < out_end) {
    ssize_t length = send(cable, out + out_start, out_end - out_start, MSG_NOSIGNAL);
    if (length < 0) {
      if (errno == EAGAIN) return;
      if (errno == EINTR) continue;
      fail("writing the socket");
    }
    out_start += length;
  }
  out_start = out_end = 0;
}

/* A frame goes in whole or not at all; what the kernel cannot take (an interface that is down) is lost, as on a wire. */
static void write_device(const uint8_t *frame, size_t length) {
  while (write(device, frame, length) < 0) {
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      struct pollfd wait = {.fd = device, .events = POLLOUT};
      poll(&wait, 1, -1);
      continue;
    }
    return;
  }
}

static void read_cable(void) {
  ssize_t length = recv(cable, in + in_end, READ, 0);
  if (length == 0) exit(0);
  if (length < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    fail("reading the socket");
  }
  in_end += length;
  size_t at = 0;
  while (in_end - at >= LENGTH_SIZE) {
    const uint8_t *prefix = in + at;
    size_t frame = (size_t)prefix[0] << 24 | prefix[1] << 16 | prefix[2] << 8 | prefix[3];
    if (frame > MAX_FRAME) {
      fprintf(stderr, "bridge: the socket announced a frame of %zu bytes\n", frame);
      exit(1);
    }
    if (in_end - at < LENGTH_SIZE + frame) break;
    write_device(prefix + LENGTH_SIZE, frame);
    at += LENGTH_SIZE + frame;
  }
  memmove(in, in + at, in_end - at);
  in_end -= at;
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: bridge DEVICE SOCKET\n");
    return 2;
  }
  open_device(argv[1]);
  open_cable(argv[2]);
  puts("ready");
  fflush(stdout);
  for (;;) {
    /* While the socket is full the device waits too, and its queue pushes back on the guest. */
    int isFull = out_start < out_end;
    struct pollfd ends[2] = {
        {.fd = device, .events = isFull ? 0 : POLLIN},
        {.fd = cable, .events = POLLIN | (isFull ? POLLOUT : 0)},
    };
    if (poll(ends, 2, -1) < 0 && errno != EINTR) fail("poll");
    if (ends[0].revents & (POLLERR | POLLHUP | POLLNVAL)) return 0;
    if (!isFull && (ends[0].revents & POLLIN)) read_device();
    if (out_start < out_end) write_cable();
    if (ends[1].revents & (POLLIN | POLLHUP | POLLERR)) read_cable();
  }
}
