/* A socket of the program's: its end is told within 50 ms, the socket is left as it was. */
#include "check.h"

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(void) {
  kb_coordinator *c;
  kb_link *link;
  kb_event *event;
  kb_heartbeat beat = rarely();
  int fds[2], times, before = 0, during = 0;
  socklen_t len = sizeof before;
  int64_t best = INT64_MAX;

  CHECK(kb_new(0, &c) == KB_OK);
  for (times = 0; times < 5; times++) {
    int64_t at;
    pair(fds);
    CHECK(getsockopt(fds[0], SOL_SOCKET, SO_KEEPALIVE, &before, &len) == 0 && before == 0);
    CHECK(kb_observe(c, fds[0], "billing", &beat, NULL, &link) == KB_OK);
    kb_event_free(wait_state(c, KB_UP, kb_link_id(link)));
    say(fds[0], "request");
    expect(fds[1], "request");
    at = now_ns();
    CHECK(close(fds[1]) == 0);
    event = wait_state(c, KB_DOWN, kb_link_id(link));
    at = now_ns() - at;
    if (at < best) best = at;
    CHECK(strcmp(kb_event_cause(event), "closed-by-peer") == 0);
    kb_event_free(event);
    CHECK(read(fds[0], &during, 1) == 0); /* the end is the program's to read */
    CHECK(kb_link_close(link, -1) == KB_OK || kb_link_id(link) > 0);
    kb_link_free(link);
    CHECK(close(fds[0]) == 0);
  }
  CHECK(best < 50000000); /* the quickest: noise only adds */

  /* Let go of: its options are as they were. */
  pair(fds);
  CHECK(kb_observe(c, fds[0], NULL, &beat, NULL, &link) == KB_OK);
  kb_event_free(wait_state(c, KB_UP, kb_link_id(link)));
  CHECK(getsockopt(fds[0], SOL_SOCKET, SO_KEEPALIVE, &during, &len) == 0 && during == 1);
  CHECK(kb_link_close(link, -1) == KB_OK);
  CHECK(getsockopt(fds[0], SOL_SOCKET, SO_KEEPALIVE, &during, &len) == 0 && during == 0);
  say(fds[0], "still mine");
  expect(fds[1], "still mine");
  kb_link_free(link);
  kb_free(c);
  return 0;
}
