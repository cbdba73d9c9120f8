/* A service of systemd: ready once its target is up, its state in `systemctl status`, and fed to
 * the watchdog as long as this program's own loop runs. That the target is down is no reason to be
 * restarted, so the watchdog does not depend on it.
 *
 *     [Service]
 *     Type=notify
 *     ExecStart=/usr/local/bin/service redis://10.0.0.5:6379
 *     WatchdogSec=30
 *
 * sd_notify is a datagram, so this needs no library of systemd.
 */
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "keepbeat.h"

static void notify(const char *text) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un at;
  size_t len = path ? strlen(path) : 0;
  int fd;
  if (len == 0 || len >= sizeof at.sun_path) return; /* not started by systemd */
  memset(&at, 0, sizeof at);
  at.sun_family = AF_UNIX;
  memcpy(at.sun_path, path, len);
  if (path[0] == '@') at.sun_path[0] = 0; /* a name without a file */
  fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd < 0) return;
  if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&at,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
    perror("NOTIFY_SOCKET");
  }
  close(fd);
}

static volatile sig_atomic_t over;

static void end(int signal) {
  (void)signal;
  over = 1;
}

int main(int count, char **args) {
  const char *watchdog = getenv("WATCHDOG_USEC");
  int every = watchdog ? (int)(atol(watchdog) / 2000) : 10000; /* twice as often as it asks for */
  kb_coordinator *keepbeat;
  kb_link *link;
  kb_heartbeat beat;
  struct sigaction action;
  int ready = 0;

  if (count != 2) {
    fprintf(stderr, "which target? for example %s redis://10.0.0.5:6379\n", args[0]);
    return 2;
  }
  memset(&action, 0, sizeof action);
  action.sa_handler = end;
  /* it is this thread that poll comes back on: keepbeat's block it */
  sigaction(SIGTERM, &action, NULL);
  memset(&beat, 0, sizeof beat);
  beat.size = sizeof beat;
  beat.interval_ms = 1000;
  beat.timeout_ms = 500;
  if (kb_new(0, &keepbeat) != KB_OK ||
      kb_watch(keepbeat, args[1], NULL, &beat, NULL, 0, NULL, 0, NULL, &link) != KB_OK) {
    fprintf(stderr, "%s\n", kb_last_error());
    return 2;
  }
  while (!over) {
    struct pollfd wait;
    kb_event *event;
    wait.fd = kb_event_fd(keepbeat);
    wait.events = POLLIN;
    poll(&wait, 1, every);
    while (kb_next_event(keepbeat, &event) == KB_OK) {
      if (kb_event_kind(event) == KB_STATE) {
        char line[600];
        int up = kb_event_to(event) == KB_UP;
        snprintf(line, sizeof line, "%sSTATUS=%s\n", up && !ready ? "READY=1\n" : "",
                 kb_event_text(event));
        ready |= up;
        notify(line);
        fprintf(stderr, "%s\n", kb_event_text(event)); /* the journal */
      }
      kb_event_free(event);
    }
    notify("WATCHDOG=1\n");
  }
  notify("STOPPING=1\n");
  kb_stop(keepbeat, -1);
  kb_link_free(link);
  kb_free(keepbeat);
  return 0;
}
