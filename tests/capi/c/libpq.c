/* A listener on libpq: LISTEN, then poll on PQsocket. Its beats are empty queries between. */
#include "legacy.h"

#include <libpq-fe.h>

static pthread_mutex_t using = PTHREAD_MUTEX_INITIALIZER;
static kb_link *volatile followed;

static int waits; /* a query is out: libpq takes no second one, and none is needed */

static int empty_query(const void *bytes, size_t n, void *user) {
  PGconn *db = user;
  (void)bytes;
  (void)n;
  pthread_mutex_lock(&using);
  if (!waits) waits = PQsendQuery(db, "") == 1 && PQflush(db) == 0;
  n = (size_t)waits;
  pthread_mutex_unlock(&using);
  return n ? 0 : ECONNRESET;
}

static void *listens(void *of) {
  PGconn *db = of;
  for (;;) {
    PGresult *result;
    PGnotify *notice;
    int well, answers = 0;
    CHECK(readable(PQsocket(db), -1) == 1); /* outside the lock that a beat takes */
    pthread_mutex_lock(&using);
    well = PQconsumeInput(db);
    while (well && waits && !PQisBusy(db)) {
      if ((result = PQgetResult(db)) == NULL) {
        waits = 0; /* that was all of it */
      } else {
        answers += PQresultStatus(result) == PGRES_EMPTY_QUERY;
        PQclear(result);
      }
    }
    while ((notice = PQnotifies(db)) != NULL) {
      if (followed) kb_alive(followed);
      PQfreemem(notice);
    }
    pthread_mutex_unlock(&using);
    while (followed && answers-- > 0) kb_acked(followed, -1);
    if (!well) {
      if (followed) kb_lost(followed, 0, PQerrorMessage(db));
      return NULL;
    }
  }
}

int main(int count, char **args) {
  kb_coordinator *c;
  kb_link *link;
  PGconn *db;
  PGresult *result;
  pthread_t reader;
  char where[128];
  kb_framing framing = lines();
  kb_heartbeat beat = often();
  CHECK(count == 5);
  snprintf(where, sizeof where, "host=127.0.0.1 port=%s user=keepbeat dbname=postgres", args[1]);
  while (PQping(where) != PQPING_OK) pause_ms(20); /* it comes up, or comes back */
  db = PQconnectdb(where);
  CHECK(PQstatus(db) == CONNECTION_OK && kb_new(0, &c) == KB_OK);
  result = PQexec(db, "LISTEN orders");
  CHECK(PQresultStatus(result) == PGRES_COMMAND_OK);
  PQclear(result);
  framing.prefix = KB_RAW; /* libpq makes the bytes */
  CHECK(kb_follow(c, "postgres", KB_TCP, &beat, &framing, empty_query, db, &link) == KB_OK);
  followed = link;
  CHECK(pthread_create(&reader, NULL, listens, db) == 0);
  hurt(c, link, PQbackendPID(db), args[4]); /* its server is a process of its own */
  return 0;
}
