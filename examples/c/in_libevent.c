/* A service whose loop is libevent's: keepbeat is one descriptor more in it, and so it is in
 * sd-event (sd_event_add_io), GLib (g_unix_fd_add) and libuv (uv_poll_t).
 *
 *     ./in_libevent redis://10.0.0.5:6379 [SECONDS]
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keepbeat.h"

/* Level-triggered: it is called as long as events wait, so it may take a few, or all. */
static void told(evutil_socket_t fd, short what, void *keepbeat) {
  kb_event *event;
  (void)fd;
  (void)what;
  while (kb_next_event(keepbeat, &event) == KB_OK) {
    if (kb_event_kind(event) == KB_STATE) puts(kb_event_text(event));
    kb_event_free(event);
  }
  fflush(stdout);
}

int main(int count, char **args) {
  struct event_base *loop = event_base_new();
  struct event *readable;
  struct timeval end;
  kb_coordinator *keepbeat;
  kb_link *link;
  kb_heartbeat beat;

  if (count < 2) {
    fprintf(stderr, "which target? for example %s redis://10.0.0.5:6379\n", args[0]);
    return 2;
  }
  memset(&beat, 0, sizeof beat);
  beat.size = sizeof beat;
  beat.interval_ms = 1000;
  beat.timeout_ms = 500;
  if (kb_new(0, &keepbeat) != KB_OK ||
      kb_watch(keepbeat, args[1], NULL, &beat, NULL, 0, NULL, 0, NULL, &link) != KB_OK) {
    fprintf(stderr, "%s\n", kb_last_error());
    return 2;
  }
  readable = event_new(loop, kb_event_fd(keepbeat), EV_READ | EV_PERSIST, told, keepbeat);
  event_add(readable, NULL);
  end.tv_sec = count > 2 ? atol(args[2]) : 60;
  end.tv_usec = 0;
  event_base_loopexit(loop, &end);
  event_base_dispatch(loop);
  event_free(readable); /* before the descriptor goes */
  event_base_free(loop);
  kb_stop(keepbeat, -1);
  kb_link_free(link);
  kb_free(keepbeat);
  return 0;
}
