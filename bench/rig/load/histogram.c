/*
 * Quantiles of durations in constant memory: below 2048 ns a bucket for each nanosecond, above it 1024 buckets for each
 * power of two.
 */
#include "load.h"

enum { BITS = 10, PER_POWER = 1 << BITS, MAX_SHIFT = 30, BUCKETS = (MAX_SHIFT + 2) * PER_POWER };

static uint32_t buckets[BUCKETS];
static uint64_t count, maximum;

void record(uint64_t duration) {
  unsigned power = 63 - __builtin_clzll(duration | 1);
  unsigned shift = power > BITS ? power - BITS : 0;
  size_t bucket = shift > MAX_SHIFT ? BUCKETS - 1 : shift * PER_POWER + (duration >> shift);
  buckets[bucket]++;
  count++;
  if (duration > maximum) maximum = duration;
}

uint64_t recorded(void) {
  return count;
}

double quantile_us(double quantile) {
  double rank = quantile * count;
  uint64_t seen = 0;
  for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
    seen += buckets[bucket];
    if (seen == 0 || seen < rank) continue;
    unsigned shift = bucket < 2 * PER_POWER ? 0 : bucket / PER_POWER - 1;
    uint64_t lowest = (uint64_t)(bucket - shift * PER_POWER) << shift;
    uint64_t middle = lowest + (UINT64_C(1) << shift) / 2;
    return (middle < maximum ? middle : maximum) / 1e3;
  }
  return maximum_us();
}

double maximum_us(void) {
  return maximum / 1e3;
}
