/* Handlers run on the host's threads, SIGPIPE kills nobody, errno stays, exec inherits nothing. */
#include "check.h"

#include <dirent.h>

static pthread_t host;
static volatile sig_atomic_t elsewhere, handled;

static void on_signal(int signal) {
  (void)signal;
  handled++;
  if (!pthread_equal(pthread_self(), host)) elsewhere++;
}

static void *waits_for_frames(void *link) {
  kb_received got;
  got.size = sizeof got;
  CHECK(kb_link_recv(link, 400, &got) == KB_ETIMEOUT);
  return NULL;
}

static int inherited(void) {
  int leaks = 0;
  struct dirent *entry;
  DIR *dir = opendir("/proc/self/fd");
  CHECK(dir != NULL);
  while ((entry = readdir(dir)) != NULL) {
    int fd = atoi(entry->d_name), flags;
    if (entry->d_name[0] == '.' || fd < 3 || fd == dirfd(dir)) continue;
    flags = fcntl(fd, F_GETFD);
    if (flags >= 0 && !(flags & FD_CLOEXEC)) leaks++;
  }
  closedir(dir);
  return leaks;
}

int main(void) {
  kb_coordinator *c;
  kb_link *link, *watched;
  kb_heartbeat beat = rarely();
  kb_framing framing = lines();
  kb_event *event;
  struct sigaction action;
  pthread_t waiting;
  int fds[2], i, before;

  host = pthread_self();
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  CHECK(sigaction(SIGALRM, &action, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
  before = inherited();
  CHECK(kb_new(0, &c) == KB_OK);
  pair(fds);
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  CHECK(kb_watch(c, "127.0.0.1:1", NULL, &beat, NULL, 0, NULL, 0, NULL, &watched) == KB_OK);
  CHECK(kb_link_fd(link) >= 0);
  CHECK(inherited() == before + 1); /* the peer's end, which is the host's */
  /* To the process, 50 times: whoever has it unblocked may get it, and that is the host alone. */
  for (i = 0; i < 50; i++) {
    CHECK(kill(getpid(), i % 2 ? SIGALRM : SIGUSR1) == 0);
    pause_ms(2);
  }
  CHECK(handled > 0 && elsewhere == 0);

  /* No call is a cancellation point: a thread that is cancelled in one comes back first. */
  CHECK(pthread_create(&waiting, NULL, waits_for_frames, link) == 0);
  pause_ms(100);
  CHECK(pthread_cancel(waiting) == 0 && pthread_join(waiting, NULL) == 0);

  /* errno stays, also where the call fails. */
  errno = 4711;
  CHECK(kb_link_send(link, "x", 1, -1, NULL) == KB_OK && errno == 4711);
  CHECK(kb_observe(c, -1, NULL, NULL, NULL, &watched) == KB_EINVAL && errno == 4711);

  /* The peer resets while we write; SIGPIPE is at its default. */
  CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
  {
    struct linger hard = {1, 0};
    CHECK(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0);
  }
  close(fds[1]);
  for (i = 0; i < 1000 && kb_link_send(link, "data", 4, -1, NULL) == KB_OK; i++) pause_ms(1);
  CHECK(i < 1000);
  event = wait_state(c, KB_DOWN, kb_link_id(link));
  CHECK(strcmp(kb_event_cause(event), "reset") == 0);
  kb_event_free(event);
  kb_link_free(link);
  CHECK(kb_stop(c, -1) == KB_OK);
  kb_free(c);
  return 0;
}
