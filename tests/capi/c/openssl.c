/* A client on OpenSSL: one SSL object, one lock around it, a thread that reads. Its server sends
 * each line back from its end to its start, so a PING is answered by GNIP. */
#include "legacy.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

static pthread_mutex_t using = PTHREAD_MUTEX_INITIALIZER;
static kb_link *volatile followed;

static int send_tls(const void *bytes, size_t n, void *user) {
  SSL *tls = user;
  int written;
  pthread_mutex_lock(&using);
  written = SSL_write(tls, bytes, (int)n);
  pthread_mutex_unlock(&using);
  return written == (int)n ? 0 : ECONNRESET;
}

static void *reads(void *of) {
  SSL *tls = of;
  char bytes[4096];
  for (;;) {
    int n, err, error;
    CHECK(readable(SSL_get_fd(tls), -1) == 1); /* outside the lock that a beat takes */
    pthread_mutex_lock(&using);
    errno = 0;
    n = SSL_read(tls, bytes, sizeof bytes);
    err = errno;
    error = SSL_get_error(tls, n);
    pthread_mutex_unlock(&using);
    if (n > 0 && followed) kb_heard(followed, bytes, (size_t)n);
    if (n > 0 || error == SSL_ERROR_WANT_READ) continue;
    if (followed) kb_lost(followed, error == SSL_ERROR_SYSCALL ? err : 0, NULL);
    return NULL;
  }
}

int main(int count, char **args) {
  kb_coordinator *c;
  kb_link *link;
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  SSL *tls = SSL_new(context);
  pthread_t reader;
  struct sockaddr_in at;
  kb_framing framing = lines();
  kb_heartbeat beat = often();
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(count == 5);
  CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR); /* OpenSSL writes without MSG_NOSIGNAL */
  memset(&at, 0, sizeof at);
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons((unsigned short)atoi(args[1]));
  CHECK(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
  CHECK(SSL_set_fd(tls, fd) == 1 && SSL_connect(tls) == 1);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && kb_new(0, &c) == KB_OK);
  if (strcmp(args[3], "observe") == 0) {
    beat = silent();
    CHECK(kb_observe(c, fd, "tls", &beat, NULL, &link) == KB_OK);
  } else {
    framing.ack = "GNIP";
    CHECK(kb_follow(c, "tls", KB_TLS, &beat, &framing, send_tls, tls, &link) == KB_OK);
    followed = link;
  }
  CHECK(pthread_create(&reader, NULL, reads, tls) == 0);
  hurt(c, link, (pid_t)atol(args[2]), args[4]);
  return 0;
}
