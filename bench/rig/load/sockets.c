/* Sockets and their limits. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { WANTED_DESCRIPTORS = 65536, OTHER_DESCRIPTORS = 32, RECEIVE_BUFFER = 8 * 1024 * 1024 };
/* What a socket may have that the kernel has not sent. The next write is taken when less than half of it is left. */
enum { UNSENT_MOST = 1024 * 1024 };

uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * SECOND + now.tv_nsec;
}

uint64_t to_nanoseconds(double seconds) {
  return seconds * 1e9;
}

int milliseconds_until(uint64_t then, uint64_t now) {
  return then <= now ? 0 : (int)((then - now + MILLISECOND - 1) / MILLISECOND);
}

void allow_descriptors(long count) {
  struct rlimit limit = {.rlim_cur = WANTED_DESCRIPTORS, .rlim_max = WANTED_DESCRIPTORS};
  struct rlimit current;
  if (getrlimit(RLIMIT_NOFILE, &current) < 0) fail_errno("getrlimit");
  if (current.rlim_max > limit.rlim_max) limit.rlim_max = current.rlim_max;
  /* Raising the hard limit takes a privilege; without it the hard limit is all there is. */
  if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
    limit = (struct rlimit){.rlim_cur = current.rlim_max, .rlim_max = current.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) fail_errno("setrlimit");
  }
  if (limit.rlim_cur < (rlim_t)count + OTHER_DESCRIPTORS)
    fail("%ld sockets exceed the limit of %lu open files (ulimit -n)", count, (unsigned long)limit.rlim_cur);
}

struct sockaddr_in service_address(const struct sockaddr_in *base, int offset) {
  struct sockaddr_in address = *base;
  address.sin_port = htons(ntohs(base->sin_port) + offset);
  return address;
}

const char *address_text(const struct sockaddr_in *address) {
  static char text[INET_ADDRSTRLEN + 8];
  char host[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &address->sin_addr, host, sizeof host);
  snprintf(text, sizeof text, "%s:%u", host, ntohs(address->sin_port));
  return text;
}

int begin_connection(const struct sockaddr_in *to) {
  int connection = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (connection < 0) fail_errno("socket");
  prepare_for_load(connection);
  if (connect(connection, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS) {
    int error = errno;
    close(connection);
    errno = error;
    return -1;
  }
  return connection;
}

void prepare_for_load(int socket) {
  int one = 1, unsent = UNSENT_MOST;
  if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0) fail_errno("TCP_NODELAY");
  if (setsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent) < 0) fail_errno("TCP_NOTSENT_LOWAT");
}

int connected_datagram_socket(const struct sockaddr_in *to) {
  int datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (datagrams < 0) fail_errno("socket");
  if (connect(datagrams, (const struct sockaddr *)to, sizeof *to) < 0) fail_errno("%s", address_text(to));
  return datagrams;
}

int socket_error(int socket) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) < 0) return errno;
  return error;
}

void enlarge_receive_buffer(int socket) {
  int size = RECEIVE_BUFFER;
  /* Beyond net.core.rmem_max with the privilege to do so, else up to it. */
  if (setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) == 0) return;
  if (setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) < 0) fail_errno("SO_RCVBUF");
}

void reset_on_close(int socket) {
  struct linger linger = {.l_onoff = 1, .l_linger = 0};
  if (setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0) fail_errno("SO_LINGER");
}

int make_epoll(void) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail_errno("epoll_create1");
  return epoll;
}

void watch(int epoll, int socket, uint32_t events, void *data) {
  struct epoll_event event = {.events = events, .data.ptr = data};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) < 0) fail_errno("epoll_ctl");
}
