/* What a server has counted: one line of JSON on each connection to its statistics service. */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* For printf and scanf: PRIu64 and SCNu64 are the same on Linux. */
#define FORMAT                                                                                                     \
  "{\"nanoseconds\":%" PRIu64 ",\"discarded\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"datagrams\":%" PRIu64             \
  ",\"datagramBytes\":%" PRIu64 ",\"lastDatagramNanoseconds\":%" PRIu64 ",\"connections\":%" PRIu64 "}\n"
enum { FIELDS = 7 };

size_t write_statistics(char *text, size_t size, const struct statistics *s) {
  return snprintf(text, size, FORMAT, s->nanoseconds, s->discarded, s->sent, s->datagrams, s->datagram_bytes,
                  s->last_datagram, s->connections);
}

void begin_inquiry(struct inquiry *inquiry, const struct sockaddr_in *base) {
  struct sockaddr_in to = service_address(base, TCP_STATISTICS);
  inquiry->length = 0;
  inquiry->socket = begin_connection(&to);
  if (inquiry->socket < 0) fail_errno("statistics of %s", address_text(&to));
}

int continue_inquiry(struct inquiry *inquiry, struct statistics *s) {
  size_t room = sizeof inquiry->text - 1 - inquiry->length;
  ssize_t length = recv(inquiry->socket, inquiry->text + inquiry->length, room, 0);
  if (length < 0) {
    if (errno == EAGAIN || errno == EINTR) return 0;
    fail_errno("statistics");
  }
  inquiry->length += length;
  if (length > 0 && inquiry->length < sizeof inquiry->text - 1) return 0;
  close(inquiry->socket);
  inquiry->text[inquiry->length] = '\0';
  int fields = sscanf(inquiry->text, FORMAT, &s->nanoseconds, &s->discarded, &s->sent, &s->datagrams,
                      &s->datagram_bytes, &s->last_datagram, &s->connections);
  if (fields != FIELDS) fail("statistics: %zu bytes that are not the expected line", inquiry->length);
  return 1;
}

struct statistics inquire(const struct sockaddr_in *base) {
  struct statistics statistics;
  struct inquiry inquiry;
  begin_inquiry(&inquiry, base);
  do {
    struct pollfd wait = {.fd = inquiry.socket, .events = POLLIN};
    if (poll(&wait, 1, -1) < 0 && errno != EINTR) fail_errno("poll");
  } while (!continue_inquiry(&inquiry, &statistics));
  return statistics;
}
