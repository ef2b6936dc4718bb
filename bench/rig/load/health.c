/* Whether a client that outlives single failures still succeeds at all. */
#include "load.h"

#include <stdio.h>

static const uint64_t ALL_FAILING = 1 * SECOND;
static const uint64_t SILENCE = 3 * SECOND;

void succeeded(struct health *health, int *is_failing, uint64_t now) {
  health->last_success = now;
  if (*is_failing) health->failing--;
  *is_failing = 0;
}

void failed(struct health *health, int *is_failing, uint64_t now, const char *why) {
  health->errors++;
  snprintf(health->last_error, sizeof health->last_error, "%s", why);
  if (*is_failing) return;
  *is_failing = 1;
  health->failing++;
  if (health->failing == health->parts) health->all_failing_since = now;
}

void check_health(const struct health *health, uint64_t now) {
  if (health->failing == health->parts && now - health->all_failing_since > ALL_FAILING)
    fail("all of %ld fail for 1 s: %s", health->parts, health->last_error);
  if (now > health->last_success && now - health->last_success > SILENCE)
    fail("nothing has succeeded for 3 s%s%s", health->errors > 0 ? ": " : "", health->last_error);
}
