/* A library that hides its descriptor: it is found by whom it is connected to, among the
 * descriptors of this process. Observing needs no more of it, and touches not a byte.
 *
 *     ./hidden_socket 10.0.0.5 6379
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keepbeat.h"

/* The library: all that it shows is an opaque client. */
struct client {
  int secret;
};

static struct client *client_connect(const struct sockaddr_in *to) {
  struct client *client = malloc(sizeof *client);
  if (!client) return NULL;
  client->secret = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(client->secret, (const struct sockaddr *)to, sizeof *to) == 0) return client;
  close(client->secret);
  free(client);
  return NULL;
}

/* The descriptor that is connected there, or -1. With more than one take those before and those
 * after the library's call, or what `getsockname` says. */
static int find_socket(const struct sockaddr_in *to) {
  DIR *dir = opendir("/proc/self/fd");
  struct dirent *entry;
  int found = -1;
  if (!dir) return -1;
  while (found < 0 && (entry = readdir(dir)) != NULL) {
    struct sockaddr_in peer;
    socklen_t len = sizeof peer;
    int fd = atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd == dirfd(dir)) continue;
    if (getpeername(fd, (struct sockaddr *)&peer,
            &len) != 0 || peer.sin_family != AF_INET) continue;
    if (peer.sin_port == to->sin_port && peer.sin_addr.s_addr == to->sin_addr.s_addr) found = fd;
  }
  closedir(dir);
  return found;
}

int main(int count, char **args) {
  struct sockaddr_in to;
  struct client *client;
  kb_coordinator *keepbeat;
  kb_link *link;
  kb_heartbeat beat;
  int over = 0;

  memset(&to, 0, sizeof to);
  to.sin_family = AF_INET;
  if (count != 3 || inet_pton(AF_INET, args[1], &to.sin_addr) != 1) {
    fprintf(stderr, "use %s ADDRESS PORT\n", args[0]);
    return 2;
  }
  to.sin_port = htons((unsigned short)atoi(args[2]));
  client = client_connect(&to);
  memset(&beat, 0, sizeof beat);
  beat.size = sizeof beat;
  beat.interval_ms = 5000;
  if (!client || kb_new(0, &keepbeat) != KB_OK ||
      kb_observe(keepbeat, find_socket(&to), "library", &beat, NULL, &link) != KB_OK) {
    fprintf(stderr, "not observed: %s\n", kb_last_error());
    return 2;
  }
  while (!over) {
    struct pollfd wait;
    kb_event *event;
    wait.fd = kb_event_fd(keepbeat);
    wait.events = POLLIN;
    poll(&wait, 1, -1);
    while (kb_next_event(keepbeat, &event) == KB_OK) {
      if (kb_event_kind(event) == KB_STATE) puts(kb_event_text(event));
      over |= kb_event_kind(event) == KB_ENDED;
      kb_event_free(event);
    }
    fflush(stdout);
  }
  kb_link_free(link);
  kb_free(keepbeat);
  close(client->secret);
  free(client);
  return 0;
}
