/* What the programs share: checks that say where, and both ends of a connection on loopback. */
#ifndef CHECK_H
#define CHECK_H
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keepbeat.h"

#define CHECK(what)                                                                           \
  do {                                                                                        \
    if (!(what)) {                                                                            \
      fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #what, kb_last_error()); \
      exit(1);                                                                                \
    }                                                                                         \
  } while (0)

/* The code is this, and the sentence has these words. */
#define REFUSED(call, code, words)                                                       \
  do {                                                                                   \
    int got_ = (call);                                                                   \
    if (got_ != (code) || !strstr(kb_last_error(), (words))) {                           \
      fprintf(stderr, "%s:%d: %s is %d: %s\n", __FILE__, __LINE__, #call, got_,          \
              kb_last_error());                                                          \
      exit(1);                                                                           \
    }                                                                                    \
  } while (0)

#define UNUSED __attribute__((unused))
#define LIMIT_MS 30000

/* Never beats within a test, but for the first. */
UNUSED static kb_heartbeat rarely(void) {
  kb_heartbeat beat;
  memset(&beat, 0, sizeof beat);
  beat.size = sizeof beat;
  beat.interval_ms = 3600000;
  beat.timeout_ms = 20000;
  beat.backoff_base_ms = 10;
  beat.backoff_cap_ms = 50;
  return beat;
}

UNUSED static kb_framing lines(void) {
  kb_framing framing;
  memset(&framing, 0, sizeof framing);
  framing.size = sizeof framing;
  framing.beat = "PING";
  framing.beat_len = 4;
  framing.ack = "PONG";
  framing.ack_len = 4;
  return framing;
}

UNUSED static int listening(char *target, size_t room) {
  struct sockaddr_in at;
  socklen_t len = sizeof at;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  memset(&at, 0, sizeof at);
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 8) == 0);
  CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
  if (target) snprintf(target, room, "127.0.0.1:%d", ntohs(at.sin_port));
  return fd;
}

UNUSED static void pair(int fds[2]) {
  struct sockaddr_in at;
  socklen_t len = sizeof at;
  int listener = listening(NULL, 0);
  CHECK(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
  fds[0] = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(fds[0] >= 0 && connect(fds[0], (struct sockaddr *)&at, len) == 0);
  fds[1] = accept(listener, NULL, NULL);
  CHECK(fds[1] >= 0);
  close(listener);
}

/* Reads exactly these bytes. */
UNUSED static void expect(int fd, const char *text) {
  char got[256];
  size_t n = 0, want = strlen(text);
  while (n < want) {
    ssize_t some = read(fd, got + n, want - n);
    CHECK(some > 0);
    n += (size_t)some;
  }
  CHECK(memcmp(got, text, want) == 0);
}

UNUSED static void say(int fd, const char *text) {
  CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

UNUSED static int readable(int fd, int ms) {
  struct pollfd entry;
  entry.fd = fd;
  entry.events = POLLIN;
  entry.revents = 0;
  return poll(&entry, 1, ms);
}

UNUSED static void pause_ms(long ms) {
  struct timespec time;
  time.tv_sec = ms / 1000;
  time.tv_nsec = ms % 1000 * 1000000;
  nanosleep(&time, NULL);
}

/* Takes events until one of this kind, and of this link where that is not 0. */
UNUSED static kb_event *wait_for(kb_coordinator *c, int kind, uint64_t link) {
  for (;;) {
    kb_event *event;
    int got = kb_next_event(c, &event);
    if (got == KB_EBUSY) {
      CHECK(readable(kb_event_fd(c), LIMIT_MS) == 1);
      continue;
    }
    CHECK(got == KB_OK);
    if (kb_event_kind(event) == kind && (!link || kb_event_link(event) == link)) return event;
    kb_event_free(event);
  }
}

/* The same of a state. */
UNUSED static kb_event *wait_state(kb_coordinator *c, int state, uint64_t link) {
  for (;;) {
    kb_event *event = wait_for(c, KB_STATE, link);
    if (kb_event_to(event) == state) return event;
    kb_event_free(event);
  }
}

UNUSED static kb_received receive(kb_link *link, int kind) {
  kb_received got;
  memset(&got, 0, sizeof got);
  got.size = sizeof got;
  CHECK(kb_link_recv(link, LIMIT_MS, &got) == KB_OK);
  CHECK(got.kind == kind && got.size == sizeof got);
  return got;
}

UNUSED static int is(kb_received got, const char *text) {
  return got.len == strlen(text) && memcmp(got.data, text, got.len) == 0;
}
#endif
