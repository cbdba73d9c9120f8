/* A socket is handed over: frames both ways, beats between them, numbers, the end, and back. */
#include "check.h"

#define WRITERS 3
#define EACH 200

struct writer {
  kb_link *link;
  char letter;
};

static void *write_frames(void *of) {
  struct writer *writer = of;
  int i;
  for (i = 0; i < EACH; i++) {
    uint64_t number = 0;
    char text[32];
    snprintf(text, sizeof text, "%c %d", writer->letter, i);
    CHECK(kb_link_send(writer->link, text, strlen(text), -1, &number) == KB_OK && number > 0);
  }
  return NULL;
}

int main(void) {
  kb_coordinator *c;
  kb_link *link;
  kb_event *event;
  kb_heartbeat beat = rarely();
  kb_framing framing = lines();
  kb_received got;
  kb_status status;
  struct writer writers[WRITERS];
  pthread_t threads[WRITERS];
  int fds[2], i, seen[WRITERS] = {0}, nodelay = 0, fd = -1;
  socklen_t len = sizeof nodelay;
  FILE *peer;
  char line[64];

  CHECK(kb_new(0, &c) == KB_OK);
  pair(fds);
  CHECK(kb_adopt(c, fds[0], "press 7", &beat, &framing, NULL, &link) == KB_OK);
  expect(fds[1], "PING\n");
  say(fds[1], "PONG\n");
  kb_event_free(wait_state(c, KB_UP, kb_link_id(link)));
  CHECK(getsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &nodelay, &len) == 0 && nodelay == 1);
  CHECK(fcntl(fds[0], F_GETFD) == FD_CLOEXEC);

  /* Three threads at once: each frame comes whole, each writer's in its order. */
  peer = fdopen(dup(fds[1]), "r");
  for (i = 0; i < WRITERS; i++) {
    writers[i].link = link;
    writers[i].letter = (char)('a' + i);
    CHECK(pthread_create(&threads[i], NULL, write_frames, &writers[i]) == 0);
  }
  for (i = 0; i < WRITERS * EACH; i++) {
    CHECK(fgets(line, sizeof line, peer) != NULL);
    CHECK(line[0] >= 'a' && line[0] < 'a' + WRITERS && atoi(line + 2) == seen[line[0] - 'a']);
    seen[line[0] - 'a']++;
  }
  for (i = 0; i < WRITERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);

  /* Through the descriptor. */
  CHECK(readable(kb_link_fd(link), 0) == 0);
  say(fds[1], "one\ntwo\n");
  CHECK(readable(kb_link_fd(link), LIMIT_MS) == 1);
  CHECK(is(receive(link, KB_FRAME), "one") && is(receive(link, KB_FRAME), "two"));
  memset(&got, 0, sizeof got);
  got.size = sizeof got;
  CHECK(kb_link_recv(link, 0, &got) == KB_EBUSY && readable(kb_link_fd(link), 0) == 0);

  /* What is known: answered up to here, the rest in doubt. */
  CHECK(kb_link_answered(link, 590) == KB_OK);
  memset(&status, 0, sizeof status);
  status.size = sizeof status;
  CHECK(kb_link_status(link, &status) == KB_OK && status.frames_read_by_peer == 590);
  fclose(peer);
  close(fds[1]);
  got = receive(link, KB_CONNECTION_LOST);
  CHECK(strcmp(got.cause, "closed-by-peer") == 0 && strstr(got.detail, "closed the connection"));
  CHECK(got.doubt_from == 591 && got.doubt_to == 601 && got.unsent_from == got.unsent_to);
  CHECK(kb_link_recv(link, -1, &got) == KB_EEND && readable(kb_link_fd(link), 0) == 1);
  REFUSED(kb_link_send(link, "late", 4, -1, NULL), KB_EDOWN, "closed-by-peer");
  event = wait_state(c, KB_DOWN, kb_link_id(link));
  CHECK(strcmp(kb_event_cause(event), "closed-by-peer") == 0);
  kb_event_free(event);
  kb_link_free(link);

  /* And back, with what came and was not taken. */
  pair(fds);
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  expect(fds[1], "PING\n");
  say(fds[1], "left\nhal");
  CHECK(readable(kb_link_fd(link), LIMIT_MS) == 1);
  pause_ms(100); /* the rest has come, too */
  CHECK(kb_link_release(link, 5000, &fd) == KB_OK && fd >= 0);
  CHECK(is(receive(link, KB_FRAME), "left"));
  got = receive(link, KB_REST);
  CHECK(is(got, "hal") && got.number == 1); /* its first beat was not acked */
  CHECK(kb_link_recv(link, LIMIT_MS, &got) == KB_EEND);
  REFUSED(kb_link_release(link, 0, &fd), KB_EDOWN, "handed back");
  CHECK(fd == -1);
  kb_link_free(link);
  say(fds[1], "f\n");
  close(fds[1]);

  /* Closed in good order: what was sent comes, and the end. */
  pair(fds);
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  expect(fds[1], "PING\n");
  CHECK(kb_link_send(link, "last words", 10, -1, NULL) == KB_OK);
  CHECK(kb_link_close(link, 300) == KB_OK);
  expect(fds[1], "last words\n");
  CHECK(read(fds[1], line, 1) == 0);
  kb_link_free(link);
  close(fds[1]);
  CHECK(kb_stop(c, -1) == KB_OK);
  kb_free(c);
  return 0;
}
