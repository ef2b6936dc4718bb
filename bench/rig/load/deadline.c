/* Errors, and the end of a client that waits in vain. */
#include "load.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

const char *command_name;

/* Read by the signal handler. */
static const char *volatile awaited = "the start";
static volatile long awaited_done, awaited_of;
static char allowance[32];

static noreturn void end(const char *format, va_list arguments, int error) {
  fflush(stdout);
  fprintf(stderr, "load %s: ", command_name);
  vfprintf(stderr, format, arguments);
  if (error != 0) fprintf(stderr, ": %s", strerror(error));
  fputc('\n', stderr);
  exit(1);
}

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  end(format, arguments, 0);
}

void fail_errno(const char *format, ...) {
  int error = errno;
  va_list arguments;
  va_start(arguments, format);
  end(format, arguments, error);
}

void fail_error(int error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  end(format, arguments, error);
}

static void append(char *text, size_t size, const char *more) {
  size_t length = strlen(text);
  while (*more != '\0' && length + 1 < size) text[length++] = *more++;
  text[length] = '\0';
}

static void append_number(char *text, size_t size, long number) {
  char digits[24];
  size_t at = sizeof digits;
  digits[--at] = '\0';
  do {
    digits[--at] = '0' + number % 10;
    number /= 10;
  } while (number > 0);
  append(text, size, digits + at);
}

/* May only do what is safe in a signal handler, which printf is not. */
static void on_deadline(int signal) {
  (void)signal;
  char text[256] = "load ";
  append(text, sizeof text, command_name);
  append(text, sizeof text, ": not done after ");
  append(text, sizeof text, allowance);
  append(text, sizeof text, " s, still waiting for ");
  append(text, sizeof text, awaited);
  if (awaited_of > 0) {
    append(text, sizeof text, " (");
    append_number(text, sizeof text, awaited_done);
    append(text, sizeof text, " of ");
    append_number(text, sizeof text, awaited_of);
    append(text, sizeof text, ")");
  }
  append(text, sizeof text, "\n");
  ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
  (void)ignored;
  _exit(1);
}

void set_deadline(double expected) {
  double seconds = expected > 5 ? 2 * expected : expected + 5;
  snprintf(allowance, sizeof allowance, "%.1f", seconds);
  struct sigaction action = {.sa_handler = on_deadline};
  struct itimerval timer = {.it_value = {.tv_sec = seconds, .tv_usec = (seconds - (long)seconds) * 1e6}};
  if (sigaction(SIGALRM, &action, NULL) < 0) fail_errno("sigaction");
  if (setitimer(ITIMER_REAL, &timer, NULL) < 0) fail_errno("setitimer");
}

void wait_for(const char *what) {
  wait_for_all(what, 0, 0);
}

void wait_for_all(const char *what, long done, long of) {
  awaited_of = 0;
  awaited = what;
  awaited_done = done;
  awaited_of = of;
}

void one_done(void) {
  awaited_done++;
}
