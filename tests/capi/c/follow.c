/* The program keeps reader and writer; a callback sends, and never after the close. */
#include "check.h"

struct wire {
  int fd, calls, slow;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int send_bytes(const void *bytes, size_t n, void *user) {
  struct wire *wire = user;
  int fd, slow;
  pthread_mutex_lock(&lock);
  wire->calls++;
  fd = wire->fd;
  slow = wire->slow;
  pthread_mutex_unlock(&lock);
  if (slow) pause_ms(slow);
  return write(fd, bytes, n) == (ssize_t)n ? 0 : errno;
}

static int calls_of(struct wire *wire) {
  int calls;
  pthread_mutex_lock(&lock);
  calls = wire->calls;
  pthread_mutex_unlock(&lock);
  return calls;
}

static void set(int *field, int value) {
  pthread_mutex_lock(&lock);
  *field = value;
  pthread_mutex_unlock(&lock);
}

static int fails(const void *bytes, size_t n, void *user) {
  (void)bytes;
  (void)n;
  (void)user;
  return ECONNRESET;
}

int main(void) {
  kb_coordinator *c;
  kb_link *link;
  kb_event *event;
  kb_heartbeat beat = rarely();
  kb_framing framing = lines();
  struct wire wire = {-1, 0, 0};
  int fds[2], calls;

  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  set(&wire.fd, fds[0]);
  CHECK(kb_new(0, &c) == KB_OK);
  framing.numbered = 1;
  beat.interval_ms = 20;
  CHECK(kb_follow(c, "scale", KB_SERIAL, &beat, &framing, send_bytes, &wire, &link) == KB_OK);
  expect(fds[1], "PING 1\n");
  CHECK(kb_heard(link, "PON", 3) == KB_OK && kb_heard(link, "G 1\n", 4) == KB_OK);
  kb_event_free(wait_state(c, KB_UP, kb_link_id(link)));
  expect(fds[1], "PING 2\n");
  /* Closed while send runs: that is waited for, and it is the last. */
  calls = calls_of(&wire);
  set(&wire.slow, 200);
  CHECK(kb_acked(link, 2) == KB_OK && kb_alive(link) == KB_OK && kb_wrote(link) == KB_OK);
  event = wait_for(c, KB_BEAT, kb_link_id(link));
  kb_event_free(event);
  while (calls_of(&wire) == calls) pause_ms(1);
  CHECK(kb_link_close(link, 5000) == KB_OK);
  calls = calls_of(&wire);
  pause_ms(100); /* five beats' time */
  CHECK(calls_of(&wire) == calls);
  REFUSED(kb_alive(link), KB_EDOWN, "down");
  kb_link_free(link);

  /* A send that hangs longer than the close may take: that is said. */
  set(&wire.slow, 700);
  calls = calls_of(&wire);
  CHECK(kb_follow(c, "hangs", KB_PIPE, &beat, &framing, send_bytes, &wire, &link) == KB_OK);
  while (calls_of(&wire) == calls) pause_ms(1);
  REFUSED(kb_link_close(link, 50), KB_ELEFT, "in the `send` of the application");
  kb_link_free(link);
  set(&wire.slow, 0);

  /* A loss is told however soon the link is let go. */
  beat = rarely();
  CHECK(kb_follow(c, NULL, KB_TLS, &beat, &framing, send_bytes, &wire, &link) == KB_OK);
  CHECK(kb_acked(link, -1) == KB_OK || 1);
  CHECK(kb_lost(link, EHOSTUNREACH, "the modem hung up") == KB_OK);
  {
    uint64_t id = kb_link_id(link);
    kb_link_free(link);
    event = wait_state(c, KB_DOWN, id);
  }
  CHECK(strcmp(kb_event_cause(event), "unreachable") == 0);
  CHECK(strstr(kb_event_detail(event), "the modem hung up") != NULL);
  kb_event_free(event);

  /* And an errno of send is its cause. */
  CHECK(kb_follow(c, NULL, KB_SERIAL, &beat, &framing, fails, NULL, &link) == KB_OK);
  event = wait_state(c, KB_DOWN, kb_link_id(link));
  CHECK(strcmp(kb_event_cause(event), "reset") == 0);
  CHECK(strstr(kb_event_advice(event), "the cable") != NULL);
  kb_event_free(event);
  kb_link_free(link);

  /* Raw bytes, of a protocol that keepbeat does not know. */
  framing = lines();
  framing.prefix = KB_RAW;
  framing.beat = "\x01\x05";
  framing.beat_len = 2;
  framing.ack = "\x06";
  framing.ack_len = 1;
  close(fds[0]);
  close(fds[1]);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  set(&wire.fd, fds[0]);
  CHECK(kb_follow(c, NULL, KB_SERIAL, &beat, &framing, send_bytes, &wire, &link) == KB_OK);
  expect(fds[1], "\x01\x05");
  CHECK(kb_heard(link, "\x06", 1) == KB_OK);
  kb_event_free(wait_state(c, KB_UP, kb_link_id(link)));
  kb_free(c); /* ends it, and waits for nobody */
  CHECK(kb_link_close(link, 5000) == KB_OK);
  kb_link_free(link);
  return 0;
}
