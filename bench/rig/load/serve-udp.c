/* The services over UDP: sink, source, echo, and a name server that has one address for all names. */
#include "serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

/* DNS: RFC 1035, sections 3.2 and 4.1. */
enum { DNS_HEADER = 12, DNS_SIZE = 512, DNS_TYPE_A = 1, DNS_CLASS_IN = 1, DNS_ADDRESS = 16, DNS_TTL_LOW = 9 };
enum { JOBS = 16, REQUEST = 64, ROUNDS = 16 };

/* Datagrams of one system call, and their addresses. */
struct batch {
  struct mmsghdr messages[BATCH];
  struct iovec pieces[BATCH];
  struct sockaddr_in addresses[BATCH];
};

static struct endpoint sink, source, echo, names;

static void prepare(struct batch *batch, void *bytes, size_t size) {
  for (int at = 0; at < BATCH; at++) {
    batch->pieces[at] = (struct iovec){.iov_base = (char *)bytes + at * size, .iov_len = size};
    batch->messages[at].msg_hdr = (struct msghdr){.msg_name = &batch->addresses[at],
                                                  .msg_namelen = sizeof batch->addresses[at],
                                                  .msg_iov = &batch->pieces[at],
                                                  .msg_iovlen = 1};
  }
}

/* How many datagrams came, at least 0. */
static int receive(const struct endpoint *endpoint, struct batch *batch, int flags) {
  int count = recvmmsg(endpoint->fd, batch->messages, BATCH, MSG_DONTWAIT | flags, NULL);
  return count > 0 ? count : 0;
}

/* What the socket does not take is lost, as datagrams are. */
static void answer(const struct endpoint *endpoint, struct batch *batch, int count) {
  for (int sent = 0; sent < count;) {
    int more = sendmmsg(endpoint->fd, batch->messages + sent, count - sent, MSG_DONTWAIT);
    if (more < 0 && errno == EAGAIN) return;
    sent += more > 0 ? more : 1;
  }
}

/* Of each datagram only the length is wanted (MSG_TRUNC). */
static void on_sink(struct endpoint *endpoint, uint32_t events) {
  (void)events;
  static char byte[BATCH];
  static struct batch batch;
  if (batch.messages[0].msg_hdr.msg_iov == NULL) prepare(&batch, byte, 1);
  for (int round = 0; round < ROUNDS; round++) {
    int count = receive(endpoint, &batch, MSG_TRUNC);
    for (int at = 0; at < count; at++) totals.datagram_bytes += batch.messages[at].msg_len;
    totals.datagrams += count;
    if (count > 0) totals.last_datagram = nanoseconds();
    if (count < BATCH) return;
  }
}

static void on_udp_echo(struct endpoint *endpoint, uint32_t events) {
  (void)events;
  static char bytes[BATCH][MAX_DATAGRAM];
  static struct batch batch;
  prepare(&batch, bytes, MAX_DATAGRAM);
  int count = receive(endpoint, &batch, 0);
  for (int at = 0; at < count; at++) batch.pieces[at].iov_len = batch.messages[at].msg_len;
  answer(endpoint, &batch, count);
}

/* Datagrams that one client asked for; kept when they are sent, to answer how many there were. */
static struct job {
  struct sockaddr_in to;
  uint32_t count;
  size_t size;
  struct pacer pacer;
  uint64_t started, ended;
} jobs[JOBS];
static int source_is_full;

static int is_running(const struct job *job) {
  return job->count > 0 && job->ended == 0;
}

static struct job *find_job(const struct sockaddr_in *client) {
  for (struct job *job = jobs; job < jobs + JOBS; job++)
    if (job->to.sin_port == client->sin_port && job->to.sin_addr.s_addr == client->sin_addr.s_addr) return job;
  return NULL;
}

/* The last datagram to a client: 32 bits set instead of a sequence number, how many were sent, in how long. */
static void tell_sent(const struct job *job) {
  uint32_t words[4] = {UINT32_MAX, htonl(job->pacer.sent)};
  uint64_t duration = job->ended - job->started;
  words[2] = htonl(duration >> 32);
  words[3] = htonl(duration);
  sendto(source.fd, words, sizeof words, MSG_DONTWAIT, (const struct sockaddr *)&job->to, sizeof job->to);
}

static void start_or_end_job(const struct sockaddr_in *client, const char *request) {
  unsigned count, size, rate;
  if (sscanf(request, "%u %u %u", &count, &size, &rate) != 3) return;
  struct job *job = find_job(client);
  if (count == 0) {
    if (job == NULL) return;
    if (job->ended == 0) job->ended = nanoseconds();
    tell_sent(job);
    return;
  }
  if (size < MIN_DATAGRAM || size > MAX_DATAGRAM) return;
  /* A client repeats a request whose effect it has not seen yet. */
  if (job != NULL && is_running(job)) return;
  for (struct job *other = jobs; job == NULL && other < jobs + JOBS; other++)
    if (!is_running(other)) job = other;
  if (job == NULL) return;
  uint64_t now = nanoseconds();
  *job = (struct job){
      .to = *client, .count = count, .size = size, .pacer = {.start = now, .rate = rate}, .started = now};
}

static void on_source(struct endpoint *endpoint, uint32_t events) {
  if (events & EPOLLOUT) {
    source_is_full = 0;
    rewatch_endpoint(endpoint, EPOLLIN);
  }
  static char requests[BATCH][REQUEST];
  static struct batch batch;
  prepare(&batch, requests, REQUEST);
  int count = receive(endpoint, &batch, 0);
  for (int at = 0; at < count; at++) {
    size_t length = batch.messages[at].msg_len;
    if (length >= REQUEST) continue;
    requests[at][length] = '\0';
    start_or_end_job(&batch.addresses[at], requests[at]);
  }
}

static void send_batch(struct job *job, uint64_t now) {
  static const char zeros[MAX_DATAGRAM];
  static uint32_t sequence[BATCH];
  static struct iovec pieces[BATCH][2];
  static struct mmsghdr messages[BATCH];
  uint32_t left = job->count - job->pacer.sent;
  unsigned due = pacer_due(&job->pacer, now, left < BATCH ? left : BATCH);
  if (due == 0) return;
  for (unsigned at = 0; at < due; at++) {
    sequence[at] = htonl(job->pacer.sent + at);
    pieces[at][0] = (struct iovec){.iov_base = &sequence[at], .iov_len = sizeof sequence[at]};
    pieces[at][1] = (struct iovec){.iov_base = (char *)zeros, .iov_len = job->size - sizeof sequence[at]};
    messages[at].msg_hdr = (struct msghdr){
        .msg_name = &job->to, .msg_namelen = sizeof job->to, .msg_iov = pieces[at], .msg_iovlen = 2};
  }
  int sent = sendmmsg(source.fd, messages, due, MSG_DONTWAIT);
  if (sent > 0) job->pacer.sent += sent;
  if (sent < 0 && errno == EAGAIN) {
    source_is_full = 1;
    rewatch_endpoint(&source, EPOLLIN | EPOLLOUT);
    return;
  }
  if (sent < 0 || job->pacer.sent == job->count) job->ended = nanoseconds();
}

uint64_t send_due_datagrams(uint64_t now) {
  uint64_t next = UINT64_MAX;
  for (struct job *job = jobs; job < jobs + JOBS; job++) {
    if (source_is_full) return UINT64_MAX;
    if (!is_running(job)) continue;
    send_batch(job, now);
    if (!is_running(job)) continue;
    /* More may be due than one batch. */
    uint64_t again = pacer_due(&job->pacer, now, 1) > 0 ? now : pacer_next(&job->pacer, now);
    if (again < next) next = again;
  }
  return source_is_full ? UINT64_MAX : next;
}

/* Where the only question of a query ends, or 0 if it is not such a query. */
static size_t question_end(const uint8_t *query, size_t length) {
  if (length < DNS_HEADER) return 0;
  int is_query = (query[2] & 0xf8) == 0;
  int has_one_question = query[4] == 0 && query[5] == 1;
  if (!is_query || !has_one_question) return 0;
  size_t at = DNS_HEADER;
  while (at < length && query[at] != 0) {
    if (query[at] > 63) return 0;
    at += 1 + query[at];
  }
  at += 1 + 4;
  return at <= length ? at : 0;
}

/* Makes the answer in place of the query; returns its length, or 0 if the query gets none. Names that begin with "kept"
   may be kept for a minute, all others not at all. */
static size_t answer_query(uint8_t *message, size_t length) {
  static const uint8_t record[DNS_ADDRESS] = {0xc0, DNS_HEADER, 0, DNS_TYPE_A, 0,   DNS_CLASS_IN, 0, 0,
                                              0,    0,          0, 4,          192, 0,            2, 7};
  size_t end = question_end(message, length);
  if (end == 0 || end + DNS_ADDRESS > DNS_SIZE) return 0;
  const uint8_t *type = message + end - 4;
  int is_address = type[0] == 0 && type[1] == DNS_TYPE_A && type[2] == 0 && type[3] == DNS_CLASS_IN;
  /* A response, authoritative, with recursion desired as asked and available, without an error. */
  message[2] = 0x84 | (message[2] & 1);
  message[3] = 0x80;
  memset(message + 6, 0, 6);
  if (!is_address) return end;
  message[7] = 1;
  memcpy(message + end, record, DNS_ADDRESS);
  if (memcmp(message + DNS_HEADER + 1, "kept", 4) == 0) message[end + DNS_TTL_LOW] = 60;
  return end + DNS_ADDRESS;
}

static void on_names(struct endpoint *endpoint, uint32_t events) {
  (void)events;
  static uint8_t queries[BATCH][DNS_SIZE];
  static struct batch batch;
  prepare(&batch, queries, DNS_SIZE);
  int count = receive(endpoint, &batch, 0);
  int answers = 0;
  for (int at = 0; at < count; at++) {
    size_t length = answer_query(queries[at], batch.messages[at].msg_len);
    if (length == 0) continue;
    batch.pieces[at].iov_len = length;
    batch.messages[answers++].msg_hdr = batch.messages[at].msg_hdr;
  }
  answer(endpoint, &batch, answers);
}

static void bind_udp(struct endpoint *endpoint, struct in_addr address, long port,
                     void (*ready)(struct endpoint *, uint32_t)) {
  struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = address, .sin_port = htons(port)};
  *endpoint = (struct endpoint){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .ready = ready};
  if (endpoint->fd < 0) fail_errno("socket");
  enlarge_receive_buffer(endpoint->fd);
  if (bind(endpoint->fd, (struct sockaddr *)&local, sizeof local) < 0) fail_errno("UDP %s", address_text(&local));
  watch_endpoint(endpoint, EPOLLIN);
}

void listen_udp(struct in_addr address, long base, long dns_port) {
  bind_udp(&sink, address, base + UDP_SINK, on_sink);
  bind_udp(&source, address, base + UDP_SOURCE, on_source);
  bind_udp(&echo, address, base + UDP_ECHO, on_udp_echo);
  if (dns_port != 0) bind_udp(&names, address, dns_port, on_names);
}
