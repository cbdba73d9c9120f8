/* A client with its own loop: one poll waits for standard input and for a server. Typed lines go to
 * the server, and its lines are printed. Between them beats ("PING") go out and their answers
 * ("PONG") come in. The program opens the connection and hands it over.
 *
 *     ./adopt_in_poll 10.0.0.5 7000
 */
#define _POSIX_C_SOURCE 200809L
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keepbeat.h"

static int dial(const char *host, const char *port) {
  struct addrinfo hints, *found, *at;
  int fd = -1;
  memset(&hints, 0, sizeof hints);
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host, port, &hints, &found) != 0) return -1;
  for (at = found; at && fd < 0; at = at->ai_next) {
    fd = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
    if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
      close(fd);
      fd = -1;
    }
  }
  freeaddrinfo(found);
  return fd;
}

/* Prints what has come. Returns 0 once the link is over. */
static int print_frames(kb_link *link) {
  kb_received got;
  got.size = sizeof got;
  for (;;) {
    int result = kb_link_recv(link, 0, &got);
    if (result == KB_EBUSY) return 1;
    if (result != KB_OK) return 0;
    if (got.kind == KB_FRAME) printf("%.*s\n", (int)got.len, (const char *)got.data);
    if (got.kind == KB_CONNECTION_LOST) {
      fprintf(stderr, "lost, %s: %s\n", got.cause, got.detail);
      if (got.doubt_from < got.doubt_to) {
        fprintf(stderr, "lines %llu to %llu may not have arrived\n",
                (unsigned long long)got.doubt_from, (unsigned long long)got.doubt_to - 1);
      }
    }
  }
}

int main(int count, char **args) {
  kb_coordinator *keepbeat;
  kb_link *link;
  kb_heartbeat beat;
  kb_framing lines;
  int fd = count == 3 ? dial(args[1], args[2]) : -1;

  if (fd < 0) {
    fprintf(stderr, "no connection: use %s HOST PORT\n", args[0]);
    return 2;
  }
  memset(&beat, 0, sizeof beat);
  beat.size = sizeof beat;
  beat.interval_ms = 10000;
  beat.timeout_ms = 2000;
  beat.when_idle = 1; /* no beat while lines go both ways */
  memset(&lines, 0, sizeof lines);
  lines.size = sizeof lines;
  lines.beat = "PING";
  lines.beat_len = 4;
  lines.ack = "PONG";
  lines.ack_len = 4;
  if (kb_new(0, &keepbeat) != KB_OK ||
      kb_adopt(keepbeat, fd, NULL, &beat, &lines, NULL, &link) != KB_OK) {
    fprintf(stderr, "%s\n", kb_last_error());
    return 2;
  }
  for (;;) {
    struct pollfd wait[3];
    kb_event *event;
    int i;
    wait[0].fd = STDIN_FILENO;
    wait[1].fd = kb_link_fd(link);
    wait[2].fd = kb_event_fd(keepbeat);
    for (i = 0; i < 3; i++) wait[i].events = POLLIN;
    if (poll(wait, 3, -1) < 0) continue; /* a signal */
    while (kb_next_event(keepbeat, &event) == KB_OK) {
      if (kb_event_kind(event) == KB_STATE) fprintf(stderr, "%s\n", kb_event_text(event));
      kb_event_free(event);
    }
    if (wait[1].revents && !print_frames(link)) break;
    fflush(stdout);
    if (wait[0].revents) {
      char line[1024];
      ssize_t n = read(STDIN_FILENO, line, sizeof line);
      char *start = line, *end;
      if (n <= 0) break;
      while (n > 0 && (end = memchr(start, '\n', (size_t)n)) != NULL) {
        if (kb_link_send(link, start, (size_t)(end - start), 1000, NULL) != KB_OK) {
          fprintf(stderr, "not sent: %s\n", kb_last_error());
        }
        n -= end + 1 - start;
        start = end + 1;
      }
    }
  }
  kb_link_close(link, 2000);
  kb_link_free(link);
  kb_stop(keepbeat, -1);
  kb_free(keepbeat);
  return 0;
}
