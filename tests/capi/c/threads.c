/* Threads of the program: cancelled, interrupted, with little room, gone; and calls out of
 * callbacks. */
#include "check.h"

static kb_coordinator *c;
static kb_heartbeat beat;
static kb_framing framing;

static void nothing(int signal) { (void)signal; }

/* Signals without SA_RESTART all the time: no call is the shorter for it, nor fails. */
static void *writes_much(void *link) {
  static char big[60000];
  int i;
  memset(big, 'x', sizeof big);
  for (i = 0; i < 40; i++) CHECK(kb_link_send(link, big, sizeof big, -1, NULL) == KB_OK);
  return NULL;
}

static void *receives(void *link) {
  kb_received got;
  got.size = sizeof got;
  CHECK(kb_link_recv(link, 200, &got) == KB_ETIMEOUT);
  return NULL;
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void interrupted(void) {
  kb_link *link;
  pthread_t writer, reader;
  struct sigaction action;
  int fds[2];
  static char bytes[65536];
  size_t left = 40 * 60001 + 5;
  int64_t start = now_ms();
  memset(&action, 0, sizeof action);
  action.sa_handler = nothing;
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  pair(fds);
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  CHECK(pthread_create(&writer, NULL, writes_much, link) == 0);
  CHECK(pthread_create(&reader, NULL, receives, link) == 0);
  while (now_ms() - start < 150) { /* the peer does not read yet */
    pthread_kill(writer, SIGUSR1);
    pthread_kill(reader, SIGUSR1);
    pause_ms(1);
  }
  while (left > 0) {
    ssize_t n = read(fds[1], bytes, sizeof bytes);
    CHECK(n > 0);
    left -= (size_t)n;
  }
  CHECK(pthread_join(writer, NULL) == 0 && pthread_join(reader, NULL) == 0);
  CHECK(now_ms() - start >= 200);
  kb_link_free(link);
  close(fds[1]);
}

/* Cancelled while it waits for a peer that does not read: it comes back, and others can send. */
static void *stuck(void *link) {
  static char big[1000000];
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
  for (;;) kb_link_send(link, big, sizeof big, 400, NULL);
  return NULL;
}

static void cancelled(void) {
  kb_link *link;
  pthread_t thread;
  int fds[2];
  void *how = NULL;
  static char bytes[65536];
  pair(fds);
  framing.limit = 2000000;
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  framing = lines();
  CHECK(pthread_create(&thread, NULL, stuck, link) == 0);
  pause_ms(200);
  CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &how) == 0);
  CHECK(how == PTHREAD_CANCELED);
  CHECK(fcntl(fds[1], F_SETFL, O_RDWR | O_NONBLOCK) == 0);
  while (kb_link_send(link, "still", 5, 50, NULL) != KB_OK) {
    while (read(fds[1], bytes, sizeof bytes) > 0) {
    }
  }
  kb_link_free(link);
  close(fds[1]);
}

/* As little stack as a call needs, and what services of old give. */
static void *all_of_it(void *unused) {
  kb_coordinator *own;
  kb_link *link, *watched;
  kb_event *event;
  kb_received got;
  kb_status status;
  int fds[2];
  (void)unused;
  got.size = sizeof got;
  status.size = sizeof status;
  CHECK(kb_new(0, &own) == KB_OK);
  pair(fds);
  CHECK(kb_adopt(own, fds[0], "small", &beat, &framing, NULL, &link) == KB_OK);
  CHECK(kb_watch(own, "redis://u:p@127.0.0.1:1/0", NULL, &beat, NULL, 0, NULL, 0, NULL, &watched) ==
        KB_OK);
  event = wait_state(own, KB_DOWN, kb_link_id(watched));
  CHECK(kb_event_text(event) && kb_event_advice(event) && kb_explain("reset", KB_REMEDY));
  kb_event_free(event);
  CHECK(kb_link_send(link, "x", 1, -1, NULL) == KB_OK);
  CHECK(kb_link_recv(link, 20, &got) == KB_ETIMEOUT && kb_link_status(link, &status) == KB_OK);
  REFUSED(kb_link_release(watched, 0, fds), KB_EINVAL, "another kind");
  kb_link_free(watched);
  CHECK(kb_link_close(link, 100) == KB_OK);
  kb_link_free(link);
  close(fds[1]);
  CHECK(kb_stop(own, -1) == KB_OK);
  kb_free(own);
  return NULL;
}

static void small_stack(size_t size) {
  pthread_attr_t attr;
  pthread_t thread;
  CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, size) == 0);
  CHECK(pthread_create(&thread, &attr, all_of_it, NULL) == 0 && pthread_join(thread, NULL) == 0);
  pthread_attr_destroy(&attr);
}

/* Freed while another thread waits on it: that one comes back. */
static void *waits(void *link) {
  kb_received got;
  int result;
  got.size = sizeof got;
  do result = kb_link_recv(link, -1, &got);
  while (result == KB_OK);
  CHECK(result == KB_EEND || result == KB_EINVAL);
  return NULL;
}

static void freed_meanwhile(void) {
  kb_link *link;
  pthread_t thread;
  int fds[2];
  pair(fds);
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  CHECK(pthread_create(&thread, NULL, waits, link) == 0);
  pause_ms(50);
  kb_link_free(link);
  CHECK(pthread_join(thread, NULL) == 0);
  close(fds[1]);
}

/* Calls when a thread ends, and its own data of the library is gone. */
static pthread_key_t key;

static void at_the_end(void *link) {
  kb_received got;
  kb_status status;
  got.size = sizeof got;
  status.size = sizeof status;
  CHECK(kb_link_status(link, &status) == KB_OK && kb_link_send(link, "bye", 3, -1, NULL) == KB_OK);
  CHECK(kb_link_recv(link, 0, &got) < 0 && kb_last_error() != NULL);
  CHECK(kb_watch(c, "h:7", "\xff", NULL, NULL, 0, NULL, 0, NULL, NULL) == KB_EINVAL);
}

static void *ends(void *link) {
  kb_received got;
  got.size = sizeof got;
  CHECK(kb_link_recv(link, LIMIT_MS, &got) == KB_OK && is(got, "first"));
  CHECK(readable(kb_link_fd(link), LIMIT_MS) == 1); /* and the second waits */
  CHECK(pthread_setspecific(key, link) == 0);
  return NULL;
}

static void at_thread_end(void) {
  kb_link *link;
  pthread_t thread;
  int fds[2];
  CHECK(pthread_key_create(&key, at_the_end) == 0);
  pair(fds);
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  expect(fds[1], "PING\n");
  say(fds[1], "first\nsecond\n");
  CHECK(pthread_create(&thread, NULL, ends, link) == 0 && pthread_join(thread, NULL) == 0);
  expect(fds[1], "bye\n");
  CHECK(is(receive(link, KB_FRAME), "second")); /* not lost to a thread that could not keep it */
  kb_link_free(link);
  close(fds[1]);
}

/* Out of a callback: it ends its own link, or all of them, and nothing hangs. */
static volatile int way;
static kb_link *volatile mine;
static volatile int64_t took;

static int ends_it(const void *bytes, size_t n, void *user) {
  int64_t start = now_ms();
  (void)bytes;
  (void)n;
  (void)user;
  while (!mine) pause_ms(1);
  if (way == 0) CHECK(kb_link_close(mine, 300) != KB_EINVAL);
  if (way == 1) kb_link_free(mine);
  if (way == 2) CHECK(kb_lost(mine, ECONNRESET, NULL) == KB_OK);
  if (way == 3) CHECK(kb_stop(c, 300) != KB_EINVAL);
  if (way == 4) kb_free(c);
  took = now_ms() - start + 1;
  return 0;
}

static void out_of_callbacks(void) {
  kb_link *link;
  for (way = 0; way < 5; way++) {
    mine = NULL;
    took = 0;
    if (way > 2) CHECK(kb_new(0, &c) == KB_OK);
    CHECK(kb_follow(c, NULL, KB_OTHER, &beat, &framing, ends_it, NULL, &link) == KB_OK);
    mine = link;
    while (took == 0) pause_ms(1);
    CHECK(took < 5000);
    if (way < 2) kb_event_free(wait_for(c, KB_ENDED, 0));
    kb_link_free(link);
    if (way == 3) CHECK(kb_stop(c, -1) == KB_OK);
    if (way != 4) kb_free(c);
    if (way < 2) CHECK(kb_new(0, &c) == KB_OK);
  }
}

int main(void) {
  beat = rarely();
  framing = lines();
  CHECK(kb_new(0, &c) == KB_OK);
  interrupted();
  cancelled();
  small_stack(64 * 1024);
  small_stack(32 * 1024); /* as the header says */
  freed_meanwhile();
  at_thread_end();
  out_of_callbacks();
  return 0;
}
