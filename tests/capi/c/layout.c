/* The structs as they were in the first header, where a long has 64 bits. */
#include "check.h"

#define AT(type, field, place)                                                         \
  do {                                                                                 \
    if (offsetof(type, field) != (place)) {                                            \
      fprintf(stderr, #type "." #field " is at %zu\n", offsetof(type, field));         \
      exit(1);                                                                         \
    }                                                                                  \
  } while (0)

int main(void) {
  if (sizeof(long) != 8) return 0;
  AT(kb_heartbeat, size, 0);
  AT(kb_heartbeat, interval_ms, 8);
  AT(kb_heartbeat, prove_every, 48);
  AT(kb_heartbeat, role, 52);
  AT(kb_heartbeat, diagnose, 54);
  CHECK(sizeof(kb_heartbeat) == 56);
  AT(kb_framing, prefix, 8);
  AT(kb_framing, nagle, 13);
  AT(kb_framing, beat, 16);
  AT(kb_framing, ack_len, 40);
  AT(kb_framing, queue, 64);
  CHECK(sizeof(kb_framing) == 72);
  AT(kb_received, kind, 8);
  AT(kb_received, data, 16);
  AT(kb_received, number, 32);
  AT(kb_received, unsent_to, 64);
  AT(kb_received, detail, 80);
  CHECK(sizeof(kb_received) == 88);
  AT(kb_status, link, 8);
  AT(kb_status, state, 16);
  AT(kb_status, sent, 24);
  AT(kb_status, frames_read_by_peer, 80);
  AT(kb_status, rtt_last_ns, 88);
  AT(kb_status, in_state_ns, 104);
  AT(kb_status, cause, 112);
  AT(kb_status, peer, 208);
  CHECK(sizeof(kb_status) == 272);
  AT(kb_session_settings, timeout_ms, 8);
  AT(kb_session_settings, no_proxy, 44);
  AT(kb_session_settings, user_agent, 48);
  AT(kb_session_settings, proxy, 56);
  CHECK(sizeof(kb_session_settings) == 64);
  CHECK(kb_version() == KB_VERSION);
  return 0;
}
