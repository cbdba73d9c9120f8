// keepbeat for C++17, to copy into your program: handles free themselves, and errors are thrown.
#pragma once
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "keepbeat.h"

namespace keepbeat {

struct error : std::runtime_error {
  int code;
  explicit error(int code) : std::runtime_error(kb_last_error()), code(code) {}
};

inline void check(int code) {
  if (code != KB_OK) throw error(code);
}

template <auto Free>
struct freed {
  template <class T>
  void operator()(T *handle) const { Free(handle); }
};
using event = std::unique_ptr<kb_event, freed<kb_event_free>>;
using link = std::unique_ptr<kb_link, freed<kb_link_free>>;

// A struct of the library with its size set and defaults for the rest.
template <class T>
T sized() {
  T made{};
  made.size = sizeof made;
  return made;
}

class coordinator {
  std::unique_ptr<kb_coordinator, freed<kb_free>> handle;

 public:
  coordinator() {
    kb_coordinator *made;
    check(kb_new(0, &made));
    handle.reset(made);
  }
  kb_coordinator *get() const { return handle.get(); }
  int fd() const { return kb_event_fd(get()); }
  void stop(int timeout_ms = -1) { check(kb_stop(get(), timeout_ms)); }

  link watch(const std::string &target, const kb_heartbeat &beat, void *user = nullptr) {
    kb_link *made;
    check(kb_watch(get(), target.c_str(), nullptr, &beat, nullptr, 0, nullptr, 0, user, &made));
    return link(made);
  }
  // The next event; empty if none waits, or none will come.
  event next() {
    kb_event *taken;
    int code = kb_next_event(get(), &taken);
    if (code != KB_OK && code != KB_EBUSY && code != KB_EEND) throw error(code);
    return event(taken);
  }
};

}  // namespace keepbeat
