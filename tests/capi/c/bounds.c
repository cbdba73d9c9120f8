/* Numbers at their ends, and structs full of nonsense: a code and a sentence, or it works. */
#include "check.h"

#include <limits.h>

static kb_coordinator *c;

/* Whatever comes of it is KB_OK or a refusal with words, and the library is well after it. */
static void sane(int result, kb_link **link) {
  if (result != KB_OK) {
    CHECK(result == KB_EINVAL && *link == NULL && strlen(kb_last_error()) > 10);
    return;
  }
  kb_link_free(*link);
}

static void heartbeats(void) {
  const uint32_t ends[] = {1,          2,           999,         1001,   86400000,
                           0x7fffffff, 0x80000000u, KB_NONE - 1, KB_NONE};
  size_t field, i;
  for (field = 0; field < 11; field++) {
    for (i = 0; i < sizeof ends / sizeof *ends; i++) {
      kb_heartbeat beat = rarely();
      kb_framing framing = lines();
      kb_link *link = NULL;
      int fds[2];
      (&beat.interval_ms)[field] = ends[i];
      sane(kb_watch(c, "127.0.0.1:1", NULL, &beat, NULL, 0, NULL, 0, NULL, &link), &link);
      sane(kb_connect(c, "127.0.0.1:1", NULL, &beat, &framing, NULL, &link), &link);
      pair(fds);
      sane(kb_observe(c, fds[0], NULL, &beat, NULL, &link), &link);
      sane(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link), &link);
      close(fds[1]);
    }
  }
  for (i = 0; i < 256; i++) {
    kb_heartbeat beat = rarely();
    kb_link *link = NULL;
    beat.role = (uint8_t)i;
    sane(kb_watch(c, "127.0.0.1:1", NULL, &beat, NULL, 0, NULL, 0, NULL, &link), &link);
    beat = rarely();
    beat.diagnose = (uint8_t)i;
    sane(kb_watch(c, "127.0.0.1:1", NULL, &beat, NULL, 0, NULL, 0, NULL, &link), &link);
    /* Bytes that mean nothing yet may mean something later. */
    beat = rarely();
    beat.reserved = (uint8_t)i;
    sane(kb_watch(c, "127.0.0.1:1", NULL, &beat, NULL, 0, NULL, 0, NULL, &link), &link);
    CHECK((i == 0) == (link != NULL));
  }
}

static int sends(const void *bytes, size_t n, void *user) {
  (void)bytes;
  (void)n;
  (void)user;
  return 0;
}

static void framings(void) {
  const size_t ends[] = {1, 2, 255, 256, 65535, 65536, (size_t)1 << 32, SIZE_MAX / 2, SIZE_MAX - 8,
                         SIZE_MAX};
  kb_heartbeat beat = rarely();
  kb_link *link = NULL;
  int i;
  size_t k;
  for (i = 0; i < 256; i++) {
    kb_framing framing = lines();
    framing.prefix = (uint8_t)i;
    sane(kb_connect(c, "127.0.0.1:1", NULL, &beat, &framing, NULL, &link), &link);
    sane(kb_follow(c, NULL, 0, &beat, &framing, sends, NULL, &link), &link);
    framing.beat = framing.ack = "";
    framing.beat_len = framing.ack_len = 0;
    sane(kb_connect(c, "127.0.0.1:1", NULL, &beat, &framing, NULL, &link), &link);
    sane(kb_follow(c, NULL, 0, &beat, &framing, sends, NULL, &link), &link);
    sane(kb_follow(c, NULL, i, &beat, &framing, sends, NULL, &link), &link);
    framing = lines();
    framing.reserved[i % 2] = (uint8_t)i;
    sane(kb_connect(c, "127.0.0.1:1", NULL, &beat, &framing, NULL, &link), &link);
    CHECK((i == 0) == (link != NULL));
  }
  for (k = 0; k < sizeof ends / sizeof *ends; k++) {
    kb_framing framing = lines();
    for (i = 0; i < 8; i++) {
      framing.prefix = (uint8_t)(i == 7 ? 132 : i);
      framing.limit = ends[k];
      sane(kb_connect(c, "127.0.0.1:1", NULL, &beat, &framing, NULL, &link), &link);
    }
    framing = lines();
    framing.frames_capacity = ends[k];
    sane(kb_connect(c, "127.0.0.1:1", NULL, &beat, &framing, NULL, &link), &link);
    framing = lines();
    framing.queue = ends[k];
    sane(kb_connect(c, "127.0.0.1:1", NULL, &beat, &framing, NULL, &link), &link);
    framing = lines();
    framing.beat_len = ends[k] > 4 ? ends[k] / 2 + SIZE_MAX / 2 : 4; /* no memory is that long */
    sane(kb_connect(c, "127.0.0.1:1", NULL, &beat, &framing, NULL, &link), &link);
  }
  /* All of them at once, and bytes that cannot be in a line. */
  {
    kb_framing framing = lines();
    framing.numbered = framing.unanswered = framing.answering = framing.crlf = 1;
    sane(kb_connect(c, "127.0.0.1:1", NULL, &beat, &framing, NULL, &link), &link);
    framing = lines();
    framing.beat = "a\nb";
    framing.beat_len = 3;
    sane(kb_connect(c, "127.0.0.1:1", NULL, &beat, &framing, NULL, &link), &link);
  }
}

static void targets(void) {
  static char text[100001];
  const char *some[] = {"",         " ",     ":",        "://",     "tcp://",          "tcp://:",
                        "h:99999",  "h:-1",  "[::1",     "[::1]:",  "tcp://h:1/x?y#z", "\n:7",
                        "h:7\r\nx", "http://", "a@b:c@d:7", "redis://u:p@h"};
  size_t i;
  kb_link *link = NULL;
  for (i = 0; i < sizeof some / sizeof *some; i++) {
    sane(kb_watch(c, some[i], some[i], NULL, NULL, 0, NULL, 0, NULL, &link), &link);
  }
  REFUSED(kb_watch(c, "tcp://u:p@h:7", NULL, NULL, NULL, 0, NULL, 0, NULL, &link), KB_EINVAL,
          "has no login");
  memset(text, 'h', sizeof text - 1);
  sane(kb_watch(c, text, text, NULL, NULL, 0, NULL, 0, NULL, &link), &link);
  sane(kb_watch(c, "127.0.0.1:1", text, NULL, text, sizeof text, text, sizeof text, NULL, &link),
          &link);
  sane(kb_watch(c, "127.0.0.1:1", NULL, NULL, "", 0, "", 0, NULL, &link), &link);
  sane(kb_watch(c, "127.0.0.1:1", NULL, NULL, NULL, 0, "", 0, NULL, &link), &link);
  sane(kb_watch(c, "127.0.0.1:1", NULL, NULL, "", 0, NULL, 0, NULL, &link), &link);
  sane(kb_watch(c, "127.0.0.1:1", NULL, NULL, text, SIZE_MAX, NULL, 0, NULL, &link), &link);
}

static void calls(void) {
  kb_heartbeat beat = rarely();
  kb_framing framing = lines();
  kb_link *link, *followed;
  kb_coordinator *other = (kb_coordinator *)&other;
  kb_received got;
  kb_status status;
  const char *name = "", *value = "";
  int fds[2], i;
  uint64_t number;
  CHECK(kb_new(SIZE_MAX, &other) == KB_EINVAL && other == NULL);
  CHECK(kb_new(1, &other) == KB_OK);
  kb_free(other);
  pair(fds);
  CHECK(kb_adopt(c, fds[0], NULL, &beat, &framing, NULL, &link) == KB_OK);
  for (i = -5; i < -1; i++) {
    got.size = sizeof got;
    CHECK(kb_stop(c, i) == KB_EINVAL && kb_link_close(link, i) == KB_EINVAL);
    CHECK(kb_link_recv(link, i, &got) == KB_EINVAL && kb_link_release(link, i,
            &fds[0]) == KB_EINVAL);
    CHECK(kb_link_send(link, "x", 1, INT_MIN, &number) == KB_EINVAL && number == 0);
  }
  /* On failure what comes out is nothing. */
  memset(&got, 0xee, sizeof got);
  got.size = sizeof got;
  CHECK(kb_link_recv(link, 0, &got) == KB_EBUSY && got.kind == 0 && !got.data && !got.cause);
  CHECK(got.size == sizeof got && got.len == 0 && got.unsent_to == 0);
  memset(&status, 0xee, sizeof status);
  status.size = sizeof status;
  CHECK(kb_link_status(NULL, &status) == KB_EINVAL && status.name[0] == 0 && status.sent == 0);
  CHECK(status.size == sizeof status);
  CHECK(kb_event_fact(NULL, 0, NULL, &value) == KB_EINVAL && value == NULL);
  CHECK(kb_event_fact(NULL, 0, &name, NULL) == KB_EINVAL && name == NULL);
  status.size = 7;
  CHECK(kb_link_status(link, &status) == KB_EINVAL);
  CHECK(kb_link_send(link, "", 0, -1, NULL) == KB_OK && kb_link_send(link, NULL, 0, -1,
          NULL) == KB_OK);
  CHECK(kb_link_send(link, "x", SIZE_MAX, -1, &number) == KB_EINVAL);
  CHECK(kb_link_send(link, "x\ny", 3, -1, &number) == KB_EINVAL && number == 0);
  CHECK(kb_link_answered(link, UINT64_MAX) == KB_OK); /* of what was sent, no more */
  status.size = sizeof status;
  CHECK(kb_link_status(link, &status) == KB_OK && status.frames_read_by_peer <= 2);
  kb_link_free(link);
  close(fds[1]);

  CHECK(kb_follow(c, NULL, KB_OTHER, &beat, &framing, sends, NULL, &followed) == KB_OK);
  REFUSED(kb_acked(followed, -2), KB_EINVAL, "-2 is no beat");
  REFUSED(kb_acked(followed, INT64_MIN), KB_EINVAL, "is no beat");
  CHECK(kb_heard(followed, NULL, 1) == KB_EINVAL && kb_heard(followed, "", 0) == KB_OK);
  CHECK(kb_heard(followed, "x", SIZE_MAX) == KB_EINVAL);
  REFUSED(kb_lost(followed, -1, NULL), KB_EINVAL, "-1 is no errno");
  CHECK(kb_lost(followed, 1, "\xff") == KB_EINVAL);
  CHECK(kb_lost(followed, INT_MAX, "") == KB_OK);
  kb_link_free(followed);
  CHECK(kb_cause(SIZE_MAX) == NULL && kb_explain("", 0) == NULL && kb_explain("\xff", 0) == NULL);
  CHECK(kb_strerror(INT_MIN) && kb_strerror(INT_MAX));
}

int main(void) {
  CHECK(kb_new(0, &c) == KB_OK);
  heartbeats();
  framings();
  targets();
  calls();
  CHECK(kb_stop(c, -1) == KB_OK);
  kb_free(c);
  return 0;
}
