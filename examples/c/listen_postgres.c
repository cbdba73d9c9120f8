/* A listener of PostgreSQL: LISTEN, and then nothing for hours. Whether somebody is there yet is
 * asked by empty queries, since on a silent connection libpq would never learn it.
 *
 *     ./listen_postgres "host=10.0.0.5 user=app dbname=shop" orders
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "keepbeat.h"

struct database {
  PGconn *connection;
  pthread_mutex_t using; /* libpq allows one caller at a time */
  int asked;             /* an empty query is out; libpq takes no second one */
};

/* On a thread of keepbeat. What the beat looks like is libpq's affair: its bytes are not used. */
static int ask(const void *bytes, size_t n, void *user) {
  struct database *db = user;
  int well;
  (void)bytes;
  (void)n;
  pthread_mutex_lock(&db->using);
  if (!db->asked) db->asked = PQsendQuery(db->connection, "") == 1 && PQflush(db->connection) == 0;
  well = db->asked;
  pthread_mutex_unlock(&db->using);
  return well ? 0 : ECONNRESET;
}

/* Takes what has come. 0 at the end. */
static int take(struct database *db, kb_link *link) {
  PGresult *result;
  PGnotify *notice;
  int well, answers = 0;
  pthread_mutex_lock(&db->using);
  well = PQconsumeInput(db->connection);
  while (well && db->asked && !PQisBusy(db->connection)) {
    if ((result = PQgetResult(db->connection)) == NULL) {
      db->asked = 0; /* that was all of it */
    } else {
      answers += PQresultStatus(result) == PGRES_EMPTY_QUERY;
      PQclear(result);
    }
  }
  while ((notice = PQnotifies(db->connection)) != NULL) {
    printf("%s: %s\n", notice->relname, notice->extra);
    PQfreemem(notice);
    kb_alive(link);
  }
  pthread_mutex_unlock(&db->using);
  fflush(stdout);
  while (answers-- > 0) kb_acked(link, -1);
  if (!well) kb_lost(link, 0, PQerrorMessage(db->connection));
  return well;
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
  struct database db;
  kb_coordinator *keepbeat;
  kb_link *link;
  kb_heartbeat beat;
  kb_framing raw;
  char listen[80];
  int open = 1, down = 0;

  if (count != 3) {
    fprintf(stderr, "use %s CONNECTION CHANNEL\n", args[0]);
    return 2;
  }
  db.connection = PQconnectdb(args[1]);
  db.asked = 0;
  pthread_mutex_init(&db.using, NULL);
  snprintf(listen, sizeof listen, "LISTEN \"%.60s\"", args[2]);
  if (PQstatus(db.connection) == CONNECTION_OK) PQclear(PQexec(db.connection, listen));
  if (PQstatus(db.connection) != CONNECTION_OK) {
    fprintf(stderr, "%s", PQerrorMessage(db.connection));
    return 2;
  }
  memset(&beat, 0, sizeof beat);
  beat.size = sizeof beat;
  beat.interval_ms = 10000;
  beat.timeout_ms = 2000;
  memset(&raw, 0, sizeof raw);
  raw.size = sizeof raw;
  raw.prefix = KB_RAW;
  raw.beat = raw.ack = "Q";
  raw.beat_len = raw.ack_len = 1;
  if (kb_new(0, &keepbeat) != KB_OK ||
      kb_follow(keepbeat, "postgres", KB_TCP, &beat, &raw, ask, &db, &link) != KB_OK) {
    fprintf(stderr, "%s\n", kb_last_error());
    return 2;
  }
  while (open && !down) {
    struct pollfd wait[2];
    wait[0].fd = PQsocket(db.connection);
    wait[1].fd = kb_event_fd(keepbeat);
    wait[0].events = wait[1].events = POLLIN;
    if (poll(wait, 2, -1) < 0) continue; /* a signal */
    if (wait[0].revents) open = take(&db, link);
    down = tell(keepbeat);
  }
  kb_link_close(link, -1); /* from here on `ask` does not run */
  kb_stop(keepbeat, -1);
  tell(keepbeat);
  kb_link_free(link);
  kb_free(keepbeat);
  PQfinish(db.connection);
  return 1;
}
