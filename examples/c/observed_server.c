/* An echo server with one thread for each client, each in a blocking read. keepbeat observes every
 * client's socket without touching a byte of it. So the server learns that a client vanished, and
 * why, while its thread sits in read.
 *
 *     ./observed_server 7000
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keepbeat.h"

struct client {
  int fd;
  kb_link *link;
};

static kb_coordinator *keepbeat;

static void *serve(void *of) {
  struct client *client = of;
  char bytes[4096];
  ssize_t n;
  while ((n = read(client->fd, bytes, sizeof bytes)) > 0) {
    if (send(client->fd, bytes, (size_t)n, MSG_NOSIGNAL) != n) break;
  }
  kb_link_close(client->link, -1); /* before the descriptor goes */
  kb_link_free(client->link);
  close(client->fd);
  free(client);
  return NULL;
}

static void *tell(void *nothing) {
  (void)nothing;
  for (;;) {
    struct pollfd wait;
    kb_event *event;
    int got;
    wait.fd = kb_event_fd(keepbeat);
    wait.events = POLLIN;
    poll(&wait, 1, -1);
    while ((got = kb_next_event(keepbeat, &event)) == KB_OK) {
      if (kb_event_kind(event) == KB_STATE) {
        puts(kb_event_text(event));
        fflush(stdout);
      }
      /* Silence does not end a read. This shutdown does: the client's thread then sees the end. */
      if (kb_event_kind(event) == KB_STATE && kb_event_to(event) == KB_DOWN) {
        struct client *client = kb_event_user(event);
        shutdown(client->fd, SHUT_RDWR);
      }
      kb_event_free(event);
    }
    if (got == KB_EEND) return NULL;
  }
}

static void greet(int fd) {
  struct client *client = malloc(sizeof *client);
  pthread_attr_t detached;
  pthread_t thread;
  kb_heartbeat beat;
  memset(&beat, 0, sizeof beat);
  beat.size = sizeof beat;
  beat.interval_ms = 5000; /* the longest silence before a miss */
  if (!client) return;
  client->fd = fd;
  if (kb_observe(keepbeat, fd, NULL, &beat, client, &client->link) != KB_OK) {
    fprintf(stderr, "not observed: %s\n", kb_last_error()); /* the client is served all the same */
    client->link = NULL;
  }
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  if (pthread_create(&thread, &detached, serve, client) != 0) {
    kb_link_free(client->link);
    close(fd);
    free(client);
  }
  pthread_attr_destroy(&detached);
}

int main(int count, char **args) {
  struct sockaddr_in at;
  pthread_t thread;
  int listener = socket(AF_INET, SOCK_STREAM, 0), fd, one = 1;

  memset(&at, 0, sizeof at);
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons((unsigned short)(count > 1 ? atoi(args[1]) : 7000));
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 64) != 0) {
    perror("listen");
    return 2;
  }
  if (kb_new(0, &keepbeat) != KB_OK || pthread_create(&thread, NULL, tell, NULL) != 0) {
    fprintf(stderr, "%s\n", kb_last_error());
    return 2;
  }
  puts("listening");
  fflush(stdout);
  while ((fd = accept(listener, NULL, NULL)) >= 0) greet(fd);
  return 0;
}
