// Watches as watch.c does, with the wrapper of keepbeat.hpp: nothing is freed by hand.
//
//     ./raii redis://10.0.0.5:6379
#include <poll.h>

#include <iostream>

#include "keepbeat.hpp"

int main(int count, char **args) try {
  if (count != 2) throw std::invalid_argument("which target? for example tcp://10.0.0.5:7000");
  keepbeat::coordinator coordinator;
  auto beat = keepbeat::sized<kb_heartbeat>();
  beat.interval_ms = 1000;
  auto link = coordinator.watch(args[1], beat);
  for (bool told = false; !told;) {
    pollfd wait{coordinator.fd(), POLLIN, 0};
    poll(&wait, 1, -1);
    while (auto event = coordinator.next()) {
      if (kb_event_kind(event.get()) != KB_STATE) continue;
      std::cout << kb_event_text(event.get()) << std::endl;
      told = true;
    }
  }
  coordinator.stop();
} catch (const std::exception &error) {
  std::cerr << error.what() << '\n';
  return 2;
}
