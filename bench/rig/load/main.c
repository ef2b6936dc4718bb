/* The commands and their options. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage:\n"
    "  load serve    --listen ADDRESS --port BASE [--dns-port PORT]\n"
    "  load up       --to ADDRESS:BASE --flows N --seconds S [--warmup S]\n"
    "  load down     --to ADDRESS:BASE --flows N --seconds S [--warmup S]\n"
    "  load rtt      --to ADDRESS:BASE --count N [--warmup N]\n"
    "  load http     --to ADDRESS:BASE --connections N --seconds S [--warmup S] [--close] [--port PORT] [--proxy ADDRESS:PORT]\n"
    "  load udp-up   --to ADDRESS:BASE --size BYTES --seconds S [--rate N]\n"
    "  load udp-down --to ADDRESS:BASE --size BYTES --seconds S [--rate N]\n"
    "  load dns      --to ADDRESS:PORT --name NAME --outstanding N --seconds S [--warmup S]\n"
    "  load idle     --to ADDRESS:BASE --flows N --hold S\n"
    "\n"
    "serve prints \"ready\" once it listens on these ports, and runs until it is ended:\n"
    "  TCP BASE discard, +1 source, +2 echo, +3 HTTP/1.1, +4 statistics, +5 hold (takes connections, reads nothing)\n"
    "  UDP BASE sink, +1 source (\"COUNT SIZE RATE\" starts it, \"0 0 0\" ends it), +2 echo\n"
    "  DNS over UDP on --dns-port: 192.0.2.7 is the address of every name\n"
    "The others are clients. Each prints one line of JSON and exits with 0, or tells on stderr what failed and exits\n"
    "with 1; at the latest after twice the time it should take, or 5 s more than that time if that is later.\n"
    "  --rate 0 (the default) sends as fast as possible; S is in seconds and may have decimals.\n"
    "  --close makes every HTTP request on a connection of its own; --port is the exact port in place of BASE+3.\n"
    "  --proxy sends the requests to an HTTP proxy.\n"
    "  idle keeps its connections until stdin ends or the time is over, and exits with 1 if any of them ends before.\n";

enum kind { INTEGER, REAL, FLAG, ADDRESS, ADDRESS_AND_PORT, TEXT };

struct option {
  const char *name;
  enum kind kind;
  size_t offset;
  int is_required;
  double min, max;
};

#define FIELD(field) offsetof(struct options, field)
enum { REQUIRED = 1, OPTIONAL = 0, MAX_OPTIONS = 8, MAX_BASE = 65535 - TCP_SERVICES + 1 };

#define TO_BASE {"--to", ADDRESS_AND_PORT, FIELD(to), REQUIRED, 1, MAX_BASE}
#define SECONDS {"--seconds", REAL, FIELD(seconds), REQUIRED, 0.1, 3600}
#define WARMUP {"--warmup", REAL, FIELD(warmup), OPTIONAL, 0, 3600}
#define FLOWS {"--flows", INTEGER, FIELD(flows), REQUIRED, 1, MAX_FLOWS}
#define DATAGRAM_SIZE {"--size", INTEGER, FIELD(size), REQUIRED, MIN_DATAGRAM, MAX_DATAGRAM}
#define DATAGRAM_RATE {"--rate", INTEGER, FIELD(rate), OPTIONAL, 0, 10e6}

static const struct command {
  const char *name;
  void (*run)(const struct options *options);
  struct option options[MAX_OPTIONS];
} commands[] = {
    {"serve",
     serve,
     {{"--listen", ADDRESS, FIELD(listen), REQUIRED, 0, 0},
      {"--port", INTEGER, FIELD(port), REQUIRED, 1, MAX_BASE},
      {"--dns-port", INTEGER, FIELD(dns_port), OPTIONAL, 1, 65535}}},
    {"up", up, {TO_BASE, FLOWS, SECONDS, WARMUP}},
    {"down", down, {TO_BASE, FLOWS, SECONDS, WARMUP}},
    {"rtt",
     rtt,
     {TO_BASE,
      {"--count", INTEGER, FIELD(count), REQUIRED, 1, 10e6},
      {"--warmup", INTEGER, FIELD(warmup_count), OPTIONAL, 0, 10e6}}},
    {"http",
     http,
     {TO_BASE,
      SECONDS,
      WARMUP,
      {"--connections", INTEGER, FIELD(connections), REQUIRED, 1, MAX_FLOWS},
      {"--close", FLAG, FIELD(close), OPTIONAL, 0, 0},
      {"--port", INTEGER, FIELD(port), OPTIONAL, 1, 65535},
      {"--proxy", ADDRESS_AND_PORT, FIELD(proxy), OPTIONAL, 1, 65535}}},
    {"udp-up", udp_up, {TO_BASE, DATAGRAM_SIZE, SECONDS, DATAGRAM_RATE}},
    {"udp-down", udp_down, {TO_BASE, DATAGRAM_SIZE, SECONDS, DATAGRAM_RATE}},
    {"dns",
     dns,
     {{"--to", ADDRESS_AND_PORT, FIELD(to), REQUIRED, 1, 65535},
      {"--name", TEXT, FIELD(name), REQUIRED, 0, 0},
      {"--outstanding", INTEGER, FIELD(outstanding), REQUIRED, 1, MAX_FLOWS},
      SECONDS,
      WARMUP}},
    {"idle", idle, {TO_BASE, FLOWS, {"--hold", REAL, FIELD(hold), REQUIRED, 0, 3600}}},
};

static noreturn void misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

static noreturn void misuse(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs(command_name == NULL ? "load: " : "load ", stderr);
  if (command_name != NULL) fprintf(stderr, "%s: ", command_name);
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n%s", usage);
  exit(2);
}

static long read_integer(const struct option *option, const char *text) {
  char *end;
  errno = 0;
  long number = strtol(text, &end, 10);
  int is_number = text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
  if (!is_number || number < option->min || number > option->max)
    misuse("%s takes an integer from %.0f to %.0f, not \"%s\"", option->name, option->min, option->max, text);
  return number;
}

static double read_real(const struct option *option, const char *text) {
  char *end;
  double number = strtod(text, &end);
  int is_number = text[0] >= '0' && text[0] <= '9' && *end == '\0' && isfinite(number);
  if (!is_number || number < option->min || number > option->max)
    misuse("%s takes a number from %g to %g, not \"%s\"", option->name, option->min, option->max, text);
  return number;
}

static struct sockaddr_in read_address_and_port(const struct option *option, const char *text) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  const char *colon = strrchr(text, ':');
  char host[INET_ADDRSTRLEN];
  size_t length = colon == NULL ? sizeof host : (size_t)(colon - text);
  if (length < sizeof host) {
    memcpy(host, text, length);
    host[length] = '\0';
    if (inet_pton(AF_INET, host, &address.sin_addr) == 1) {
      address.sin_port = htons(read_integer(option, colon + 1));
      return address;
    }
  }
  misuse("%s takes an IPv4 address and a port like 192.0.2.1:7000, not \"%s\"", option->name, text);
}

static void read_option(const struct option *option, const char *text, struct options *options) {
  char *field = (char *)options + option->offset;
  switch (option->kind) {
    case INTEGER:
      *(long *)field = read_integer(option, text);
      break;
    case REAL:
      *(double *)field = read_real(option, text);
      break;
    case FLAG:
      *(int *)field = 1;
      break;
    case ADDRESS:
      if (inet_pton(AF_INET, text, field) != 1) misuse("%s takes an IPv4 address, not \"%s\"", option->name, text);
      break;
    case ADDRESS_AND_PORT:
      *(struct sockaddr_in *)field = read_address_and_port(option, text);
      break;
    case TEXT:
      *(const char **)field = text;
      break;
  }
}

static struct options read_options(const struct command *command, char **arguments) {
  struct options options = {0};
  int is_given[MAX_OPTIONS] = {0};
  for (; *arguments != NULL; arguments++) {
    int at = 0;
    while (at < MAX_OPTIONS && command->options[at].name && strcmp(command->options[at].name, *arguments) != 0) at++;
    if (at == MAX_OPTIONS || !command->options[at].name) misuse("there is no option \"%s\"", *arguments);
    const struct option *option = &command->options[at];
    if (is_given[at]) misuse("%s is given twice", option->name);
    is_given[at] = 1;
    if (option->kind != FLAG && *++arguments == NULL) misuse("%s takes a value", option->name);
    read_option(option, *arguments, &options);
  }
  for (int at = 0; at < MAX_OPTIONS && command->options[at].name; at++)
    if (command->options[at].is_required && !is_given[at]) misuse("%s is missing", command->options[at].name);
  return options;
}

int main(int argc, char **argv) {
  if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
    fputs(usage, stdout);
    return 0;
  }
  if (argc < 2) misuse("no command");
  for (size_t at = 0; at < sizeof commands / sizeof *commands; at++) {
    if (strcmp(commands[at].name, argv[1]) != 0) continue;
    command_name = commands[at].name;
    struct options options = read_options(&commands[at], argv + 2);
    /* Writing to a closed connection is an error of that call. */
    signal(SIGPIPE, SIG_IGN);
    commands[at].run(&options);
    if (fflush(stdout) != 0) fail_errno("stdout");
    return 0;
  }
  misuse("there is no command \"%s\"", argv[1]);
}
