/* keepbeat.h: long-lived connections: kept alive, and why they died. C99, C++98 and later.
 *
 * Handles are opaque, and are no addresses: one that was freed, is NULL or is of another kind is
 * refused with KB_EINVAL, never followed.
 *
 * Results: a call returns 0, or a negative KB_E*; kb_last_error() has this thread's sentence. What
 * is passed in is borrowed for the call. Strings are UTF-8 and NUL-terminated. Out-parameters come
 * last, and are set to NULL or 0, descriptors to -1, where the call fails. Calls that return a
 * descriptor or a result return the KB_E* in its place; those that return anything else have a
 * value that stands for none, and the sentence all the same.
 *
 * Threads: every call may be made from any thread, also at the same time. A handle is freed when no
 * other call uses it; a call that waits on a link that is freed comes back. No call throws or
 * raises a signal; a bug of the library is KB_EPANIC. errno is
 * left as it was, and no call is a cancellation point.
 *
 * Callbacks return: no longjmp, no pthread_exit, no C++ exception may leave them.
 * A call wants 32 KiB of its thread's stack. Callbacks run on stacks of 256 KiB.
 *
 * Waiting: only the calls with timeout_ms wait, so long at most: 0 is not at all, -1 its default.
 *
 * Threads of keepbeat are named keepbeat-*, and run with all signals blocked but those of faults,
 * so that your handlers run on your threads. SIGPROF is blocked, too: a sampling profiler does not
 * see them. Nothing of malloc, locale, environment, timers or atexit is touched. Descriptors are
 * CLOEXEC.
 *
 * fork: the child has none of the threads. There every call on a handle of the parent returns
 * KB_EFORKED and touches nothing, the *_free included; connections stay the parent's. It may make a
 * coordinator of its own. Where that is possible, fork before kb_new.
 *
 * Growing: structs begin with their size, and grow at their end. Set size to sizeof of the struct
 * and the rest to 0; 0 is the default of every field. A library that is newer than the header it
 * meets takes the missing fields for 0, and fills only what there is room for; an older one refuses
 * fields that it does not know unless they are 0. */
#ifndef KEEPBEAT_H
#define KEEPBEAT_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define KB_VERSION 0x000100u /* of this header: major << 16 | minor << 8 | patch */
uint32_t kb_version(void);   /* of the library */

enum {
  KB_OK = 0,
  KB_EINVAL = -1,   /* an argument that cannot work; the sentence says which, and what would */
  KB_ELIMIT = -2,   /* no room for descriptors, threads or mappings; the sentence has the numbers */
  KB_ESTOPPED = -3, /* the coordinator was stopped */
  KB_ENOLINK = -4,  /* the link is over and forgotten */
  KB_EBUSY = -5,    /* nothing waits, or it would have to wait */
  KB_ETIMEOUT = -6, /* the time was up */
  KB_EDOWN = -7,    /* the link has no connection, or is over; the sentence says why */
  KB_ELEFT = -8,    /* a thread is still busy; it was told, and ends by itself */
  KB_EPANIC = -9,   /* a bug of the library */
  KB_EFORKED = -10, /* the handle is the parent's */
  KB_EEND = -11,    /* nothing more will come */
  KB_EIO = -12,     /* the operating system said no */
  KB_ECONNECT = -13, /* of a request: no connection came to be */
  KB_ESTALE = -14,  /* of a request: the kept connection ended as it went out */
  KB_EHTTP = -15    /* of a request: what came is no answer, or broke off */
};
const char *kb_last_error(void);   /* this thread's, until its next call that fails; never NULL */
const char *kb_strerror(int code); /* what the code means, in general; static */

/* Causes are words of a list that grows: "reset", "flow-forgotten". All of this is static. */
enum { KB_MEANING = 0, KB_CONFIRM = 1, KB_REMEDY = 2 };
const char *kb_explain(const char *cause, int what); /* NULL: no such word */
const char *kb_cause(size_t i);                      /* the i-th word; NULL behind the last */

typedef struct kb_coordinator kb_coordinator;
typedef struct kb_link kb_link;
typedef struct kb_event kb_event;

/* Where the log goes: once, before anything else. level: 1 error, 2 warning, 3 info, 4 debug,
 * 5 trace; none above max_level is told. fn runs on any thread, must not block and not call
 * keepbeat. fn NULL: to stderr. KB_EBUSY if a logger was set before, by you or another library. */
typedef void (*kb_log_fn)(int level, const char *target, const char *line, void *user);
int kb_log_to(kb_log_fn fn, void *user, int max_level);

/* How often, how long, how many. 0 is the default; KB_NONE turns a thing off that has one. */
#define KB_NONE 0xffffffffu
enum { KB_ACTIVE = 0, KB_PASSIVE = 1, KB_SEND_ONLY = 2, KB_LISTEN_ONLY = 3 };
enum { KB_KERNEL = 0, KB_OFF = 1, KB_SIDE_CONNECTIONS = 2 };
typedef struct {
  size_t size;
  uint32_t interval_ms;        /* 30000 */
  uint32_t timeout_ms;         /* 5000: of an ack */
  uint32_t fall;               /* 3 misses in a row: down */
  uint32_t rise;               /* 1 */
  uint32_t jitter_permille;    /* 50; KB_NONE */
  uint32_t write_timeout_ms;   /* 10000 */
  uint32_t connect_timeout_ms; /* 10000 */
  uint32_t backoff_base_ms;    /* 500 */
  uint32_t backoff_cap_ms;     /* 60000 */
  uint32_t expect_every_ms;    /* by role: nothing received for longer is a miss */
  uint32_t prove_every;        /* 2 intervals; KB_NONE. With when_idle, see kb_link_answered */
  uint8_t role;                /* KB_ACTIVE */
  uint8_t when_idle;           /* 1: no beat while other bytes go both ways */
  uint8_t diagnose;            /* KB_KERNEL: how far to go to find out why */
  uint8_t reserved;
} kb_heartbeat;

/* --- the coordinator, and its events --- */

int kb_new(size_t event_capacity /* 0: 4096; at most 1048576 */, kb_coordinator **out);
/* Ends every link and joins every thread. KB_ELEFT names who is left: inside name resolution or a
 * callback of yours, which cannot be woken. Default 1 s. Events can be read until KB_EEND. */
int kb_stop(kb_coordinator *, int timeout_ms);
void kb_free(kb_coordinator *); /* tells all that runs to end, and waits for nobody */

/* Readable while events wait, and for ever after the end; level-triggered: for poll, select, epoll,
 * libevent, sd-event. Never read it, never close it: kb_free does, or a
 * moment later a thread that is ending. */
int kb_event_fd(kb_coordinator *);
/* KB_EBUSY: none waits; KB_EEND: none will come any more. */
int kb_next_event(kb_coordinator *, kb_event **out);

enum { KB_CONNECTING = 0, KB_UP = 1, KB_SUSPECT = 2, KB_DOWN = 3 };
enum {
  KB_CONNECTED = 1,    /* number: attempt; took */
  KB_BEAT = 2,         /* an ack came. number: beat; took: round trip */
  KB_ALIVE = 3,        /* no ack of beat `number` in time, and other signs of life */
  KB_SILENT = 4,       /* nothing received. number: misses in a row; took: for how long */
  KB_MISSED = 5,       /* no ack of beat `number` in time. cause */
  KB_STATE = 6,        /* from, to; cause and the rest where it turned for the worse; took: down */
  KB_DIAGNOSED = 7,    /* more was found out */
  KB_DISCONNECTED = 8, /* a connection ended, or an attempt. number: beats; took: lived; cause */
  KB_STALLED = 9,      /* this process was stopped or starved: nobody is to blame. took: how late */
  KB_ENDED = 10,       /* the last event of its link */
  KB_LOST_EVENTS = 11  /* the queue was full: `number` events are missing here; look at status */
};                     /* others may come: pass over them */
int kb_event_kind(const kb_event *);
uint64_t kb_event_link(const kb_event *); /* its number; 0: many links, or the queue */
void *kb_event_user(const kb_event *);    /* what was given for its link */
int64_t kb_event_time_ns(const kb_event *); /* CLOCK_REALTIME; 0: no such event */
int kb_event_from(const kb_event *);        /* -1: no change of state */
int kb_event_to(const kb_event *);
uint64_t kb_event_number(const kb_event *); /* by kind, as above; 0: none */
int64_t kb_event_took_ns(const kb_event *); /* by kind, as above; -1: none */
/* NULL where there is none. They live until kb_event_free. */
const char *kb_event_name(const kb_event *);
const char *kb_event_text(const kb_event *); /* all of it, as one line for people */
const char *kb_event_cause(const kb_event *);
const char *kb_event_detail(const kb_event *);
const char *kb_event_confidence(const kb_event *); /* possible, likely, certain */
const char *kb_event_advice(const kb_event *);     /* who should act, and how */
const char *kb_event_alternative(const kb_event *, size_t i);
/* The evidence, fact by fact: KB_EEND behind the last. */
int kb_event_fact(const kb_event *, size_t i, const char **name, const char **value);
void kb_event_free(kb_event *);

/* --- links --- user comes back by kb_event_user and kb_link_user, and means nothing here. name and
 * heartbeat may be NULL. */

/* Opens a connection of its own to target ("redis://10.0.0.5:6379"), beats on it, opens it again.
 * send NULL: as the scheme of the target says; else these bytes, and expect is how the answer
 * begins (NULL: whatever comes). send NULL and expect given: nothing is sent, and the peer greets
 * so. */
int kb_watch(kb_coordinator *, const char *target, const char *name, const kb_heartbeat *,
             const void *send, size_t send_len, const void *expect, size_t expect_len, void *user,
             kb_link **out);

/* The kernel's view of a TCP socket of yours: not a byte is touched. fd stays yours and is never
 * duplicated. Call kb_link_close before close(fd); else it is told as closed-by-application within
 * a second, also where a library (libpq) closes it as soon as it reads the peer's end. A number
  * that
 * was used again meanwhile is noticed, and its socket is left alone. */
int kb_observe(kb_coordinator *, int fd, const char *name, const kb_heartbeat *, void *user,
               kb_link **out);

/* How frames look: lines, or data behind its length; beats and acks are frames of their own. */
enum {
  KB_LINES = 0,
  KB_U8 = 1,
  KB_U16_BE = 2,
  KB_U32_BE = 4,
  KB_U16_LE = 130,
  KB_U32_LE = 132,
  KB_VARINT = 7,
  KB_RAW = 255 /* kb_follow only: the beat and the ack are these bytes, and nothing else comes */
};
typedef struct {
  size_t size;
  uint8_t prefix;     /* KB_LINES */
  uint8_t numbered;   /* 1: "beat 12", "ack 12" */
  uint8_t unanswered; /* 1: the beat has no ack */
  uint8_t answering;  /* 1: where beat and ack are the same, this end answers */
  uint8_t crlf;       /* 1: lines go out with \r\n */
  uint8_t nagle;      /* 1: TCP_NODELAY is not set */
  uint8_t reserved[2];
  const void *beat;
  size_t beat_len;
  const void *ack;
  size_t ack_len;
  size_t limit;           /* the longest data of a frame: 1 MiB, or 64 KiB for lines */
  size_t frames_capacity; /* 64 wait to be received; then nothing more is read */
  size_t queue;           /* kb_connect: so many wait while no connection stands; 0: none */
} kb_framing;

/* Takes a connected TCP socket over: it is closed with the link, and also where this call fails.
 * Two descriptors are left alone: one that is not open, and one that keepbeat has already. In a
 * forked child (KB_EFORKED) it stays open, too. Whole frames go both ways, beats between them. Do
 * not close it: its number may be another's by then. */
int kb_adopt(kb_coordinator *, int fd, const char *name, const kb_heartbeat *, const kb_framing *,
             void *user, kb_link **out);
/* The same on connections that keepbeat opens, and opens again. */
int kb_connect(kb_coordinator *, const char *target, const char *name, const kb_heartbeat *,
               const kb_framing *, void *user, kb_link **out);

/* You read and write: TLS of your own, a serial line, a library. send writes all n bytes and
 * returns 0 or an errno; it runs on a thread of keepbeat, may block, must not throw, and never runs
 * after kb_link_close or kb_stop has returned 0. What was read is told by kb_heard, or found by you
 * and told by kb_acked and kb_alive. Never read under a lock that send takes. */
enum { KB_OTHER = 0, KB_TCP = 1, KB_TLS = 2, KB_SERIAL = 3, KB_PIPE = 4 };
typedef int (*kb_send_fn)(const void *bytes, size_t n, void *user);
int kb_follow(kb_coordinator *, const char *name, int transport, const kb_heartbeat *,
              const kb_framing *, kb_send_fn send, void *user, kb_link **out);
int kb_heard(kb_link *, const void *bytes, size_t n);
int kb_acked(kb_link *, int64_t seq /* -1: the first that waits */);
int kb_alive(kb_link *); /* a whole frame came that is no ack */
int kb_wrote(kb_link *); /* you wrote something; matters to when_idle */
/* The connection is gone: err is an errno, or 0 for an end by the peer. The link is down with that
 * cause, and over; that is told however soon it is freed. detail NULL: the errno's own words. */
int kb_lost(kb_link *, int err, const char *detail);

/* Frames of kb_adopt and kb_connect. number: 1, 2, ... of this link over all its connections, told
 * before a byte has left. After an error nobody has got the frame. Default of the time: the write
 * timeout. KB_EBUSY and KB_ETIMEOUT: the time was up; KB_EDOWN: no connection. */
int kb_link_send(kb_link *, const void *data, size_t n, int timeout_ms, uint64_t *number);
/* Readable while something waits to be received, and for ever once the link is over; as
 * kb_event_fd. kb_link_free closes it. */
int kb_link_fd(kb_link *);
enum {
  KB_FRAME = 1,           /* data, len */
  KB_NEW_CONNECTION = 2,  /* kb_connect: number, of the connection */
  KB_CONNECTION_LOST = 3, /* cause, detail, and what became of the frames */
  KB_REST = 4             /* after kb_link_release: data, len, no whole frame; number: acks due */
};
typedef struct {
  size_t size;
  int32_t kind;
  int32_t reserved;
  const void *data; /* like cause and detail: until this thread's next kb_link_recv */
  size_t len;
  uint64_t number;
  uint64_t doubt_from, doubt_to;   /* written, and delivered or not: from <= n < to */
  uint64_t unsent_from, unsent_to; /* never written */
  const char *cause;
  const char *detail;
} kb_received;
/* KB_EBUSY: nothing waits; KB_ETIMEOUT; KB_EEND: over, and all was taken. Default: as long as the
 * link lives. */
int kb_link_recv(kb_link *, int timeout_ms, kb_received *out);
/* You know that the peer has read every frame up to this one, since it answered: it is never in
 * doubt, and with when_idle costs no beat to prove it. */
int kb_link_answered(kb_link *, uint64_t number);

/* A snapshot by value; frame counts are those of kb_adopt and kb_connect. After the end it is how
 * the link ended, until it is freed; but of kb_watch, which is KB_ENOLINK once it is over. */
typedef struct {
  size_t size; /* in: of yours; out: how much was filled */
  uint64_t link;
  int32_t state;
  uint8_t paused, unread, ended, reserved;
  uint64_t sent, acked, late, missed, reconnects, renewals, stalls, frames_read_by_peer;
  int64_t rtt_last_ns, rtt_smoothed_ns; /* -1: none yet */
  int64_t in_state_ns;
  char cause[32], name[64], peer[64]; /* cut where they are longer, and always terminated */
} kb_status;
int kb_link_status(kb_link *, kb_status *inout);
/* Another interval, timeout, fall, rise, jitter, backoff, connect timeout and prove_every; the rest
 * is passed over. At once, on watched links with the next beat; an observation keeps its pace. */
int kb_link_set(kb_link *, const kb_heartbeat *);
int kb_link_pause(kb_link *, int on); /* no beats, and no new connections */
uint64_t kb_link_id(kb_link *);       /* as in its events; 0: no such link */
void *kb_link_user(kb_link *);
/* Ends the link in good order: what was sent goes out, then the end. Default: the write timeout and
 * a second for kb_adopt and kb_connect, a second for all others. KB_ETIMEOUT, KB_ELEFT: it ends by
 * itself; a callback may then still run. */
int kb_link_close(kb_link *, int timeout_ms);
/* Of kb_adopt: your socket back, with the options and flags that it came with; of kb_connect: the
 * socket that stands. What was begun is written first. Frames that were not taken come by
 * kb_link_recv, then KB_REST, then KB_EEND. Default: the write timeout. The link is over then. It
 * is not after KB_EINVAL (another kind of link, or TLS on it), nor where the time was up while it
 * was being connected; where what was begun could not be written, it is. */
int kb_link_release(kb_link *, int timeout_ms, int *fd);
void kb_link_free(kb_link *); /* ends it if need be, and waits for nobody */

/* --- HTTP sessions --- requests on kept connections, which are not used once they have died. Only
 * in a library that was built with FEATURES=session; in any other these calls are there, and
 * refuse: kb_session_new is KB_EINVAL. For https:// with FEATURES=tls,session. */
typedef struct kb_session kb_session;
typedef struct kb_response kb_response;
typedef struct {
  size_t size;
  uint32_t timeout_ms;            /* of a whole request, body included; none */
  uint32_t connect_timeout_ms;    /* 10000 */
  uint32_t first_byte_timeout_ms; /* none */
  uint32_t silence_timeout_ms;    /* none: in the middle of an answer */
  uint32_t idle_timeout_ms;       /* 90000: kept connections are closed after it */
  uint32_t max_per_host;          /* no limit, as in the two below */
  uint32_t max_idle_per_host;
  uint32_t max_total;
  uint32_t max_redirects; /* 10; KB_NONE */
  uint8_t no_proxy;       /* 1: those of the environment are passed over */
  uint8_t reserved[3];
  const char *user_agent;
  const char *proxy; /* NULL: that of the environment */
} kb_session_settings;
int kb_session_new(const kb_session_settings *, kb_session **out); /* NULL: the defaults */
void kb_session_free(kb_session *);

/* Sends, and waits for the head of the answer; a status is no error. headers: "Name: value" each,
 * NULL behind the last, or NULL. body NULL: none. timeout_ms is for all of it, the reading of the
 * body included; -1: that of the session. May be called from many threads on one session. */
int kb_request(kb_session *, const char *method, const char *url, const char *const *headers,
               const void *body, size_t len, int timeout_ms, kb_response **out);
/* Of this thread's last kb_request, where it failed. 0: no byte of it had left, so it can be sent
 * again whatever it does. 1: the server may have run it. */
int kb_request_may_have_run(void);
int kb_response_status(const kb_response *);          /* 200; 0: no such response */
const char *kb_response_url(const kb_response *);     /* after redirects, without its query */
const char *kb_response_header(const kb_response *, const char *name); /* the first; NULL: none */
/* All of them, one after the other: KB_EEND behind the last. */
int kb_response_field(const kb_response *, size_t i, const char **name, const char **value);
int64_t kb_response_idle_ns(const kb_response *); /* of its kept connection; -1: a fresh one */
int kb_response_replayed(const kb_response *); /* 1: sent twice, for a kept one had ended */
/* The next piece of the body; *n is 0 at its end. Waits within the time of its request. */
int kb_response_read(kb_response *, void *into, size_t room, size_t *n);
/* All that is left of it, which lives until kb_response_free. most 0: 10 MiB; KB_EHTTP if
 * longer. */
int kb_response_body(kb_response *, size_t most, const void **data, size_t *len);
void kb_response_free(kb_response *);

#ifdef __cplusplus
}
#endif
#endif
