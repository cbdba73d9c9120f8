/* keepbeat opens the connection, and opens it again; frames wait meanwhile. */
#include "check.h"

int main(void) {
  kb_coordinator *c;
  kb_link *link;
  kb_heartbeat beat = rarely();
  kb_framing framing = lines();
  kb_received got;
  char target[64];
  int listener = listening(target, sizeof target), peer;
  uint64_t number = 0;

  CHECK(kb_new(0, &c) == KB_OK);
  framing.queue = 2;
  CHECK(kb_connect(c, target, "relay", &beat, &framing, NULL, &link) == KB_OK);
  peer = accept(listener, NULL, NULL);
  got = receive(link, KB_NEW_CONNECTION);
  CHECK(got.number == 1);
  expect(peer, "PING\n");
  say(peer, "PONG\nhello\n");
  CHECK(is(receive(link, KB_FRAME), "hello"));
  CHECK(kb_link_send(link, "one", 3, -1, &number) == KB_OK && number == 1);
  expect(peer, "one\n");
  close(listener);
  close(peer);
  got = receive(link, KB_CONNECTION_LOST);
  CHECK(got.doubt_from <= 2 && got.doubt_to == 2);
  /* Two wait, a third does not. */
  CHECK(kb_link_send(link, "two", 3, 0, &number) == KB_OK && number == 2);
  CHECK(kb_link_send(link, "three", 5, 0, &number) == KB_OK && number == 3);
  REFUSED(kb_link_send(link, "four", 4, 0, &number), KB_EBUSY, "the queue is full");
  REFUSED(kb_link_send(link, "four", 4, 30, &number), KB_ETIMEOUT, "the queue is full");
  CHECK(number == 0);
  /* A close comes back in its time, whether it is being connected or rests, and tells what was not
   * sent. */
  CHECK(kb_link_close(link, 200) < 0 && strstr(kb_last_error(), "2 frames"));
  for (;;) {
    memset(&got, 0, sizeof got);
    got.size = sizeof got;
    CHECK(kb_link_recv(link, LIMIT_MS, &got) == KB_OK);
    if (got.kind == KB_CONNECTION_LOST && got.unsent_to == 4) break;
  }
  CHECK(got.unsent_from == 2);
  CHECK(kb_link_recv(link, LIMIT_MS, &got) == KB_EEND);
  kb_link_free(link);
  CHECK(kb_stop(c, 2000) == KB_OK);
  kb_free(c);
  return 0;
}
