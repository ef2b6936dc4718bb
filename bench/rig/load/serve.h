/* What the services share. */
#ifndef SERVE_H
#define SERVE_H

#include "load.h"

/* Whatever epoll watches: `ready` is called with the events of the descriptor. */
struct endpoint {
  int fd;
  void (*ready)(struct endpoint *endpoint, uint32_t events);
};

/* What all services have counted since the start, without the time. */
extern struct statistics totals;

void watch_endpoint(struct endpoint *endpoint, uint32_t events);
/* Changes what is watched. */
void rewatch_endpoint(struct endpoint *endpoint, uint32_t events);

/* serve-tcp.c */
void listen_tcp(struct in_addr address, long base);

/* serve-udp.c */
void listen_udp(struct in_addr address, long base, long dns_port);
/* Sends what is due; returns when to call it again, UINT64_MAX if nothing is to be sent. */
uint64_t send_due_datagrams(uint64_t now);

#endif
