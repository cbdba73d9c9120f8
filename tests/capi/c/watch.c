/* An endpoint is watched: told through the descriptor, looked at, set to another pace, closed. */
#include "check.h"

int main(int count, char **args) {
  kb_coordinator *c;
  kb_link *link, *dead;
  kb_event *event;
  kb_heartbeat beat = rarely();
  kb_status status;
  int mark, i;
  const char *name, *value;
  char target[64];

  CHECK(count == 2);
  CHECK(kb_new(100, &c) == KB_OK);
  CHECK(readable(kb_event_fd(c), 0) == 0);
  beat.interval_ms = 300;
  CHECK(kb_watch(c, args[1], "clock", &beat, NULL, 0, NULL, 0, &mark, &link) == KB_OK);
  event = wait_for(c, KB_CONNECTED, kb_link_id(link));
  CHECK(kb_event_number(event) == 1 && kb_event_took_ns(event) > 0);
  CHECK(kb_event_time_ns(event) > INT64_C(1600000000) * 1000000000);
  kb_event_free(event);
  event = wait_state(c, KB_UP, kb_link_id(link));
  CHECK(kb_event_from(event) == KB_CONNECTING && kb_event_user(event) == &mark);
  CHECK(kb_event_cause(event) == NULL && kb_event_advice(event) == NULL);
  CHECK(kb_event_alternative(event, 0) == NULL);
  CHECK(strstr(kb_event_text(event), "clock: up") != NULL);
  kb_event_free(event);
  beat.interval_ms = 20;
  CHECK(kb_link_set(link, &beat) == KB_OK);
  for (i = 0; i < 5; i++) {
    event = wait_for(c, KB_BEAT, kb_link_id(link));
    CHECK(kb_event_took_ns(event) > 0 && kb_event_number(event) > 0);
    kb_event_free(event);
  }
  memset(&status, 0, sizeof status);
  status.size = sizeof status;
  CHECK(kb_link_status(link, &status) == KB_OK);
  CHECK(status.state == KB_UP && status.acked >= 5 && status.missed == 0 && status.ended == 0);
  CHECK(status.rtt_last_ns > 0 && status.in_state_ns > 0 && status.cause[0] == 0);
  CHECK(strcmp(status.name, "clock") == 0 && strncmp(status.peer, "127.0.0.1:", 10) == 0);
  CHECK(kb_link_pause(link, 1) == KB_OK && kb_link_status(link, &status) == KB_OK);
  CHECK(status.paused == 1 && kb_link_pause(link, 0) == KB_OK);

  /* Nobody listens: down, with the word, how sure, and who should act. */
  close(listening(target, sizeof target));
  CHECK(kb_watch(c, target, NULL, &beat, "ping", 4, "pong", 4, NULL, &dead) == KB_OK);
  event = wait_state(c, KB_DOWN, kb_link_id(dead));
  CHECK(strcmp(kb_event_cause(event), "refused") == 0);
  CHECK(strcmp(kb_event_confidence(event), "certain") == 0);
  CHECK(strstr(kb_event_advice(event), "start what should listen") != NULL);
  CHECK(kb_explain(kb_event_cause(event), KB_MEANING) != NULL);
  CHECK(kb_event_fact(event, 0, &name, &value) == KB_OK);
  CHECK(strcmp(name, "word") == 0 && strcmp(value, "refused") == 0);
  CHECK(kb_event_fact(event, 100000, &name, &value) == KB_EEND && name == NULL);
  kb_event_free(event);

  CHECK(kb_link_close(link, -1) == KB_OK);
  kb_event_free(wait_for(c, KB_ENDED, kb_link_id(link)));
  CHECK(kb_link_status(link, &status) == KB_ENOLINK);
  kb_link_free(link);
  kb_link_free(dead); /* that ends it */
  kb_event_free(wait_for(c, KB_ENDED, 0));
  CHECK(kb_stop(c, -1) == KB_OK);
  while (kb_next_event(c, &event) == KB_OK) kb_event_free(event);
  CHECK(kb_next_event(c, &event) == KB_EEND && readable(kb_event_fd(c), 0) == 1);
  kb_free(c);
  return 0;
}
