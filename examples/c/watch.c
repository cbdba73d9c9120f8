/* The simplest use: watch an endpoint, and print what happens to it and why.
 *
 *     ./watch redis://10.0.0.5:6379 [SECONDS]
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "keepbeat.h"

static int failed(const char *what) {
  fprintf(stderr, "%s: %s\n", what, kb_last_error());
  return 2;
}

int main(int count, char **args) {
  kb_coordinator *keepbeat;
  kb_link *link;
  kb_heartbeat beat;
  time_t end = time(NULL) + (count > 2 ? atoi(args[2]) : 60);
  int was_up = 0;

  if (count < 2) {
    fprintf(stderr, "which target? for example %s redis://10.0.0.5:6379\n", args[0]);
    return 2;
  }
  memset(&beat, 0, sizeof beat); /* 0 is the default of every field */
  beat.size = sizeof beat;
  beat.interval_ms = 1000;
  beat.timeout_ms = 500;
  if (kb_new(0, &keepbeat) != KB_OK) return failed("no coordinator");
  if (kb_watch(keepbeat, args[1], NULL, &beat, NULL, 0, NULL, 0, NULL, &link) != KB_OK) {
    return failed(args[1]);
  }
  while (time(NULL) < end) {
    struct pollfd wait; /* add your other descriptors here */
    kb_event *event;
    wait.fd = kb_event_fd(keepbeat);
    wait.events = POLLIN;
    poll(&wait, 1, 1000);
    while (kb_next_event(keepbeat, &event) == KB_OK) {
      if (kb_event_kind(event) == KB_STATE) was_up |= kb_event_to(event) == KB_UP;
      if (kb_event_kind(event) != KB_BEAT) puts(kb_event_text(event));
      if (kb_event_kind(event) == KB_STATE && kb_event_to(event) == KB_DOWN) {
        printf("  what it means: %s\n", kb_explain(kb_event_cause(event), KB_MEANING));
        if (kb_event_advice(event)) printf("  what to do: %s\n", kb_event_advice(event));
      }
      fflush(stdout);
      kb_event_free(event);
    }
  }
  kb_stop(keepbeat, -1);
  kb_link_free(link);
  kb_free(keepbeat);
  return was_up ? 0 : 1;
}
