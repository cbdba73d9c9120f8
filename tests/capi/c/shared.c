/* A service of several threads, which share what is theirs under a lock of theirs: for helgrind,
 * which is to find nothing. With an argument one of them forgets the lock, and it is to find
  * that. */
#include "check.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int forgets;

struct press {
  kb_link *link;
  int fd, sent, received, beats;
};

static int send_beat(const void *bytes, size_t n, void *user) {
  struct press *press = user;
  if (!forgets) pthread_mutex_lock(&lock);
  press->beats++;
  if (!forgets) pthread_mutex_unlock(&lock);
  return write(press->fd, bytes, n) == (ssize_t)n ? 0 : errno;
}

static void *writes(void *of) {
  struct press *press = of;
  int i;
  for (i = 0; i < 50; i++) {
    CHECK(kb_link_send(press->link, "stroke", 6, -1, NULL) == KB_OK);
    pthread_mutex_lock(&lock);
    press->sent++;
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static void *reads(void *of) {
  struct press *press = of;
  kb_received got;
  char seen[16];
  got.size = sizeof got;
  while (kb_link_recv(press->link, -1, &got) == KB_OK && got.kind == KB_FRAME) {
    CHECK(got.len < sizeof seen);
    memcpy(seen, got.data, got.len);
    pthread_mutex_lock(&lock);
    press->received++;
    pthread_mutex_unlock(&lock);
  }
  CHECK(got.kind == KB_CONNECTION_LOST && strcmp(got.cause, "closed-by-peer") == 0);
  return NULL;
}

static void *asks(void *of) {
  struct press *press = of;
  kb_status status;
  int i;
  status.size = sizeof status;
  for (i = 0; i < 50; i++) CHECK(kb_link_status(press->link, &status) == KB_OK && status.name[0]);
  return NULL;
}

int main(int count, char **args) {
  kb_coordinator *c;
  kb_event *event;
  kb_heartbeat beat = rarely();
  kb_framing framing = lines();
  struct press adopted = {NULL, -1, 0, 0, 0}, followed = {NULL, -1, 0, 0, 0};
  void *(*bodies[4])(void *) = {writes, writes, reads, asks};
  pthread_t threads[4];
  int fds[2], pipe[2], i, beats = 0;
  (void)args;
  forgets = count > 1;
  pair(fds);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pipe) == 0 && kb_new(0, &c) == KB_OK);
  CHECK(kb_adopt(c, fds[0], "press", &beat, &framing, &adopted, &adopted.link) == KB_OK);
  beat.interval_ms = 5;
  followed.fd = pipe[0];
  CHECK(kb_follow(c, "line", KB_PIPE, &beat, &framing, send_beat, &followed,
          &followed.link) == KB_OK);
  expect(fds[1], "PING\n");
  for (i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, bodies[i], &adopted) == 0);
  for (i = 0; i < 50; i++) say(fds[1], "done\n");
  while (beats < 3) {
    expect(pipe[1], "PING\n");
    CHECK(kb_heard(followed.link, "PONG\n", 5) == KB_OK);
    if (!forgets) pthread_mutex_lock(&lock);
    beats = followed.beats;
    if (!forgets) pthread_mutex_unlock(&lock);
  }
  for (i = 0; i < 100; i++) expect(fds[1], "stroke\n");
  CHECK(kb_link_close(followed.link, -1) == KB_OK);
  say(fds[1], "PONG\n");
  event = wait_state(c, KB_UP, kb_link_id(adopted.link));
  CHECK(kb_event_user(event) == &adopted && strstr(kb_event_text(event), "press: up"));
  kb_event_free(event);
  close(fds[1]);
  for (i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(adopted.sent == 100 && adopted.received == 50);
  kb_link_free(adopted.link);
  kb_link_free(followed.link);
  CHECK(kb_stop(c, -1) == KB_OK);
  kb_free(c);
  return 0;
}
