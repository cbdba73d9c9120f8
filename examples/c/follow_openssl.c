/* A heartbeat on a connection of the program's own SSL object. keepbeat never sees the cipher: it
 * asks for a beat to be sent, and is told what was read.
 *
 * One lock around the object, since OpenSSL allows one caller at a time; and the socket does not
 * block, so that nobody holds the lock while he waits. Who waits for bytes does so in poll, outside
 * it: a beat would else wait for the peer to speak.
 *
 *     ./follow_openssl 10.0.0.5 7443      whose server answers PING with PONG, a line each
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keepbeat.h"

struct peer {
  int fd;
  SSL *tls;
  pthread_mutex_t using;
};

/* Waits as long as the object wants, then lets its caller try again. */
static int again(struct peer *peer, int result) {
  struct pollfd wait;
  int error = SSL_get_error(peer->tls, result);
  if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return 0;
  wait.fd = peer->fd;
  wait.events = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
  return poll(&wait, 1, 10000) == 1;
}

/* On a thread of keepbeat. All of it or an errno; it may block, and holds the lock only to try. */
static int send_beat(const void *bytes, size_t n, void *user) {
  struct peer *peer = user;
  int result, more;
  do {
    pthread_mutex_lock(&peer->using);
    result = SSL_write(peer->tls, bytes, (int)n);
    pthread_mutex_unlock(&peer->using);
    more = result <= 0 && again(peer, result);
  } while (more);
  return result == (int)n ? 0 : ECONNRESET;
}

/* The program's reader, which tells keepbeat all that it reads. 0 at the end. */
static int read_some(struct peer *peer, kb_link *link) {
  char bytes[4096];
  int n, error, why;
  pthread_mutex_lock(&peer->using);
  errno = 0;
  n = SSL_read(peer->tls, bytes, sizeof bytes);
  why = errno;
  error = SSL_get_error(peer->tls, n);
  pthread_mutex_unlock(&peer->using);
  if (n > 0) {
    kb_heard(link, bytes, (size_t)n); /* as soon as it was read, for the round-trip time */
    printf("%.*s", n, bytes);         /* and then to whoever it is for */
    fflush(stdout);
    return 1;
  }
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return 1;
  kb_lost(link, error == SSL_ERROR_SYSCALL ? why : 0, NULL);
  return 0;
}

static int tell(kb_coordinator *keepbeat) {
  kb_event *event;
  int down = 0;
  while (kb_next_event(keepbeat, &event) == KB_OK) {
    if (kb_event_kind(event) == KB_STATE) fprintf(stderr, "%s\n", kb_event_text(event));
    down |= kb_event_kind(event) == KB_STATE && kb_event_to(event) == KB_DOWN;
    kb_event_free(event);
  }
  return down;
}

int main(int count, char **args) {
  struct sockaddr_in to;
  struct peer peer;
  kb_coordinator *keepbeat;
  kb_link *link;
  kb_heartbeat beat;
  kb_framing lines;
  int open = 1, down = 0;
  SSL_CTX *context = SSL_CTX_new(TLS_client_method()); /* verify: SSL_CTX_set_verify */

  /* OpenSSL writes as it always has; keepbeat itself needs no such thing */
  signal(SIGPIPE, SIG_IGN);
  memset(&to, 0, sizeof to);
  to.sin_family = AF_INET;
  if (count != 3 || inet_pton(AF_INET, args[1], &to.sin_addr) != 1) {
    fprintf(stderr, "use %s ADDRESS PORT\n", args[0]);
    return 2;
  }
  to.sin_port = htons((unsigned short)atoi(args[2]));
  pthread_mutex_init(&peer.using, NULL);
  peer.fd = socket(AF_INET, SOCK_STREAM, 0);
  peer.tls = SSL_new(context);
  if (connect(peer.fd, (struct sockaddr *)&to, sizeof to) != 0 ||
      SSL_set_fd(peer.tls, peer.fd) != 1 || SSL_connect(peer.tls) != 1) {
    fprintf(stderr, "no connection\n");
    return 2;
  }
  fcntl(peer.fd, F_SETFL, O_NONBLOCK);
  memset(&beat, 0, sizeof beat);
  beat.size = sizeof beat;
  beat.interval_ms = 10000;
  beat.timeout_ms = 2000;
  memset(&lines, 0, sizeof lines);
  lines.size = sizeof lines;
  lines.beat = "PING";
  lines.beat_len = 4;
  lines.ack = "PONG";
  lines.ack_len = 4;
  if (kb_new(0, &keepbeat) != KB_OK ||
      kb_follow(keepbeat, NULL, KB_TLS, &beat, &lines, send_beat, &peer, &link) != KB_OK) {
    fprintf(stderr, "%s\n", kb_last_error());
    return 2;
  }
  while (open && !down) {
    struct pollfd wait[2];
    wait[0].fd = peer.fd;
    wait[1].fd = kb_event_fd(keepbeat);
    wait[0].events = wait[1].events = POLLIN;
    if (poll(wait, 2, -1) < 0) continue; /* a signal */
    if (wait[0].revents) open = read_some(&peer, link);
    down = tell(keepbeat);
  }
  kb_link_close(link, -1); /* from here on send_beat does not run, and what it uses can go */
  kb_stop(keepbeat, -1);
  tell(keepbeat);
  kb_link_free(link);
  kb_free(keepbeat);
  SSL_free(peer.tls);
  SSL_CTX_free(context);
  close(peer.fd);
  return 0;
}
