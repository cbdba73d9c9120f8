/* A subscriber on hiredis: a thread that sits in redisGetReply, as it always has. */
#include "legacy.h"

#include <hiredis/hiredis.h>

static kb_link *volatile followed;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;

/* Beside what hiredis writes itself: whole commands, so a lock of the program's will do. */
static int send_ping(const void *bytes, size_t n, void *user) {
  redisContext *redis = user;
  ssize_t written;
  pthread_mutex_lock(&writing);
  written = send(redis->fd, bytes, n, MSG_NOSIGNAL);
  pthread_mutex_unlock(&writing);
  return written == (ssize_t)n ? 0 : written < 0 ? errno : EIO;
}

static void *reads(void *of) {
  redisContext *redis = of;
  redisReply *reply;
  while (redisGetReply(redis, (void **)&reply) == REDIS_OK) {
    kb_link *link = followed;
    /* A subscriber is answered with an array: "pong", "". All else is a sign of life. */
    int pong = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
               strcmp(reply->element[0]->str, "pong") == 0;
    if (link && pong) kb_acked(link, -1);
    if (link && !pong) kb_alive(link);
    freeReplyObject(reply);
  }
  if (followed) kb_lost(followed, redis->err == REDIS_ERR_EOF ? 0 : errno, redis->errstr);
  return NULL;
}

int main(int count, char **args) {
  kb_coordinator *c;
  kb_link *link;
  redisContext *redis;
  redisReply *reply;
  pthread_t reader;
  kb_framing framing = lines();
  kb_heartbeat beat = often();
  pid_t server;
  CHECK(count == 5);
  server = (pid_t)atol(args[2]);
  redis = redisConnect("127.0.0.1", atoi(args[1]));
  CHECK(redis && !redis->err && kb_new(0, &c) == KB_OK);
  if (strcmp(args[3], "adopt") == 0) {
    /* The handshake is the library's, what comes after it is lines. */
    int fd = redisFreeKeepFd(redis);
    framing.crlf = 1;
    framing.ack = "+PONG";
    framing.ack_len = 5;
    CHECK(kb_adopt(c, fd, "redis", &beat, &framing, NULL, &link) == KB_OK);
    CHECK(kb_link_send(link, "INCR visits", 11, -1, NULL) == KB_OK);
    CHECK(((const char *)receive(link, KB_FRAME).data)[0] == ':');
    hurt(c, link, server, args[4]);
    return 0;
  }
  reply = redisCommand(redis, "SUBSCRIBE news");
  CHECK(reply && reply->type == REDIS_REPLY_ARRAY);
  freeReplyObject(reply);
  if (strcmp(args[3], "observe") == 0) {
    beat = silent();
    CHECK(kb_observe(c, redis->fd, "redis", &beat, NULL, &link) == KB_OK);
  } else {
    framing.prefix = KB_RAW;
    framing.beat = "PING\r\n";
    framing.beat_len = 6;
    framing.ack = "*";
    framing.ack_len = 1;
    CHECK(kb_follow(c, "redis", KB_TCP, &beat, &framing, send_ping, redis, &link) == KB_OK);
    followed = link;
  }
  CHECK(pthread_create(&reader, NULL, reads, redis) == 0);
  hurt(c, link, server, args[4]);
  return 0;
}
