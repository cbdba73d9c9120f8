/* A library that was built without sessions is the same to a linker, and says what it has not. */
#include "check.h"

int main(void) {
  kb_session *session = (kb_session *)&session;
  kb_response *response = (kb_response *)&response;
  const char *name;
  const void *body;
  size_t n;
  REFUSED(kb_session_new(NULL, &session), KB_EINVAL, "build it with FEATURES=session");
  CHECK(session == NULL);
  REFUSED(kb_request(session, "GET", "http://h/", NULL, NULL, 0, -1, &response), KB_EINVAL,
          "FEATURES");
  CHECK(response == NULL && kb_response_status(response) == 0 && !kb_response_url(response));
  CHECK(!kb_response_header(response, "x") && kb_response_idle_ns(response) == -1);
  CHECK(kb_response_field(response, 0, &name, &name) == KB_EINVAL);
  CHECK(kb_response_read(response, &n, sizeof n, &n) == KB_EINVAL);
  CHECK(kb_response_body(response, 0, &body, &n) == KB_EINVAL &&
          kb_response_replayed(response) == 0);
  CHECK(kb_request_may_have_run() == 0);
  kb_response_free(response);
  kb_session_free(session);
  return 0;
}
