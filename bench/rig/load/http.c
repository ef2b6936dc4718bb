/* HTTP/1.1 requests, one at a time on each of some connections, or each on a connection of its own. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { MAX_RESPONSE = 4096 };
static const uint64_t RETRY = 100 * MILLISECOND;
static const uint64_t TICK = 50 * MILLISECOND;

struct connection {
  /* -1 between a failure and the next attempt. */
  int socket;
  int is_connected;
  int is_failing;
  /* The whole response is there; with --close its end is not. */
  int is_complete;
  size_t length;
  /* When the request began, with --close the connection. */
  uint64_t began;
  uint64_t retry_at;
  char response[MAX_RESPONSE + 1];
};

static struct sockaddr_in to;
static int epoll;
static int close_each;
static char request[256];
static size_t request_length;
static struct health health;
static uint64_t measured_from, measured_until;

static void fail_connection(struct connection *connection, const char *why) {
  uint64_t now = nanoseconds();
  if (connection->socket >= 0) close(connection->socket);
  connection->socket = -1;
  connection->retry_at = now + RETRY;
  failed(&health, &connection->is_failing, now, why);
}

static void open_connection(struct connection *connection) {
  connection->is_connected = 0;
  connection->is_complete = 0;
  connection->length = 0;
  connection->began = nanoseconds();
  connection->socket = begin_connection(&to);
  if (connection->socket < 0) {
    fail_connection(connection, strerror(errno));
    return;
  }
  watch(epoll, connection->socket, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, connection);
}

/* Whether it went out. */
static int send_request(struct connection *connection) {
  if (!close_each) connection->began = nanoseconds();
  connection->is_complete = 0;
  connection->length = 0;
  ssize_t length = send(connection->socket, request, request_length, 0);
  if (length == (ssize_t)request_length) return 1;
  fail_connection(connection, length < 0 ? strerror(errno) : "the request was not taken whole");
  return 0;
}

/* What is wrong with the response so far, or NULL; sets whether it is complete. */
static const char *examine(struct connection *connection) {
  static const char expected[] = "HTTP/1.1 200 ";
  char *response = connection->response;
  response[connection->length] = '\0';
  size_t known = connection->length < sizeof expected - 1 ? connection->length : sizeof expected - 1;
  if (memcmp(response, expected, known) != 0) return "the response is not HTTP/1.1 200";
  char *head_end = strstr(response, "\r\n\r\n");
  if (head_end == NULL) return connection->length < MAX_RESPONSE ? NULL : "the head of the response is too long";
  const char *header = strcasestr(response, "\r\nContent-Length:");
  if (header == NULL || header > head_end) return "the response has no Content-Length";
  size_t head = head_end + 4 - response;
  unsigned long body = strtoul(header + sizeof "\r\nContent-Length:" - 1, NULL, 10);
  if (body > MAX_RESPONSE - head) return "the response is too long";
  if (connection->length > head + body) return "the response is longer than its Content-Length";
  connection->is_complete = connection->length == head + body;
  return NULL;
}

/* One request is done; begins the next. */
static void finish(struct connection *connection) {
  uint64_t now = nanoseconds();
  succeeded(&health, &connection->is_failing, now);
  if (now >= measured_from && now < measured_until) record(now - connection->began);
  if (close_each) {
    /* The server has closed first, so that its side keeps the port in TIME-WAIT and ports do not run out here. */
    close(connection->socket);
    open_connection(connection);
  } else {
    send_request(connection);
  }
}

/* Edge-triggered: reads until there is no more. */
static void on_event(struct connection *connection, uint32_t events) {
  if (connection->socket < 0) return;
  if (!connection->is_connected) {
    if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) return;
    int error = socket_error(connection->socket);
    if (error != 0) {
      fail_connection(connection, strerror(error));
      return;
    }
    connection->is_connected = 1;
    if (!send_request(connection)) return;
  }
  for (;;) {
    size_t room = MAX_RESPONSE - connection->length;
    if (room == 0) {
      fail_connection(connection, "the response is longer than its Content-Length");
      return;
    }
    ssize_t length = recv(connection->socket, connection->response + connection->length, room, 0);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) fail_connection(connection, strerror(errno));
      return;
    }
    if (length == 0) {
      if (close_each && connection->is_complete) finish(connection);
      else fail_connection(connection, "the connection was ended by the other side");
      return;
    }
    connection->length += length;
    const char *wrong = examine(connection);
    if (wrong != NULL) {
      fail_connection(connection, wrong);
      return;
    }
    if (connection->is_complete && !close_each) {
      finish(connection);
      return;
    }
  }
}

static void prepare(const struct options *options) {
  to = service_address(&options->to, TCP_HTTP);
  if (options->port != 0) to.sin_port = htons(options->port);
  close_each = options->close;
  const char *service = address_text(&to);
  int is_proxied = options->proxy.sin_port != 0;
  request_length = snprintf(request, sizeof request, "GET %s%s/ HTTP/1.1\r\nHost: %s\r\n%s\r\n",
                            is_proxied ? "http://" : "", is_proxied ? service : "", service,
                            close_each ? "Connection: close\r\n" : "");
  /* A proxy is told the whole URL. */
  if (is_proxied) to = options->proxy;
}

void http(const struct options *options) {
  set_deadline(options->warmup + options->seconds);
  allow_descriptors(options->connections);
  prepare(options);
  epoll = make_epoll();
  long count = options->connections;
  struct connection *connections = calloc(count, sizeof *connections);
  if (connections == NULL) fail_errno("calloc");
  uint64_t now = nanoseconds();
  measured_from = now + to_nanoseconds(options->warmup);
  measured_until = measured_from + to_nanoseconds(options->seconds);
  health = (struct health){.parts = count, .last_success = now};
  wait_for("a response after the end of the time");
  for (long at = 0; at < count; at++) open_connection(&connections[at]);

  /* The figures count if requests still succeed after the time. */
  for (uint64_t next_tick = now + TICK; health.last_success < measured_until;) {
    now = nanoseconds();
    if (now >= next_tick) {
      check_health(&health, now);
      for (long at = 0; at < count; at++)
        if (connections[at].socket < 0 && now >= connections[at].retry_at) open_connection(&connections[at]);
      next_tick = now + TICK;
    }
    struct epoll_event events[MAX_EVENTS];
    int ready = epoll_wait(epoll, events, MAX_EVENTS, milliseconds_until(next_tick, now));
    if (ready < 0 && errno != EINTR) fail_errno("epoll_wait");
    for (int at = 0; at < ready; at++) on_event(events[at].data.ptr, events[at].events);
  }
  free(connections);
  if (recorded() == 0) fail("no request succeeded in the measured time");
  printf("{\"requestsPerSecond\":%.1f,\"p50\":%.2f,\"p99\":%.2f,\"errors\":%ju}\n", recorded() / options->seconds,
         quantile_us(0.5), quantile_us(0.99), (uintmax_t)health.errors);
}
