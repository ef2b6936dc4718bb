/* Bytes in bulk over some connections at once: up to the discard service, down from the source. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct flow {
  int socket;
  int is_open;
  /* Sent or received by this end. */
  uint64_t bytes;
  /* What `bytes` was when the measured time began, and how many came in it. */
  uint64_t before, measured;
};

static char bytes[CHUNK];
static struct flow *flows;
static long flow_count;
static int epoll;
static void (*move)(struct flow *flow);
/* Of all flows. */
static uint64_t moved_bytes;

static void count_bytes(struct flow *flow, ssize_t length) {
  if (length > 0) {
    flow->bytes += length;
    moved_bytes += length;
    return;
  }
  if (length == 0) fail("flow %td was ended by the other side", flow - flows + 1);
  if (errno != EAGAIN && errno != EINTR) fail_errno("flow %td", flow - flows + 1);
}

static void move_up(struct flow *flow) {
  count_bytes(flow, send(flow->socket, bytes, sizeof bytes, 0));
}

/* The kernel drops the bytes without copying them (MSG_TRUNC, tcp(7)), as it does in the discard service. */
static void move_down(struct flow *flow) {
  count_bytes(flow, recv(flow->socket, bytes, sizeof bytes, MSG_TRUNC));
}

/* Moves bytes where there are any. An inquiry is watched with its address as the data: returns whether it is due. */
static int move_once(uint64_t until, const struct inquiry *inquiry) {
  struct epoll_event events[MAX_EVENTS];
  int is_inquiry_due = 0;
  int count = epoll_wait(epoll, events, MAX_EVENTS, milliseconds_until(until, nanoseconds()));
  if (count < 0 && errno != EINTR) fail_errno("epoll_wait");
  for (int at = 0; at < count; at++) {
    if (events[at].data.ptr == inquiry) is_inquiry_due = 1;
    else move(events[at].data.ptr);
  }
  return is_inquiry_due;
}

static void move_until(uint64_t until) {
  while (nanoseconds() < until) move_once(until, NULL);
}

/* Goes on moving bytes while the statistics are on their way. */
static struct statistics inquire_moving(const struct options *options) {
  struct statistics statistics;
  struct inquiry inquiry;
  begin_inquiry(&inquiry, &options->to);
  watch(epoll, inquiry.socket, EPOLLIN, &inquiry);
  for (;;)
    if (move_once(nanoseconds() + SECOND, &inquiry) && continue_inquiry(&inquiry, &statistics)) return statistics;
}

static void open_flows(const struct options *options, int service, uint32_t events) {
  struct sockaddr_in to = service_address(&options->to, service);
  flow_count = options->flows;
  allow_descriptors(flow_count);
  flows = calloc(flow_count, sizeof *flows);
  if (flows == NULL) fail_errno("calloc");
  epoll = make_epoll();
  wait_for_all("connections", 0, flow_count);
  for (long begun = 0, open = 0; open < flow_count;) {
    for (; begun < flow_count && begun - open < MAX_HANDSHAKES; begun++) {
      struct flow *flow = flows + begun;
      flow->socket = begin_connection(&to);
      if (flow->socket < 0) fail_errno("%s", address_text(&to));
      /* What is still on its way at the end shall not run into the next measurement. */
      reset_on_close(flow->socket);
      watch(epoll, flow->socket, EPOLLOUT, flow);
    }
    struct epoll_event ready[MAX_EVENTS];
    int count = epoll_wait(epoll, ready, MAX_EVENTS, -1);
    if (count < 0 && errno != EINTR) fail_errno("epoll_wait");
    for (int at = 0; at < count; at++) {
      struct flow *flow = ready[at].data.ptr;
      int error = socket_error(flow->socket);
      if (error != 0) fail_error(error, "flow %td to %s", flow - flows + 1, address_text(&to));
      /* No flow starts before all are there. */
      struct epoll_event none = {.events = 0, .data.ptr = flow};
      if (epoll_ctl(epoll, EPOLL_CTL_MOD, flow->socket, &none) < 0) fail_errno("epoll_ctl");
      if (flow->is_open) fail("flow %td was ended by the other side", flow - flows + 1);
      flow->is_open = 1;
      open++;
      one_done();
    }
  }
  for (struct flow *flow = flows; flow < flows + flow_count; flow++) {
    struct epoll_event event = {.events = events, .data.ptr = flow};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, flow->socket, &event) < 0) fail_errno("epoll_ctl");
  }
}

static void begin_measure(void) {
  for (struct flow *flow = flows; flow < flows + flow_count; flow++) flow->before = flow->bytes;
}

/* Returns the bytes of all flows. */
static uint64_t end_measure(void) {
  uint64_t sum = 0;
  for (struct flow *flow = flows; flow < flows + flow_count; flow++) sum += flow->measured = flow->bytes - flow->before;
  return sum;
}

static void report(uint64_t total, uint64_t duration) {
  uint64_t slowest = UINT64_MAX, fastest = 0;
  for (struct flow *flow = flows; flow < flows + flow_count; flow++) {
    if (flow->measured < slowest) slowest = flow->measured;
    if (flow->measured > fastest) fastest = flow->measured;
    close(flow->socket);
  }
  if (total == 0) fail("no byte arrived in the measured time");
  double seconds = duration / 1e9;
  printf("{\"bytes\":%ju,\"seconds\":%.6f,\"gbitPerSecond\":%.4f,\"flows\":%ld,\"slowest\":%ju,\"fastest\":%ju}\n",
         (uintmax_t)total, seconds, total * 8 / 1e9 / seconds, flow_count, (uintmax_t)slowest, (uintmax_t)fastest);
}

/* All bytes by the count and the clock of the receiving server; of each flow, what this kernel has taken. */
void up(const struct options *options) {
  set_deadline(options->warmup + options->seconds);
  move = move_up;
  open_flows(options, TCP_DISCARD, EPOLLOUT);
  wait_for("the end of the warmup");
  move_until(nanoseconds() + to_nanoseconds(options->warmup));
  wait_for("the statistics before");
  struct statistics before = inquire_moving(options);
  begin_measure();
  wait_for("the end of the time");
  move_until(nanoseconds() + to_nanoseconds(options->seconds));
  wait_for("the statistics after");
  struct statistics after = inquire_moving(options);
  end_measure();
  report(after.discarded - before.discarded, after.nanoseconds - before.nanoseconds);
}

void down(const struct options *options) {
  set_deadline(options->warmup + options->seconds);
  move = move_down;
  open_flows(options, TCP_SOURCE, EPOLLIN);
  wait_for("the end of the warmup");
  move_until(nanoseconds() + to_nanoseconds(options->warmup));
  uint64_t before = nanoseconds();
  begin_measure();
  wait_for("the end of the time");
  move_until(before + to_nanoseconds(options->seconds));
  uint64_t duration = nanoseconds() - before;
  uint64_t measured = end_measure();
  /* The figure counts if the source still sends after the time. */
  wait_for("bytes after the end of the time");
  uint64_t seen = moved_bytes;
  while (moved_bytes == seen) move_once(nanoseconds() + SECOND, NULL);
  report(measured, duration);
}
