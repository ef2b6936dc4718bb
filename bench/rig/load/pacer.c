/* So many datagrams a second, evenly but for the shortest sleep. */
#include "load.h"

/* Sleeping shorter costs more time than it makes the rate even. */
static const uint64_t SHORTEST_SLEEP = 200 * 1000;
/* What falls due while the sender does not run is made up for that long: a longer burst would measure buffers. */
static const uint64_t LONGEST_ARREARS = 10 * MILLISECOND;

unsigned pacer_due(struct pacer *pacer, uint64_t now, unsigned most) {
  if (pacer->rate == 0) return most;
  uint64_t next = pacer->start + (double)pacer->sent * SECOND / pacer->rate;
  if (next > now) return 0;
  if (now - next > LONGEST_ARREARS) {
    pacer->start += now - next - LONGEST_ARREARS;
    next = now - LONGEST_ARREARS;
  }
  double due = 1 + (double)(now - next) * pacer->rate / SECOND;
  return due < most ? (unsigned)due : most;
}

uint64_t pacer_next(const struct pacer *pacer, uint64_t now) {
  uint64_t next = pacer->start + (double)pacer->sent * SECOND / pacer->rate;
  return next > now + SHORTEST_SLEEP ? next : now + SHORTEST_SLEEP;
}
