/* Programs that were compiled against another version: their structs are shorter, or longer. */
#include "check.h"

int main(void) {
  kb_coordinator *c;
  kb_link *link, *other;
  int fds[2];
  struct {
    kb_heartbeat known;
    uint64_t later;
  } beat;
  struct {
    kb_status known;
    char later[24];
  } status;
  struct {
    kb_received known;
    uint64_t later[2];
  } got;
  struct {
    size_t size;
    uint32_t interval_ms, timeout_ms;
  } first;
  struct {
    size_t size;
    uint64_t link;
    int32_t state;
    uint8_t guard[4];
  } old;
  kb_framing framing = lines();
  size_t i;

  CHECK(kb_new(0, &c) == KB_OK);
  /* Longer, and 0 there: as if the field were not. */
  memset(&beat, 0, sizeof beat);
  beat.known = rarely();
  beat.known.size = sizeof beat;
  pair(fds);
  CHECK(kb_adopt(c, fds[0], NULL, (kb_heartbeat *)&beat, &framing, NULL, &link) == KB_OK);
  /* Longer, and something there: it would be passed over in silence. */
  beat.later = 1;
  REFUSED(kb_link_set(link, (kb_heartbeat *)&beat), KB_EINVAL, "does not know");
  /* Shorter: the rest is the default. */
  first.size = sizeof first;
  first.interval_ms = 7200000;
  first.timeout_ms = 1000;
  CHECK(kb_link_set(link, (kb_heartbeat *)&first) == KB_OK);

  /* Room for more than there is: 0 there, and the size says how much was filled. */
  memset(&status, 0xee, sizeof status);
  status.known.size = sizeof status;
  CHECK(kb_link_status(link, (kb_status *)&status) == KB_OK);
  CHECK(status.known.size == sizeof(kb_status) && status.known.link == kb_link_id(link));
  for (i = 0; i < sizeof status.later; i++) CHECK(status.later[i] == 0);
  /* Room for less: nothing is written behind it. */
  memset(&old, 0xee, sizeof old);
  old.size = offsetof(kb_status, state) + 4;
  CHECK(kb_link_status(link, (kb_status *)&old) == KB_OK);
  CHECK(old.size == offsetof(kb_status, state) + 4 && old.link == kb_link_id(link));
  for (i = 0; i < sizeof old.guard; i++) CHECK(old.guard[i] == 0xee);

  say(fds[1], "hello\n");
  memset(&got, 0xee, sizeof got);
  got.known.size = sizeof got;
  CHECK(kb_link_recv(link, LIMIT_MS, (kb_received *)&got) == KB_OK);
  CHECK(is(got.known, "hello") && got.known.size == sizeof(kb_received) && got.later[1] == 0);
  say(fds[1], "again\n");
  {
    kb_received cut;
    memset(&cut, 0xee, sizeof cut);
    cut.size = offsetof(kb_received, number);
    CHECK(kb_link_recv(link, LIMIT_MS, &cut) == KB_OK && is(cut, "again"));
    CHECK(cut.size == offsetof(kb_received, number) && cut.number == 0xeeeeeeeeeeeeeeeeu);
  }
  kb_link_free(link);
  other = NULL;
  kb_link_free(other);
  kb_free(c);
  close(fds[1]);
  return 0;
}
