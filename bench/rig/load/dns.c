/* DNS queries over UDP (RFC 1035), one at a time on each of some sockets. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

enum { HEADER = 12, MAX_NAME = 255, MAX_LABEL = 63, MAX_MESSAGE = 512 };
static const uint64_t LOST = 1 * SECOND;
static const uint64_t RETRY = 100 * MILLISECOND;
static const uint64_t TICK = 50 * MILLISECOND;

struct asker {
  int socket;
  int is_failing;
  /* Whether a query is out; otherwise the next is asked at `again`. */
  int is_waiting;
  uint16_t id;
  uint64_t asked, again;
};

static uint8_t query[HEADER + MAX_NAME + 4];
static size_t query_length;
static struct health health;
static uint64_t measured_from, measured_until, lost;
static uint64_t random_state;

/* xorshift64*: the ids of queries only have to differ. */
static uint16_t random_id(void) {
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return random_state * UINT64_C(0x2545f4914f6cdd1d) >> 48;
}

static void write_query(const char *name) {
  static const uint8_t header[HEADER] = {[2] = 1, [5] = 1};
  memcpy(query, header, HEADER);
  size_t at = HEADER;
  for (const char *label = name; *label != '\0';) {
    size_t length = strcspn(label, ".");
    if (length == 0 || length > MAX_LABEL || at + 1 + length + 1 > HEADER + MAX_NAME)
      fail("--name takes a domain name of labels of 1 to 63 characters, 253 in all, not \"%s\"", name);
    query[at++] = length;
    memcpy(query + at, label, length);
    at += length;
    label += length;
    if (*label == '.') label++;
  }
  static const uint8_t end_type_and_class[] = {0, 0, 1, 0, 1};
  memcpy(query + at, end_type_and_class, sizeof end_type_and_class);
  query_length = at + sizeof end_type_and_class;
}

static void fail_query(struct asker *asker, uint64_t now, const char *why) {
  asker->is_waiting = 0;
  asker->again = now + RETRY;
  failed(&health, &asker->is_failing, now, why);
}

static void ask(struct asker *asker, uint64_t now) {
  asker->id = random_id();
  asker->asked = now;
  asker->is_waiting = 1;
  query[0] = asker->id >> 8;
  query[1] = asker->id;
  if (send(asker->socket, query, query_length, MSG_DONTWAIT) < 0) fail_query(asker, now, strerror(errno));
}

static void on_answer(struct asker *asker) {
  uint8_t answer[MAX_MESSAGE];
  ssize_t length = recv(asker->socket, answer, sizeof answer, MSG_DONTWAIT);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
  uint64_t now = nanoseconds();
  if (length < 0) {
    fail_query(asker, now, strerror(errno));
    return;
  }
  /* The answer to a query that was given up. */
  int is_ours = length >= 2 && (answer[0] << 8 | answer[1]) == asker->id;
  if (!asker->is_waiting || !is_ours) return;
  int is_answer = length >= HEADER && (answer[2] & 0x80) != 0;
  int has_record = is_answer && (answer[6] != 0 || answer[7] != 0);
  char why[64];
  if (!is_answer || (answer[3] & 15) != 0 || !has_record) {
    snprintf(why, sizeof why, "an answer with code %d and %s record", answer[3] & 15, has_record ? "a" : "no");
    fail_query(asker, now, is_answer ? why : "what came is not an answer");
    return;
  }
  succeeded(&health, &asker->is_failing, now);
  if (now >= measured_from && now < measured_until) record(now - asker->asked);
  ask(asker, now);
}

static void on_tick(struct asker *asker, uint64_t now) {
  if (asker->is_waiting && now - asker->asked >= LOST) {
    lost++;
    ask(asker, now);
  } else if (!asker->is_waiting && now >= asker->again) {
    ask(asker, now);
  }
}

void dns(const struct options *options) {
  set_deadline(options->warmup + options->seconds);
  allow_descriptors(options->outstanding);
  write_query(options->name);
  if (getrandom(&random_state, sizeof random_state, 0) != sizeof random_state) fail_errno("getrandom");
  random_state |= 1;
  int epoll = make_epoll();
  long count = options->outstanding;
  struct asker *askers = calloc(count, sizeof *askers);
  if (askers == NULL) fail_errno("calloc");
  uint64_t now = nanoseconds();
  measured_from = now + to_nanoseconds(options->warmup);
  measured_until = measured_from + to_nanoseconds(options->seconds);
  health = (struct health){.parts = count, .last_success = now};
  wait_for("an answer after the end of the time");
  for (long at = 0; at < count; at++) {
    askers[at].socket = connected_datagram_socket(&options->to);
    watch(epoll, askers[at].socket, EPOLLIN, &askers[at]);
    ask(&askers[at], nanoseconds());
  }

  /* The figures count if queries are still answered after the time. */
  for (uint64_t next_tick = now + TICK; health.last_success < measured_until;) {
    now = nanoseconds();
    if (now >= next_tick) {
      check_health(&health, now);
      for (long at = 0; at < count; at++) on_tick(&askers[at], now);
      next_tick = now + TICK;
    }
    struct epoll_event events[MAX_EVENTS];
    int ready = epoll_wait(epoll, events, MAX_EVENTS, milliseconds_until(next_tick, now));
    if (ready < 0 && errno != EINTR) fail_errno("epoll_wait");
    for (int at = 0; at < ready; at++) on_answer(events[at].data.ptr);
  }
  free(askers);
  if (recorded() == 0) fail("no query was answered in the measured time");
  printf("{\"queriesPerSecond\":%.1f,\"p50\":%.2f,\"p99\":%.2f,\"lost\":%ju,\"errors\":%ju}\n",
         recorded() / options->seconds, quantile_us(0.5), quantile_us(0.99), (uintmax_t)lost, (uintmax_t)health.errors);
}
