/* The services over TCP, and the loop of all services. */
#include "serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 4096, ACCEPTS = 64, ECHO_CHUNK = 64 * 1024, MAX_HEAD = 8 * 1024, BODY = 128 };

struct statistics totals;

static int epoll;
static char zeros[CHUNK];
/* What is read once and not kept. */
static char scratch[CHUNK];

struct connection {
  struct endpoint endpoint;
  /* What echo has not sent yet, or the incomplete head of an HTTP request; allocated when there is any. */
  char *kept;
  size_t start, end;
};

void watch_endpoint(struct endpoint *endpoint, uint32_t events) {
  watch(epoll, endpoint->fd, events, endpoint);
}

void rewatch_endpoint(struct endpoint *endpoint, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = endpoint};
  if (epoll_ctl(epoll, EPOLL_CTL_MOD, endpoint->fd, &event) < 0) fail_errno("epoll_ctl");
}

static void end_connection(struct connection *connection) {
  close(connection->endpoint.fd);
  free(connection->kept);
  free(connection);
  totals.connections--;
}

/* Whether a call that returned this may be tried again later; otherwise the connection has ended. */
static int is_open(ssize_t result) {
  return result > 0 || (result < 0 && (errno == EAGAIN || errno == EINTR));
}

static void on_discard(struct endpoint *endpoint, uint32_t events) {
  (void)events;
  /* The kernel drops the bytes uncopied (MSG_TRUNC, tcp(7)): this shares its cores with what it measures. */
  ssize_t length = recv(endpoint->fd, scratch, sizeof scratch, MSG_TRUNC);
  if (length > 0) totals.discarded += length;
  if (!is_open(length)) end_connection((struct connection *)endpoint);
}

static void on_source(struct endpoint *endpoint, uint32_t events) {
  (void)events;
  ssize_t length = send(endpoint->fd, zeros, sizeof zeros, 0);
  if (length > 0) totals.sent += length;
  if (!is_open(length)) end_connection((struct connection *)endpoint);
}

static void on_echo(struct endpoint *endpoint, uint32_t events) {
  (void)events;
  struct connection *connection = (struct connection *)endpoint;
  if (connection->start < connection->end) {
    ssize_t sent = send(endpoint->fd, connection->kept + connection->start, connection->end - connection->start, 0);
    if (sent > 0) connection->start += sent;
    if (!is_open(sent)) end_connection(connection);
    else if (connection->start == connection->end) rewatch_endpoint(endpoint, EPOLLIN);
    return;
  }
  ssize_t length = recv(endpoint->fd, scratch, ECHO_CHUNK, 0);
  if (!is_open(length)) {
    end_connection(connection);
    return;
  }
  if (length < 0) return;
  ssize_t sent = send(endpoint->fd, scratch, length, 0);
  if (!is_open(sent)) {
    end_connection(connection);
    return;
  }
  if (sent == length) return;
  if (sent < 0) sent = 0;
  if (connection->kept == NULL) connection->kept = malloc(ECHO_CHUNK);
  if (connection->kept == NULL) fail_errno("malloc");
  connection->start = 0;
  connection->end = length - sent;
  memcpy(connection->kept, scratch + sent, connection->end);
  rewatch_endpoint(endpoint, EPOLLOUT);
}

/* Whether the head of a request has the header "Connection: close". */
static int asks_to_close(const char *head, size_t length) {
  const char *end = head + length;
  for (const char *line = head; line < end;) {
    const char *line_end = memchr(line, '\n', end - line);
    if (line_end == NULL) return 0;
    if (line_end - line > 11 && strncasecmp(line, "connection:", 11) == 0) {
      line += 11;
      while (line < line_end && (*line == ' ' || *line == '\t')) line++;
      if (line_end - line >= 5 && strncasecmp(line, "close", 5) == 0) return 1;
    }
    line = line_end + 1;
  }
  return 0;
}

/* Answers one request; whether the connection goes on. */
static int answer_http(int fd, const char *head, size_t length) {
  static char kept_alive[512], closed[512];
  static size_t kept_alive_size, closed_size;
  if (kept_alive_size == 0) {
    static const char format[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n%s\r\n%0*d";
    kept_alive_size = snprintf(kept_alive, sizeof kept_alive, format, BODY, "", BODY, 0);
    closed_size = snprintf(closed, sizeof closed, format, BODY, "Connection: close\r\n", BODY, 0);
  }
  static const char refusal[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  if (length < 4 || memcmp(head, "GET ", 4) != 0) {
    send(fd, refusal, sizeof refusal - 1, 0);
    return 0;
  }
  if (asks_to_close(head, length)) {
    send(fd, closed, closed_size, 0);
    return 0;
  }
  return send(fd, kept_alive, kept_alive_size, 0) == (ssize_t)kept_alive_size;
}

static void on_http(struct endpoint *endpoint, uint32_t events) {
  (void)events;
  struct connection *connection = (struct connection *)endpoint;
  char *bytes = connection->kept != NULL ? connection->kept : scratch;
  ssize_t length = recv(endpoint->fd, bytes + connection->end, MAX_HEAD - connection->end, 0);
  if (!is_open(length)) {
    end_connection(connection);
    return;
  }
  if (length < 0) return;
  size_t start = 0, end = connection->end + length;
  for (;;) {
    const char *head_end = memmem(bytes + start, end - start, "\r\n\r\n", 4);
    if (head_end == NULL) break;
    size_t head_length = head_end + 4 - (bytes + start);
    if (!answer_http(endpoint->fd, bytes + start, head_length)) {
      end_connection(connection);
      return;
    }
    start += head_length;
  }
  connection->end = end - start;
  if (connection->end == 0) return;
  if (connection->end == MAX_HEAD) {
    end_connection(connection);
    return;
  }
  if (connection->kept == NULL) connection->kept = malloc(MAX_HEAD);
  if (connection->kept == NULL) fail_errno("malloc");
  memmove(connection->kept, bytes + start, connection->end);
}

static void on_hold(struct endpoint *endpoint, uint32_t events) {
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) end_connection((struct connection *)endpoint);
}

static const struct service {
  void (*ready)(struct endpoint *endpoint, uint32_t events);
  uint32_t events;
} services[TCP_SERVICES] = {
    [TCP_DISCARD] = {on_discard, EPOLLIN}, [TCP_SOURCE] = {on_source, EPOLLOUT}, [TCP_ECHO] = {on_echo, EPOLLIN},
    [TCP_HTTP] = {on_http, EPOLLIN},       [TCP_HOLD] = {on_hold, EPOLLRDHUP},
};

static struct endpoint listeners[TCP_SERVICES];

/* A new connection, or -1 if there is none left. */
static int accept_connection(const struct endpoint *listener) {
  for (;;) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) return fd;
    if (errno == EAGAIN) return -1;
    if (errno != ECONNABORTED && errno != EINTR) fail_errno("accept");
  }
}

static void on_accept(struct endpoint *listener, uint32_t events) {
  (void)events;
  const struct service *service = &services[listener - listeners];
  for (int accepted = 0; accepted < ACCEPTS; accepted++) {
    int fd = accept_connection(listener);
    if (fd < 0) return;
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) fail_errno("calloc");
    connection->endpoint = (struct endpoint){.fd = fd, .ready = service->ready};
    totals.connections++;
    watch_endpoint(&connection->endpoint, service->events);
  }
}

static void on_statistics(struct endpoint *listener, uint32_t events) {
  (void)events;
  int fd = accept_connection(listener);
  if (fd < 0) return;
  char line[512];
  totals.nanoseconds = nanoseconds();
  send(fd, line, write_statistics(line, sizeof line, &totals), 0);
  close(fd);
}

void listen_tcp(struct in_addr address, long base) {
  int one = 1;
  for (int offset = 0; offset < TCP_SERVICES; offset++) {
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = address, .sin_port = htons(base + offset)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) fail_errno("socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) fail_errno("SO_REUSEADDR");
    /* Connections inherit it. */
    prepare_for_load(fd);
    if (bind(fd, (struct sockaddr *)&local, sizeof local) < 0) fail_errno("TCP %s", address_text(&local));
    if (listen(fd, BACKLOG) < 0) fail_errno("TCP %s", address_text(&local));
    listeners[offset] = (struct endpoint){.fd = fd, .ready = offset == TCP_STATISTICS ? on_statistics : on_accept};
    watch_endpoint(&listeners[offset], EPOLLIN);
  }
}

void serve(const struct options *options) {
  allow_descriptors(0);
  epoll = make_epoll();
  listen_tcp(options->listen, options->port);
  listen_udp(options->listen, options->port, options->dns_port);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[MAX_EVENTS];
    uint64_t now = nanoseconds();
    uint64_t next = send_due_datagrams(now);
    uint64_t pause = next > now ? next - now : 0;
    struct timespec timeout = {.tv_sec = pause / SECOND, .tv_nsec = pause % SECOND};
    int count = epoll_pwait2(epoll, events, MAX_EVENTS, next == UINT64_MAX ? NULL : &timeout, NULL);
    if (count < 0 && errno != EINTR) fail_errno("epoll_pwait2");
    for (int at = 0; at < count; at++) {
      struct endpoint *endpoint = events[at].data.ptr;
      endpoint->ready(endpoint, events[at].events);
    }
  }
}
