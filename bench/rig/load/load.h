/*
 * A load generator: the services of a host and the clients that load them, one thread with epoll. See usage in main.c.
 *
 *   main.c        the commands and their options      serve-tcp.c   the services over TCP
 *   deadline.c    errors, and the end of a client     serve-udp.c   the services over UDP
 *                 that waits in vain                  bulk.c        up, down
 *   sockets.c     sockets and their limits            exchange.c    rtt
 *   statistics.c  what a server has counted           http.c        http
 *   histogram.c   quantiles of durations              datagrams.c   udp-up, udp-down
 *   pacer.c       so many datagrams a second          dns.c         dns
 *   health.c      whether a client still succeeds     idle.c        idle
 */
#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/socket.h>

/* The services by their offset to the base port. */
enum { TCP_DISCARD, TCP_SOURCE, TCP_ECHO, TCP_HTTP, TCP_STATISTICS, TCP_HOLD, TCP_SERVICES };
enum { UDP_SINK, UDP_SOURCE, UDP_ECHO, UDP_SERVICES };

enum {
  CHUNK = 256 * 1024,
  /* Datagrams of one system call. */
  BATCH = 64,
  MAX_EVENTS = 256,
  MAX_FLOWS = 20000,
  MIN_DATAGRAM = 4,
  MAX_DATAGRAM = 65507,
};

#define SECOND UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)

/* What the command line says; what was not given is zero. */
/* Handshakes under way at once: gVisor's listener, which is gvproxy's, drops SYNs beyond ten. */
enum { MAX_HANDSHAKES = 8 };

struct options {
  struct sockaddr_in to, proxy;
  struct in_addr listen;
  long port, dns_port;
  long flows, connections, outstanding, count, warmup_count, size, rate;
  double seconds, warmup, hold;
  int close;
  const char *name;
};

/* Each runs a command to its end, and ends the process with exit code 1 where it fails. */
void serve(const struct options *options);
void up(const struct options *options);
void down(const struct options *options);
void rtt(const struct options *options);
void http(const struct options *options);
void udp_up(const struct options *options);
void udp_down(const struct options *options);
void dns(const struct options *options);
void idle(const struct options *options);

/* deadline.c */
extern const char *command_name;
noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* As fail, followed by what errno or the given error number means. */
noreturn void fail_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));
noreturn void fail_error(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ends the process after twice the seconds it should take, and not before 5 s beyond them, naming what is missing. */
void set_deadline(double expected);
/* What the process waits for from now on: a static text. */
void wait_for(const char *what);
/* The same, with how many there are already of how many. */
void wait_for_all(const char *what, long done, long of);
/* One more of them is there. */
void one_done(void);

/* sockets.c */
uint64_t nanoseconds(void);
/* Allows for so many descriptors beside the few that every process has, or fails. */
void allow_descriptors(long count);
/* The address of the service at an offset to the base port. */
struct sockaddr_in service_address(const struct sockaddr_in *base, int offset);
/* "192.0.2.1:80", in a static buffer. */
const char *address_text(const struct sockaddr_in *address);
/* Has a TCP socket, or those that a listener will accept, send small writes at once and queue no more than keeps it busy. With more,
   1,000 of them exceed what the kernel has for TCP (net.ipv4.tcp_mem), and it closes the windows of all sockets: those of the
   guest too, which has a kernel of its own everywhere but here. */
void prepare_for_load(int socket);
/* Begins a connection without waiting for it; -1 with errno if that fails at once. */
int begin_connection(const struct sockaddr_in *to);
/* A UDP socket that sends to and receives from this address only. */
int connected_datagram_socket(const struct sockaddr_in *to);
/* The pending error of a socket, 0 if there is none. */
int socket_error(int socket);
/* Makes the receive buffer so large that bursts do not overflow it. */
void enlarge_receive_buffer(int socket);
/* Closing discards what was not sent yet, by a reset. */
void reset_on_close(int socket);
int make_epoll(void);
void watch(int epoll, int socket, uint32_t events, void *data);
/* Milliseconds from now until then for epoll_wait, rounded up, at least 0. */
int milliseconds_until(uint64_t then, uint64_t now);
uint64_t to_nanoseconds(double seconds);

/* statistics.c */
struct statistics {
  uint64_t nanoseconds, discarded, sent, datagrams, datagram_bytes, last_datagram, connections;
};
/* An inquiry for statistics under way. */
struct inquiry {
  int socket;
  size_t length;
  char text[512];
};
size_t write_statistics(char *text, size_t size, const struct statistics *statistics);
void begin_inquiry(struct inquiry *inquiry, const struct sockaddr_in *base);
/* Takes what has come; 1 once the answer is whole and the connection closed, 0 before. */
int continue_inquiry(struct inquiry *inquiry, struct statistics *statistics);
/* Inquires and waits for the answer. */
struct statistics inquire(const struct sockaddr_in *base);

/* histogram.c: durations in nanoseconds to a thousandth of their value. */
void record(uint64_t duration);
uint64_t recorded(void);
/* In microseconds. */
double quantile_us(double quantile);
double maximum_us(void);

/* pacer.c */
struct pacer {
  uint64_t start;
  uint64_t sent;
  /* Per second; 0 is without a limit. */
  uint64_t rate;
};
/* How many may be sent now, at most `most`. */
unsigned pacer_due(struct pacer *pacer, uint64_t now, unsigned most);
/* When to ask again if none may be sent now. */
uint64_t pacer_next(const struct pacer *pacer, uint64_t now);

/* health.c: ends a client all of whose parts fail for 1 s, or that has had no success for 3 s. */
struct health {
  long parts, failing;
  uint64_t last_success;
  uint64_t all_failing_since;
  uint64_t errors;
  char last_error[160];
};
/* Each part keeps whether its last attempt failed. */
void succeeded(struct health *health, int *is_failing, uint64_t now);
void failed(struct health *health, int *is_failing, uint64_t now, const char *why);
void check_health(const struct health *health, uint64_t now);

#endif
