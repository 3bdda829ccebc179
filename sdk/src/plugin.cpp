#include "microtome/plugin.h"

#include <cstdio>

namespace microtome::detail {

int add_stages(const StageRegistration* stages, std::size_t count, Registry& registry, char* error,
               std::size_t error_size) noexcept {
  try {
    for (std::size_t i = 0; i < count; ++i) registry.add(stages[i].make(stages[i].type));
    return 0;
  } catch (const std::exception& thrown) {
    std::snprintf(error, error_size, "%s", thrown.what());
  } catch (...) {
    std::snprintf(error, error_size, "an exception that is no std::exception");
  }
  return 1;
}

}  // namespace microtome::detail
