/* The log goes to a function, once. */
#include "check.h"

static volatile int lines_told, worst = 9;
static int mark;

static void told(int level, const char *target, const char *line, void *user) {
  CHECK(user == &mark && strncmp(target, "keepbeat", 8) == 0 && line[0] != 0);
  if (level < worst) worst = level;
  lines_told++;
}

/* To a standard error that nobody reads any more; SIGPIPE is at its default, and kills nobody. */
static void into_the_void(void) {
  kb_coordinator *c;
  kb_link *link;
  kb_heartbeat beat = rarely();
  sigset_t waiting;
  int fds[2];
  CHECK(pipe(fds) == 0 && close(fds[0]) == 0 && dup2(fds[1], 2) == 2);
  CHECK(kb_log_to(NULL, NULL, 5) == KB_OK && kb_new(0, &c) == KB_OK);
  pair(fds);
  CHECK(kb_observe(c, fds[0], NULL, &beat, NULL, &link) == KB_OK);
  kb_link_free(link);
  CHECK(kb_stop(c, -1) == KB_OK);
  kb_free(c);
  CHECK(sigpending(&waiting) == 0 && !sigismember(&waiting, SIGPIPE));
}

int main(int count, char **args) {
  kb_coordinator *c;
  kb_link *link;
  kb_heartbeat beat = rarely();
  if (count == 1) {
    into_the_void();
    return 0;
  }
  REFUSED(kb_log_to(told, &mark, 0), KB_EINVAL, "0 is no level");
  CHECK(kb_log_to(told, &mark, 3) == KB_OK);
  REFUSED(kb_log_to(NULL, NULL, 3), KB_EBUSY, "a logger was set before");
  CHECK(kb_new(0, &c) == KB_OK);
  CHECK(kb_watch(c, args[1], NULL, &beat, NULL, 0, NULL, 0, NULL, &link) == KB_OK);
  kb_event_free(wait_state(c, KB_DOWN, kb_link_id(link)));
  CHECK(kb_stop(c, -1) == KB_OK);
  CHECK(lines_told > 0 && worst == 2);
  kb_link_free(link);
  kb_free(c);
  return 0;
}
