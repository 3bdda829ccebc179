#include "factors.h"

namespace shapes {

const std::array<Factor, 6>& factors() {
  static const std::array<Factor, 6> all = {
      Factor{"shape", {"disc", "square", "triangle", "cross"}},
      Factor{"texture", {"plain", "striped", "dotted", "checked"}},
      Factor{"colour", {"red", "green", "blue", "yellow"}},
      Factor{"size", {"small", "large"}},
      Factor{"place", {"top_left", "top_right", "bottom_left", "bottom_right", "middle"}},
      Factor{"background", {"dark", "light", "noise"}},
  };
  return all;
}

}  // namespace shapes
