/* Descriptors that are none, that are no connection, or that belong to somebody already. */
#include "check.h"

#include <sys/resource.h>
#include <sys/stat.h>

static kb_coordinator *c;
static kb_heartbeat beat;
static kb_framing framing;

static int is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static int port(void) {
  struct sockaddr_in at;
  socklen_t len = sizeof at;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  memset(&at, 0, sizeof at);
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
  CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
  CHECK(connect(fd, (struct sockaddr *)&at, len) == 0); /* to itself */
  return fd;
}

/* Neither observed, which leaves it, nor adopted, which closes it. */
static void refused(int fd, const char *words) {
  kb_link *link = (kb_link *)&link;
  int result = kb_observe(c, fd, NULL, &beat, NULL, &link);
  if (result != KB_EINVAL || !strstr(kb_last_error(), words)) {
    fprintf(stderr, "observed: %d, not `%s` but %s\n", result, words, kb_last_error());
    exit(1);
  }
  CHECK(link == NULL && is_open(fd));
  link = (kb_link *)&link;
  result = kb_adopt(c, fd, NULL, &beat, &framing, NULL, &link);
  if (result != KB_EINVAL || !strstr(kb_last_error(), words)) {
    fprintf(stderr, "adopted: %d, not `%s` but %s\n", result, words, kb_last_error());
    exit(1);
  }
  CHECK(link == NULL && !is_open(fd));
}

static void kinds(void) {
  int fds[2], fd;
  kb_link *link = (kb_link *)&link;
  refused(open("/dev/null", O_RDWR), "no socket");
  CHECK(pipe(fds) == 0);
  refused(fds[0], "no socket");
  refused(fds[1], "no socket");
  refused(open("/", O_RDONLY), "no socket");
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  refused(fds[0], "none of TCP");
  refused(fds[1], "none of TCP");
  CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) == 0);
  refused(fds[0], "none of TCP");
  close(fds[1]);
  refused(port(), "none of TCP");
  refused(listening(NULL, 0), "listens");
  refused(socket(AF_INET, SOCK_STREAM, 0), "not connected");
  refused(socket(AF_INET6, SOCK_STREAM, 0), "not connected");
  for (fd = -3; fd < 0; fd++) {
    CHECK(kb_observe(c, fd, NULL, &beat, NULL, &link) == KB_EINVAL && link == NULL);
    link = (kb_link *)&link;
    CHECK(kb_adopt(c, fd, NULL, &beat, &framing, NULL, &link) == KB_EINVAL && link == NULL);
  }
  REFUSED(kb_adopt(c, 0x7fffffff, NULL, &beat, &framing, NULL, &link), KB_EINVAL, "no open");
}

/* Whatever else is wrong with the call, what was handed over is closed, and the result is NULL. */
static void wrong_calls(void) {
  kb_link *link;
  kb_framing none = framing;
  int fds[2], i;
  none.prefix = 200;
  for (i = 0; i < 7; i++) {
    int result = 0;
    pair(fds);
    link = (kb_link *)&link;
    if (i == 0) result = kb_adopt(NULL, fds[0], NULL, &beat, &framing, NULL, &link);
    if (i == 1) result = kb_adopt(c, fds[0], "\xff", &beat, &framing, NULL, &link);
    if (i == 2) result = kb_adopt(c, fds[0], NULL, &beat, NULL, NULL, &link);
    if (i == 3) result = kb_adopt(c, fds[0], NULL, &beat, &none, NULL, &link);
    if (i == 4) result = kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, NULL);
    if (i == 5) result = kb_adopt((kb_coordinator *)&none, fds[0], NULL, &beat, &framing, NULL,
            &link);
    if (i == 6) {
      none = framing;
      none.frames_capacity = (size_t)-1;
      result = kb_adopt(c, fds[0], NULL, &beat, &none, NULL, &link);
    }
    CHECK(result == KB_EINVAL && !is_open(fds[0]));
    CHECK(i == 4 || link == NULL);
    close(fds[1]);
  }
}

/* Handed over twice, handed back, and handed over again. */
static void owners(void) {
  kb_link *link, *second;
  int fds[2], fd, flags, old;
  pair(fds);
  old = fds[0];
  CHECK(fcntl(old, F_SETFD, 0) == 0 && fcntl(old, F_SETFL, O_RDWR | O_NONBLOCK) == 0);
  flags = fcntl(old, F_GETFL);
  CHECK(kb_adopt(c, old, NULL, &beat, &framing, NULL, &link) == KB_OK);
  expect(fds[1], "PING\n");
  REFUSED(kb_adopt(c, old, NULL, &beat, &framing, NULL, &second), KB_EINVAL, "handed over before");
  CHECK(second == NULL && is_open(old) && fcntl(old, F_GETFD) == FD_CLOEXEC);
  CHECK(kb_link_send(link, "well", 4, -1, NULL) == KB_OK);
  expect(fds[1], "well\n");
  CHECK(kb_link_release(link, 5000, &fd) == KB_OK && fd == old);
  CHECK(fcntl(fd, F_GETFD) == 0 && fcntl(fd, F_GETFL) == flags);
  kb_link_free(link);
  CHECK(is_open(fd));
  CHECK(kb_adopt(c, fd, NULL, &beat, &framing, NULL, &link) == KB_OK);
  expect(fds[1], "PING\n");
  CHECK(kb_link_close(link, 200) == KB_OK);
  kb_link_free(link);
  CHECK(!is_open(fd));
  close(fds[1]);
  /* Its number is another socket's now. */
  do pair(fds);
  while (fds[0] != old && fds[1] != old);
  if (fds[0] != old) {
    int other = fds[0];
    fds[0] = fds[1];
    fds[1] = other;
  }
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  expect(fds[1], "PING\n");
  kb_link_free(link);
  close(fds[1]);
}

/* What is observed is the program's to close, at any time. */
static void closed_by_the_program(void) {
  kb_link *link;
  kb_event *event;
  int fds[2], more[2];
  pair(fds);
  CHECK(kb_observe(c, fds[0], NULL, &beat, NULL, &link) == KB_OK);
  kb_event_free(wait_state(c, KB_UP, kb_link_id(link)));
  close(fds[0]);
  pair(more); /* the number again */
  event = wait_for(c, KB_DISCONNECTED, kb_link_id(link));
  CHECK(strcmp(kb_event_cause(event), "closed-by-application") == 0);
  kb_event_free(event);
  kb_link_free(link);
  say(more[0], "left alone");
  expect(more[1], "left alone");
  close(more[0]);
  close(more[1]);
  close(fds[1]);
}

/* No descriptor left: a code, not a crash; what was handed over is closed. */
static void limits(void) {
  struct rlimit limit, low;
  kb_coordinator *other = (kb_coordinator *)&other;
  kb_link *link, *second;
  int fds[2], more[2], top;
  pair(fds);
  pair(more);
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  expect(fds[1], "PING\n");
  top = dup(0);
  close(top);
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  low = limit;
  low.rlim_cur = (rlim_t)top;
  CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
  CHECK(kb_new(0, &other) == KB_ELIMIT && other == NULL);
  CHECK(kb_link_fd(link) == KB_ELIMIT);
  CHECK(kb_adopt(c, more[0], NULL, &beat, &framing, NULL, &second) == KB_ELIMIT && !second);
  CHECK(strstr(kb_last_error(), "ulimit -n") != NULL);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(!is_open(more[0]) && kb_link_fd(link) >= 0);
  close(more[1]);
  kb_link_free(link);
  close(fds[1]);
}

int main(void) {
  int fd, fds[2], i;
  kb_link *link, *late;
  beat = rarely();
  framing = lines();
  CHECK(kb_new(0, &c) == KB_OK);
  kinds();
  wrong_calls();
  owners();
  closed_by_the_program();
  limits();
  /* The descriptor of events goes with kb_free, though a link is held yet. */
  pair(fds);
  CHECK(kb_observe(c, fds[0], NULL, &beat, NULL, &link) == KB_OK);
  fd = kb_event_fd(c);
  CHECK(fd >= 0 && is_open(fd));
  kb_free(c);
  CHECK(kb_event_fd(c) == KB_EINVAL);
  for (i = 0; i < 10000 && is_open(fd); i++) pause_ms(1); /* its thread is ending */
  CHECK(!is_open(fd));
  CHECK(kb_link_fd(link) == KB_EINVAL && strstr(kb_last_error(), "kb_adopt or kb_connect"));
  kb_link_free(link);
  REFUSED(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &late), KB_EINVAL, "was freed");
  CHECK(!is_open(fds[0]));
  close(fds[1]);
  return 0;
}
