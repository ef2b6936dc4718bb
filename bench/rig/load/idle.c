/* Many connections that carry nothing. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static const double EXPECTED_SECONDS = 2e-3;
/* After this a handshake has failed: the kernel has sent the SYN four times. */
static const uint64_t HANDSHAKE = 10 * SECOND;
static const uint64_t TICK = 500 * MILLISECOND;

enum state { PENDING, CONNECTING, OPEN, FAILED };

struct flow {
  int socket;
  enum state state;
  uint64_t began;
};

static struct flow *flows;
static long flow_count, begun, connecting, open_count, failed_count;
static int epoll;
static char last_error[128];

static void end_handshake(struct flow *flow, int error) {
  one_done();
  connecting--;
  flow->state = error == 0 ? OPEN : FAILED;
  if (error == 0) {
    /* From now on only its end is of interest. */
    struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = flow};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, flow->socket, &event) < 0) fail_errno("epoll_ctl");
    open_count++;
    return;
  }
  if (flow->socket >= 0) close(flow->socket);
  snprintf(last_error, sizeof last_error, "%s", strerror(error));
  failed_count++;
}

static void begin_handshakes(const struct sockaddr_in *to) {
  while (connecting < MAX_HANDSHAKES && begun < flow_count) {
    struct flow *flow = &flows[begun++];
    connecting++;
    flow->state = CONNECTING;
    flow->began = nanoseconds();
    flow->socket = begin_connection(to);
    if (flow->socket < 0) end_handshake(flow, errno);
    else watch(epoll, flow->socket, EPOLLOUT, flow);
  }
}

static void give_up_handshakes(uint64_t now) {
  for (struct flow *flow = flows; flow < flows + begun; flow++)
    if (flow->state == CONNECTING && now - flow->began > HANDSHAKE) end_handshake(flow, ETIMEDOUT);
}

/* Waits for events; returns whether stdin has ended, and counts connections that have. */
static int wait_for_events(uint64_t until, long *ended) {
  struct epoll_event events[MAX_EVENTS];
  int is_over = 0;
  int count = epoll_wait(epoll, events, MAX_EVENTS, milliseconds_until(until, nanoseconds()));
  if (count < 0 && errno != EINTR) fail_errno("epoll_wait");
  for (int at = 0; at < count; at++) {
    struct flow *flow = events[at].data.ptr;
    if (flow == NULL) {
      char ignored[512];
      is_over = read(STDIN_FILENO, ignored, sizeof ignored) <= 0;
    } else if (flow->state == CONNECTING) {
      end_handshake(flow, socket_error(flow->socket));
    } else {
      close(flow->socket);
      ++*ended;
    }
  }
  return is_over;
}

static void open_all(const struct options *options) {
  struct sockaddr_in to = service_address(&options->to, TCP_HOLD);
  long ended = 0;
  uint64_t next_tick = 0;
  wait_for_all("handshakes", 0, flow_count);
  begin_handshakes(&to);
  while (open_count + failed_count < flow_count) {
    wait_for_events(nanoseconds() + TICK, &ended);
    if (ended > 0) fail("a connection was ended by the other side when %ld were open", open_count);
    uint64_t now = nanoseconds();
    if (now >= next_tick) {
      give_up_handshakes(now);
      next_tick = now + TICK;
    }
    begin_handshakes(&to);
  }
  if (open_count == 0) fail("none of %ld connections to %s opened: %s", flow_count, address_text(&to), last_error);
}

static void hold(const struct options *options) {
  uint64_t until = nanoseconds() + to_nanoseconds(options->hold);
  /* A file or /dev/null cannot be watched, and has always ended. */
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0) return;
  while (nanoseconds() < until) {
    long ended = 0;
    int is_over = wait_for_events(until, &ended);
    if (ended > 0) fail("%ld or more of %ld connections were ended by the other side", ended, open_count);
    if (is_over) return;
  }
}

void idle(const struct options *options) {
  flow_count = options->flows;
  set_deadline(flow_count * EXPECTED_SECONDS);
  allow_descriptors(flow_count);
  flows = calloc(flow_count, sizeof *flows);
  if (flows == NULL) fail_errno("calloc");
  epoll = make_epoll();
  open_all(options);
  printf("{\"open\":%ld,\"failed\":%ld}\n", open_count, failed_count);
  if (fflush(stdout) != 0) fail_errno("stdout");
  set_deadline(options->hold);
  wait_for("the end of the time");
  hold(options);
}
