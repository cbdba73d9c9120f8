/* A child has none of the threads: it is refused, touches nothing, and does not hang. */
#include "check.h"

static volatile int over;

static void *busy(void *of) {
  kb_status status;
  memset(&status, 0, sizeof status);
  while (!over) {
    status.size = sizeof status;
    CHECK(kb_link_status(of, &status) == KB_OK);
  }
  return NULL;
}

static void refused_in_child(kb_coordinator *c, kb_link *link) {
  kb_event *event;
  kb_coordinator *own;
  kb_status status;
  status.size = sizeof status;
  alarm(20);
  REFUSED(kb_link_send(link, "never", 5, -1, NULL), KB_EFORKED, "parent");
  CHECK(kb_link_status(link, &status) == KB_EFORKED && kb_next_event(c, &event) == KB_EFORKED);
  CHECK(kb_link_close(link, -1) == KB_EFORKED && kb_stop(c, -1) == KB_EFORKED);
  kb_link_free(link);
  kb_free(c);
  kb_free(c);
  CHECK(kb_new(0, &own) == KB_OK && kb_stop(own, -1) == KB_OK);
  kb_free(own);
  REFUSED(kb_stop(own, -1), KB_EINVAL, "was freed");
  CHECK(kb_stop(c, -1) == KB_EFORKED);
  _exit(0);
}

int main(void) {
  kb_coordinator *c;
  kb_link *link;
  kb_heartbeat beat = rarely();
  kb_framing framing = lines();
  pthread_t thread;
  int fds[2], times, result;

  CHECK(kb_new(0, &c) == KB_OK);
  pair(fds);
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  expect(fds[1], "PING\n");
  CHECK(pthread_create(&thread, NULL, busy, link) == 0);
  for (times = 0; times < 30; times++) { /* locks are held at some of them */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) refused_in_child(c, link);
    CHECK(waitpid(child, &result, 0) == child && result == 0);
  }
  over = 1;
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(kb_link_send(link, "still here", 10, -1, NULL) == KB_OK);
  expect(fds[1], "still here\n");
  CHECK(kb_link_close(link, 200) == KB_OK);
  kb_link_free(link);
  CHECK(kb_stop(c, -1) == KB_OK);
  kb_free(c);
  return 0;
}
