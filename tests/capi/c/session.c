/* HTTP sessions: kept connections, headers, bodies, what may have run; and what is refused. */
#include "check.h"

struct asking {
  kb_session *session;
  const char *url;
};

static void *asks(void *of) {
  struct asking *asking = of;
  int i;
  for (i = 0; i < 20; i++) {
    kb_response *response;
    const void *body;
    size_t len;
    CHECK(kb_request(asking->session, "GET", asking->url, NULL, NULL, 0, -1, &response) == KB_OK);
    CHECK(kb_response_body(response, 0, &body, &len) == KB_OK && len == 5);
    kb_response_free(response);
  }
  return NULL;
}

static void refused(kb_session *session, const char *base) {
  const char *bad[] = {"no colon here", NULL}, *secret[] = {"X: a\r\nY: b", NULL};
  kb_response *response = (kb_response *)&response;
  kb_session *other = (kb_session *)&other;
  kb_session_settings settings;
  const char *name = "";
  char byte;
  size_t n = 7;
  REFUSED(kb_request(NULL, "GET", base, NULL, NULL, 0, -1, &response), KB_EINVAL,
          "a session is wanted");
  CHECK(response == NULL);
  REFUSED(kb_request(session, NULL, base, NULL, NULL, 0, -1, &response), KB_EINVAL,
          "the method is NULL");
  REFUSED(kb_request(session, "G T", base, NULL, NULL, 0, -1, &response), KB_EINVAL, "no method");
  REFUSED(kb_request(session, "GET", NULL, NULL, NULL, 0, -1, &response), KB_EINVAL, "URL is NULL");
  CHECK(kb_request(session, "GET", "nothing", NULL, NULL, 0, -1, &response) == KB_EINVAL);
  CHECK(kb_request(session, "GET", "ftp://h/", NULL, NULL, 0, -1, &response) == KB_EINVAL);
  REFUSED(kb_request(session, "GET", base, bad, NULL, 0, -1, &response), KB_EINVAL, "has no colon");
  CHECK(kb_request(session, "GET", base, secret, NULL, 0, -1, &response) == KB_EINVAL);
  REFUSED(kb_request(session, "GET", base, NULL, NULL, 5, -1, &response), KB_EINVAL, "length is 5");
  REFUSED(kb_request(session, "GET", base, NULL, NULL, 0, -7, &response), KB_EINVAL,
          "timeout of -7");
  REFUSED(kb_request(session, "GET", base, NULL, NULL, 0, -1, NULL), KB_EINVAL, "place");
  CHECK(kb_request_may_have_run() == 0);
  CHECK(kb_response_status(NULL) == 0 && kb_response_url(NULL) == NULL);
  CHECK(kb_response_header(NULL, "x") == NULL && kb_response_idle_ns(NULL) == -1);
  CHECK(kb_response_field(NULL, 0, &name, NULL) == KB_EINVAL && name == NULL);
  CHECK(kb_response_read(NULL, &byte, 1, &n) == KB_EINVAL && n == 0);
  CHECK(kb_response_body((kb_response *)session, 0, NULL, &n) == KB_EINVAL);
  memset(&settings, 0, sizeof settings);
  REFUSED(kb_session_new(&settings, &other), KB_EINVAL, "sizeof(kb_session_settings)");
  settings.size = sizeof settings;
  settings.reserved[1] = 1;
  REFUSED(kb_session_new(&settings, &other), KB_EINVAL, "does not know");
  settings.reserved[1] = 0;
  settings.proxy = "gopher://proxy:70";
  CHECK(kb_session_new(&settings, &other) == KB_EINVAL && other == NULL);
  kb_session_free(NULL);
  kb_response_free(NULL);
  REFUSED(kb_link_id((kb_link *)session) == 0 ? KB_EINVAL : 0, KB_EINVAL, "and this is a session");
}

/* args: a server that answers GET /hello, echoes what is put, and one whose port is closed. */
int main(int count, char **args) {
  kb_session *session;
  kb_session_settings settings;
  kb_response *response;
  const char *headers[] = {"X-Press: 7", "Accept: text/plain", NULL}, *name, *content;
  const void *body;
  char url[128], piece[3], all[16] = "";
  size_t len, i;
  struct asking asking;
  pthread_t threads[3];
  pid_t child;
  int status;
  CHECK(count == 3);
  memset(&settings, 0, sizeof settings);
  settings.size = sizeof settings;
  settings.timeout_ms = LIMIT_MS;
  settings.no_proxy = 1;
  settings.user_agent = "press/1";
  CHECK(kb_session_new(&settings, &session) == KB_OK);
  snprintf(url, sizeof url, "%s/hello?key=secret", args[1]);
  refused(session, url);

  CHECK(kb_request(session, "GET", url, headers, NULL, 0, -1, &response) == KB_OK);
  CHECK(kb_response_status(response) == 200 && kb_response_idle_ns(response) == -1);
  CHECK(strcmp(kb_response_header(response, "x-SEEN"), "7 press/1") == 0);
  CHECK(kb_response_header(response, "none") == NULL && !strstr(kb_response_url(response),
          "secret"));
  for (i = 0; kb_response_field(response, i, &name, &content) == KB_OK; i++) CHECK(name && content);
  CHECK(i >= 2 && name == NULL);
  for (;;) {
    CHECK(kb_response_read(response, piece, sizeof piece, &len) == KB_OK);
    if (len == 0) break;
    strncat(all, piece, len);
  }
  CHECK(strcmp(all, "hello") == 0);
  kb_response_free(response);
  kb_response_free(response);
  CHECK(kb_response_status(response) == 0);

  /* On the kept connection; the body comes back. */
  CHECK(kb_request(session, "PUT", args[1], NULL, "stroke\0 7", 9, 5000, &response) == KB_OK);
  CHECK(kb_response_idle_ns(response) >= 0 && kb_response_replayed(response) == 0);
  CHECK(kb_response_body(response, 0, &body, &len) == KB_OK && len == 9);
  CHECK(memcmp(body, "stroke\0 7", 9) == 0);
  CHECK(kb_response_body(response, 0, &body, &len) == KB_OK && len == 9); /* again */
  kb_response_free(response);
  CHECK(kb_request(session, "HEAD", url, NULL, NULL, 0, -1, &response) == KB_OK);
  CHECK(kb_response_body(response, 0, &body, &len) == KB_OK && len == 0);
  kb_response_free(response);
  CHECK(kb_request(session, "POST", args[1], NULL, "too long", 8, -1, &response) == KB_OK);
  REFUSED(kb_response_body(response, 7, &body, &len), KB_EHTTP, "longer than 7 bytes");
  CHECK(body == NULL && len == 0);
  kb_response_free(response);

  /* Nobody there: it certainly did not run. Cut off: it may have. */
  CHECK(kb_request(session, "DELETE", args[2], NULL, NULL, 0, -1, &response) == KB_ECONNECT);
  CHECK(response == NULL && kb_request_may_have_run() == 0);
  snprintf(url, sizeof url, "%s/cut", args[1]);
  status = kb_request(session, "POST", url, NULL, "x", 1, -1, &response);
  CHECK(status == KB_EHTTP || status == KB_ESTALE);
  CHECK(kb_request_may_have_run() == 1);

  snprintf(url, sizeof url, "%s/hello", args[1]);
  asking.session = session;
  asking.url = url;
  for (i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, asks, &asking) == 0);
  for (i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);

  /* A child leaves the parent's connections alone. */
  CHECK(kb_request(session, "GET", url, NULL, NULL, 0, -1, &response) == KB_OK);
  child = fork();
  if (child == 0) {
    kb_session *own;
    CHECK(kb_response_read(response, piece, sizeof piece, &len) == KB_EFORKED);
    CHECK(kb_request(session, "GET", url, NULL, NULL, 0, -1, &response) == KB_EFORKED);
    kb_response_free(response);
    kb_session_free(session);
    CHECK(kb_session_new(NULL, &own) == KB_OK);
    CHECK(kb_request(own, "GET", url, NULL, NULL, 0, 5000, &response) == KB_OK);
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(kb_response_body(response, 0, &body, &len) == KB_OK && len == 5);
  kb_response_free(response);
  kb_session_free(session);
  REFUSED(kb_request(session, "GET", url, NULL, NULL, 0, -1, &response), KB_EINVAL, "was freed");
  return 0;
}
