/* Datagrams up to the sink and down from the source. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { TELL_SENT_SIZE = 16 };
static const uint64_t REPEAT = 200 * MILLISECOND;
static const uint64_t QUIET = 200 * MILLISECOND;
/* How often the statistics are asked for while datagrams may still arrive. */
static const uint64_t POLL = 50 * MILLISECOND;
/* More than a kernel sends in a second, so that a source without a limit lasts as long as it is wanted. */
static const double FASTEST = 2e6;
static const double MAX_SEQUENCE = UINT32_MAX - 1;

static void report(uint64_t sent, double sending, uint64_t received, double receiving) {
  if (sent == 0) fail("no datagram was sent");
  if (received == 0) fail("none of %ju datagrams arrived", (uintmax_t)sent);
  printf("{\"sent\":%ju,\"received\":%ju,\"sentPerSecond\":%.1f,\"receivedPerSecond\":%.1f,\"loss\":%.6f}\n",
         (uintmax_t)sent, (uintmax_t)received, sent / sending, received / receiving,
         received < sent ? (double)(sent - received) / sent : 0);
}

static void sleep_until(uint64_t then) {
  struct timespec time = {.tv_sec = then / SECOND, .tv_nsec = then % SECOND};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) continue;
}

/* Sends for so long; returns how many. */
static uint64_t send_all(int socket, const struct options *options, uint64_t start, uint64_t end) {
  static char zeros[MAX_DATAGRAM];
  struct iovec bytes = {.iov_base = zeros, .iov_len = options->size};
  struct mmsghdr messages[BATCH];
  memset(messages, 0, sizeof messages);
  for (int at = 0; at < BATCH; at++) messages[at].msg_hdr = (struct msghdr){.msg_iov = &bytes, .msg_iovlen = 1};
  struct pacer pacer = {.start = start, .rate = options->rate};
  for (uint64_t now; (now = nanoseconds()) < end;) {
    unsigned due = pacer_due(&pacer, now, BATCH);
    if (due == 0) {
      uint64_t next = pacer_next(&pacer, now);
      sleep_until(next < end ? next : end);
      continue;
    }
    int sent = sendmmsg(socket, messages, due, 0);
    if (sent > 0) pacer.sent += sent;
    else if (errno == ENOBUFS) sleep_until(now + MILLISECOND / 10);
    else if (errno != EINTR) fail_errno("send");
  }
  return pacer.sent;
}

void udp_up(const struct options *options) {
  set_deadline(options->seconds);
  struct sockaddr_in sink = service_address(&options->to, UDP_SINK);
  int socket = connected_datagram_socket(&sink);
  wait_for("the statistics before");
  struct statistics before = inquire(&options->to);
  wait_for("the end of the time");
  uint64_t start = nanoseconds();
  uint64_t sent = send_all(socket, options, start, start + to_nanoseconds(options->seconds));
  double sending = (nanoseconds() - start) / 1e9;

  wait_for("the statistics after");
  struct statistics after = inquire(&options->to);
  uint64_t moved = nanoseconds();
  while (nanoseconds() - moved < QUIET) {
    sleep_until(nanoseconds() + POLL);
    struct statistics later = inquire(&options->to);
    if (later.datagrams != after.datagrams) moved = nanoseconds();
    after = later;
  }
  close(socket);
  double receiving = ((double)after.last_datagram - before.nanoseconds) / 1e9;
  report(sent, sending, after.datagrams - before.datagrams, receiving);
}

/* What the client of the source knows. */
struct download {
  int socket;
  uint64_t received;
  uint64_t first, last;
  /* As the source tells at the end. */
  int is_told;
  uint64_t sent, sending;
};

static void ask(const struct download *download, const char *request) {
  if (send(download->socket, request, strlen(request), 0) < 0) fail_errno("asking the source");
}

/* Waits for datagrams, at most as long as the socket's timeout; of each the first bytes are wanted. */
static void receive(struct download *download) {
  static uint32_t words[BATCH][TELL_SENT_SIZE / 4];
  static struct iovec pieces[BATCH];
  static struct mmsghdr messages[BATCH];
  if (messages[0].msg_hdr.msg_iov == NULL) {
    for (int at = 0; at < BATCH; at++) {
      pieces[at] = (struct iovec){.iov_base = words[at], .iov_len = TELL_SENT_SIZE};
      messages[at].msg_hdr = (struct msghdr){.msg_iov = &pieces[at], .msg_iovlen = 1};
    }
  }
  int count = recvmmsg(download->socket, messages, BATCH, MSG_WAITFORONE | MSG_TRUNC, NULL);
  if (count < 0 && errno != EAGAIN && errno != EINTR) fail_errno("receiving");
  if (count <= 0) return;
  uint64_t now = nanoseconds();
  for (int at = 0; at < count; at++) {
    if (messages[at].msg_len >= MIN_DATAGRAM && words[at][0] != UINT32_MAX) {
      if (download->received++ == 0) download->first = now;
      download->last = now;
    } else if (messages[at].msg_len == TELL_SENT_SIZE) {
      download->is_told = 1;
      download->sent = ntohl(words[at][1]);
      download->sending = (uint64_t)ntohl(words[at][2]) << 32 | ntohl(words[at][3]);
    }
  }
}

void udp_down(const struct options *options) {
  set_deadline(options->seconds);
  struct sockaddr_in source = service_address(&options->to, UDP_SOURCE);
  struct download download = {.socket = connected_datagram_socket(&source)};
  enlarge_receive_buffer(download.socket);
  struct timeval timeout = {.tv_usec = 10000};
  if (setsockopt(download.socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) < 0) fail_errno("SO_RCVTIMEO");

  wait_for("the first datagram");
  char request[64];
  double count = (options->rate > 0 ? options->rate : FASTEST) * (options->seconds + 5);
  if (count > MAX_SEQUENCE) count = MAX_SEQUENCE;
  snprintf(request, sizeof request, "%.0f %ld %ld", count, options->size, options->rate);
  for (uint64_t asked = 0; download.received == 0; receive(&download)) {
    if (nanoseconds() - asked < REPEAT) continue;
    ask(&download, request);
    asked = nanoseconds();
  }

  wait_for("the end of the time");
  uint64_t end = download.first + to_nanoseconds(options->seconds);
  while (nanoseconds() < end) receive(&download);

  wait_for("how many datagrams the source has sent");
  for (uint64_t asked = 0; !download.is_told; receive(&download)) {
    if (nanoseconds() - asked < REPEAT) continue;
    ask(&download, "0 0 0");
    asked = nanoseconds();
  }
  /* Some may have been overtaken. */
  while (nanoseconds() - download.last < QUIET) receive(&download);
  close(download.socket);
  report(download.sent, download.sending / 1e9, download.received, (download.last - download.first) / 1e9);
}
