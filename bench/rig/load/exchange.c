/* One byte there and back, one at a time on one connection. */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

static const double EXPECTED_SECONDS = 1e-3;
enum { LONGEST_WAIT = 3 };

/* A connection whose calls wait: the fewest calls for each exchange. */
static int open_connection(const struct sockaddr_in *to) {
  int connection = begin_connection(to);
  if (connection < 0) fail_errno("%s", address_text(to));
  struct pollfd wait = {.fd = connection, .events = POLLOUT};
  while (poll(&wait, 1, -1) < 0)
    if (errno != EINTR) fail_errno("poll");
  int error = socket_error(connection);
  if (error != 0) fail_error(error, "%s", address_text(to));
  if (fcntl(connection, F_SETFL, 0) < 0) fail_errno("fcntl");
  struct timeval timeout = {.tv_sec = LONGEST_WAIT};
  if (setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) < 0) fail_errno("SO_RCVTIMEO");
  return connection;
}

static void exchange(int connection) {
  char byte = 0;
  if (send(connection, &byte, 1, 0) < 0) fail_errno("send");
  ssize_t length = recv(connection, &byte, 1, 0);
  if (length == 0) fail("the connection was ended by the other side");
  if (length < 0 && errno == EAGAIN) fail("no byte has come back for %d s", LONGEST_WAIT);
  if (length < 0) fail_errno("recv");
}

void rtt(const struct options *options) {
  set_deadline((options->warmup_count + options->count) * EXPECTED_SECONDS);
  wait_for("the connection");
  struct sockaddr_in to = service_address(&options->to, TCP_ECHO);
  int connection = open_connection(&to);
  wait_for_all("the exchanges of the warmup", 0, options->warmup_count);
  for (long at = 0; at < options->warmup_count; at++) {
    exchange(connection);
    one_done();
  }
  wait_for_all("exchanges", 0, options->count);
  for (long at = 0; at < options->count; at++) {
    uint64_t before = nanoseconds();
    exchange(connection);
    record(nanoseconds() - before);
    one_done();
  }
  close(connection);
  printf("{\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"max\":%.2f,\"count\":%ju}\n", quantile_us(0.5), quantile_us(0.9),
         quantile_us(0.99), maximum_us(), (uintmax_t)recorded());
}
