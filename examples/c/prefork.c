/* A pre-fork server: the parent listens, its children serve. Threads do not come along into a
 * child, so each makes a coordinator of its own, after the fork; the parent needs none. A handle
  * that a
 * parent had made would be KB_EFORKED in its child.
 *
 *     ./prefork 7000 4
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keepbeat.h"

/* What was told since the last look. 1 once a link has ended, which is its last event. */
static int tell(kb_coordinator *keepbeat) {
  kb_event *event;
  int ended = 0;
  while (kb_next_event(keepbeat, &event) == KB_OK) {
    if (kb_event_kind(event) == KB_STATE) {
      printf("%d: %s\n", (int)getpid(), kb_event_text(event));
      fflush(stdout);
    }
    ended |= kb_event_kind(event) == KB_ENDED;
    kb_event_free(event);
  }
  return ended;
}

/* One client: its lines come back, until it leaves or keepbeat says that it has gone. */
static void serve(kb_coordinator *keepbeat, int fd) {
  kb_heartbeat beat;
  kb_link *link;
  int down = 0;
  memset(&beat, 0, sizeof beat);
  beat.size = sizeof beat;
  beat.interval_ms = 5000; /* the longest silence that is none */
  if (kb_observe(keepbeat, fd, NULL, &beat, NULL, &link) != KB_OK) {
    fprintf(stderr, "not observed: %s\n", kb_last_error()); /* it is served all the same */
    link = NULL;
  }
  while (!down) {
    char bytes[4096];
    struct pollfd wait[2];
    kb_status status;
    ssize_t n;
    wait[0].fd = fd;
    wait[1].fd = kb_event_fd(keepbeat);
    wait[0].events = wait[1].events = POLLIN;
    if (poll(wait, 2, -1) < 0) continue; /* a signal */
    tell(keepbeat);
    status.size = sizeof status;
    down = link && kb_link_status(link, &status) == KB_OK && status.state == KB_DOWN;
    if (!wait[0].revents) continue;
    n = read(fd, bytes, sizeof bytes);
    if (n <= 0 || send(fd, bytes, (size_t)n, MSG_NOSIGNAL) != n) break;
  }
  if (link) kb_link_close(link, -1); /* before the descriptor goes */
  while (link && !tell(keepbeat)) {  /* its last words come by another thread */
    struct pollfd wait;
    wait.fd = kb_event_fd(keepbeat);
    wait.events = POLLIN;
    poll(&wait, 1, -1);
  }
  kb_link_free(link);
  close(fd);
}

static int worker(int listener) {
  kb_coordinator *keepbeat;
  int fd;
  if (kb_new(0, &keepbeat) != KB_OK) {
    fprintf(stderr, "%s\n", kb_last_error());
    return 2;
  }
  while ((fd = accept(listener, NULL, NULL)) >= 0) serve(keepbeat, fd);
  kb_stop(keepbeat, -1);
  kb_free(keepbeat);
  return 0;
}

int main(int count, char **args) {
  struct sockaddr_in at;
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, i;
  int workers = count > 2 ? atoi(args[2]) : 4;

  memset(&at, 0, sizeof at);
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons((unsigned short)(count > 1 ? atoi(args[1]) : 7000));
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 64) != 0) {
    perror("listen");
    return 2;
  }
  for (i = 0; i < workers; i++) {
    pid_t child = fork();
    if (child == 0) return worker(listener);
    if (child < 0) perror("fork");
  }
  puts("listening");
  fflush(stdout);
  while (wait(NULL) > 0) {
  }
  return 0;
}
