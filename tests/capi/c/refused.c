/* Whatever is wrong is a code and a sentence, and never a crash. */
#include "check.h"

static void *free_elsewhere(void *link) {
  kb_link_free(link);
  return NULL;
}

int main(void) {
  kb_coordinator *c = NULL;
  kb_link *link = NULL, *other;
  kb_event *event;
  kb_heartbeat beat = rarely();
  kb_framing framing = lines();
  kb_received got;
  kb_status status;
  const char *name, *value;
  pthread_t thread;
  int fds[2], unix_fds[2], fd, back;
  uint64_t number = 7;
  char target[64];

  /* NULL everywhere. */
  REFUSED(kb_new(0, NULL), KB_EINVAL, "the place for the result is NULL");
  REFUSED(kb_stop(NULL, -1), KB_EINVAL, "a coordinator is wanted, and this is NULL");
  REFUSED(kb_next_event(NULL, &event), KB_EINVAL, "NULL");
  CHECK(event == NULL && kb_event_fd(NULL) == KB_EINVAL);
  kb_free(NULL);
  kb_link_free(NULL);
  kb_event_free(NULL);
  CHECK(kb_event_kind(NULL) == 0 && kb_event_text(NULL) == NULL && kb_event_to(NULL) == -1);
  CHECK(kb_event_user(NULL) == NULL && kb_link_user(NULL) == NULL && kb_link_id(NULL) == 0);
  REFUSED(kb_link_send(NULL, "x", 1, 0, &number), KB_EINVAL, "a link is wanted");
  CHECK(number == 0);
  REFUSED(kb_heard(NULL, "x", 1), KB_EINVAL, "a link is wanted");
  REFUSED(kb_event_fact(NULL, 0, &name, &value), KB_EINVAL, "an event is wanted");
  CHECK(kb_explain(NULL, KB_MEANING) == NULL && kb_explain("nonsense", KB_MEANING) == NULL);
  CHECK(kb_explain("reset", 17) == NULL && kb_explain("reset", KB_REMEDY) != NULL);
  CHECK(kb_cause(0) != NULL && kb_cause(100000) == NULL);
  CHECK(strcmp(kb_strerror(KB_EBUSY), kb_strerror(KB_OK)) != 0 && kb_strerror(-4711) != NULL);

  CHECK(kb_new(0, &c) == KB_OK && c != NULL);
  /* Handles of another kind, or none. */
  REFUSED(kb_link_pause((kb_link *)c, 1), KB_EINVAL, "and this is a coordinator");
  REFUSED(kb_stop((kb_coordinator *)target, -1), KB_EINVAL, "never was a handle");
  REFUSED(kb_next_event(c, NULL), KB_EINVAL, "NULL");
  REFUSED(kb_next_event(c, &event), KB_EBUSY, "no event waits");

  /* Text, bytes and numbers. */
  REFUSED(kb_watch(c, NULL, NULL, NULL, NULL, 0, NULL, 0, NULL, &link), KB_EINVAL,
          "target is NULL");
  CHECK(link == NULL);
  REFUSED(kb_watch(c, "\xff\xfe", NULL, NULL, NULL, 0, NULL, 0, NULL, &link), KB_EINVAL, "UTF-8");
  REFUSED(kb_watch(c, "h:7", "\xff", NULL, NULL, 0, NULL, 0, NULL, &link), KB_EINVAL,
          "the name is");
  REFUSED(kb_watch(c, "h:7", NULL, NULL, NULL, 5, NULL, 0, NULL, &link), KB_EINVAL, "length is 5");
  REFUSED(kb_watch(c, "what://h:7", NULL, NULL, NULL, 0, NULL, 0, NULL, &link), KB_EINVAL,
          "scheme");
  REFUSED(kb_stop(c, -2), KB_EINVAL, "a timeout of -2 ms");
  beat.fall = 4000;
  REFUSED(kb_watch(c, "h:7", NULL, &beat, NULL, 0, NULL, 0, NULL, &link), KB_EINVAL,
          "a fall of 4000");
  beat = rarely();
  beat.role = 9;
  REFUSED(kb_watch(c, "h:7", NULL, &beat, NULL, 0, NULL, 0, NULL, &link), KB_EINVAL,
          "9 is no role");
  beat = rarely();

  /* Sizes. */
  beat.size = 0;
  REFUSED(kb_watch(c, "h:7", NULL, &beat, NULL, 0, NULL, 0, NULL, &link), KB_EINVAL,
          "sizeof(kb_heartbeat)");
  beat = rarely();
  framing.size = 1000000;
  REFUSED(kb_connect(c, "h:7", NULL, &beat, &framing, NULL, &link), KB_EINVAL,
          "sizeof(kb_framing)");
  framing = lines();
  REFUSED(kb_connect(c, "h:7", NULL, &beat, NULL, NULL, &link), KB_EINVAL, "the framing is NULL");
  framing.prefix = 99;
  REFUSED(kb_connect(c, "h:7", NULL, &beat, &framing, NULL, &link), KB_EINVAL, "99 is no prefix");
  framing.prefix = KB_RAW;
  REFUSED(kb_connect(c, "h:7", NULL, &beat, &framing, NULL, &link), KB_EINVAL, "kb_follow alone");
  framing = lines();
  framing.beat = NULL;
  REFUSED(kb_connect(c, "h:7", NULL, &beat, &framing, NULL, &link), KB_EINVAL, "the beat is NULL");
  framing = lines();
  REFUSED(kb_follow(c, NULL, 0, &beat, &framing, NULL, NULL, &link), KB_EINVAL, "send is NULL");

  /* Descriptors: none, closed, of a file, of a Unix socket, of a socket that listens. */
  REFUSED(kb_observe(c, -1, NULL, &beat, NULL, &link), KB_EINVAL, "-1 is no open descriptor");
  REFUSED(kb_adopt(c, 777, NULL, &beat, &framing, NULL, &link), KB_EINVAL, "777 is no open");
  fd = open("/dev/null", O_RDONLY);
  REFUSED(kb_observe(c, fd, NULL, &beat, NULL, &link), KB_EINVAL, "is no socket");
  CHECK(fcntl(fd, F_GETFD) >= 0); /* it stays ours */
  CHECK(kb_adopt(c, fd, NULL, &beat, &framing, NULL, &link) != KB_OK && link == NULL);
  CHECK(fcntl(fd, F_GETFD) < 0 && errno == EBADF); /* it was handed over */
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, unix_fds) == 0);
  REFUSED(kb_observe(c, unix_fds[0], NULL, &beat, NULL, &link), KB_EINVAL, "none of TCP");
  CHECK(kb_adopt(c, unix_fds[0], NULL, &beat, &framing, NULL, &link) != KB_OK);
  close(unix_fds[1]);
  fd = listening(target, sizeof target);
  REFUSED(kb_observe(c, fd, NULL, &beat, NULL, &link), KB_EINVAL, "listens");
  close(fd);
  /* Closed by the call that fails, also where something else is wrong. */
  pair(fds);
  CHECK(kb_adopt(c, fds[0], NULL, &beat, NULL, NULL, &link) == KB_EINVAL);
  CHECK(fcntl(fds[0], F_GETFD) < 0);
  close(fds[1]);

  /* A link, asked for what it is not. */
  pair(fds);
  CHECK(kb_adopt(c, fds[0], "press 7", &beat, &framing, &number, &link) == KB_OK);
  CHECK(kb_link_user(link) == &number && kb_link_id(link) > 0);
  REFUSED(kb_heard(link, "x", 1), KB_EINVAL, "kb_follow");
  REFUSED(kb_link_send(link, NULL, 3, 0, NULL), KB_EINVAL, "the frame is NULL");
  REFUSED(kb_link_send(link, "PING", 4, -1, &number), KB_EINVAL, "beat");
  REFUSED(kb_link_recv(link, 0, NULL), KB_EINVAL, "NULL");
  memset(&got, 0, sizeof got);
  REFUSED(kb_link_recv(link, 0, &got), KB_EINVAL, "sizeof(kb_received)");
  memset(&status, 0, sizeof status);
  REFUSED(kb_link_status(link, &status), KB_EINVAL, "sizeof(kb_status)");
  REFUSED(kb_link_release(link, 0, NULL), KB_EINVAL, "NULL");
  got.size = sizeof got;
  REFUSED(kb_link_recv(link, 0, &got), KB_EBUSY, "nothing waits");
  REFUSED(kb_link_recv(link, 20, &got), KB_ETIMEOUT, "nothing came");

  /* Freed by another thread, then twice, then used. */
  CHECK(pthread_create(&thread, NULL, free_elsewhere, link) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  kb_link_free(link);
  REFUSED(kb_link_status(link, &status), KB_EINVAL, "was freed");
  event = wait_for(c, KB_ENDED, 0);
  CHECK(kb_event_user(event) == &number);
  CHECK(strcmp(kb_event_name(event), "press 7") == 0);
  kb_event_free(event);
  kb_event_free(event);
  CHECK(kb_event_kind(event) == 0 && kb_event_text(event) == NULL);

  CHECK(kb_stop(c, -1) == KB_OK && kb_stop(c, 0) == KB_OK);
  REFUSED(kb_watch(c, "h:7", NULL, NULL, NULL, 0, NULL, 0, NULL, &other), KB_ESTOPPED, "stopped");
  kb_free(c);
  kb_free(c);
  REFUSED(kb_stop(c, -1), KB_EINVAL, "was freed");
  back = close(fds[1]);
  return back;
}
