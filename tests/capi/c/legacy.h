/* A client as services have had it for years, whose server is killed or stopped: when that is told,
 * and as what. PROGRAM PORT PID WAY HOW prints
 * the cause, and the milliseconds to the first word of it. */
#ifndef LEGACY_H
#define LEGACY_H
#include "check.h"

#define INTERVAL_MS 200
#define TIMEOUT_MS 500

UNUSED static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

UNUSED static kb_heartbeat often(void) {
  kb_heartbeat beat = rarely();
  beat.interval_ms = INTERVAL_MS;
  beat.timeout_ms = TIMEOUT_MS;
  beat.fall = 3;
  return beat;
}

/* Looks at the kernel alone: the interval is the longest silence of a peer that is well. */
UNUSED static kb_heartbeat silent(void) {
  kb_heartbeat beat = rarely();
  beat.interval_ms = 5000;
  beat.timeout_ms = 2000;
  return beat;
}

/* Hurts the server, and waits for what is told: the first word of trouble, and that it is down. */
UNUSED static void hurt(kb_coordinator *c, kb_link *link, pid_t server, const char *how) {
  int64_t at, first = 0, wait_until;
  int stopped = strcmp(how, "stop") == 0, beats = 0;
  kb_event *event;
  kb_event_free(wait_state(c, KB_UP, kb_link_id(link)));
  pause_ms(300); /* it goes well */
  while (kb_next_event(c, &event) == KB_OK) {
    CHECK(kb_event_kind(event) == KB_BEAT || kb_event_kind(event) == KB_ALIVE);
    beats++;
    kb_event_free(event);
  }
  at = now_us();
  CHECK(kill(server, stopped ? SIGSTOP : SIGKILL) == 0);
  wait_until = at + 1000000L * LIMIT_MS / 1000;
  for (;;) {
    int down, result = kb_next_event(c, &event);
    if (result == KB_EBUSY) {
      CHECK(now_us() < wait_until && readable(kb_event_fd(c), LIMIT_MS) == 1);
      continue;
    }
    CHECK(result == KB_OK);
    if (!first && (kb_event_kind(event) == KB_MISSED || kb_event_kind(event) == KB_STATE)) {
      first = now_us() - at;
    }
    down = kb_event_kind(event) == KB_STATE && kb_event_to(event) == KB_DOWN;
    if (down) {
      fprintf(stderr, "%s\n", kb_event_text(event));
      printf("%s %ld\n", kb_event_cause(event), (long)(first / 1000));
    }
    kb_event_free(event);
    if (down) break;
  }
  if (stopped) CHECK(kill(server, SIGCONT) == 0);
}
#endif
