#include "host/store/unsigned_integers.h"

#include "microtome/error.h"

namespace microtome::host {

at::ScalarType held_in(UnsignedType type) {
  switch (type) {
    case UnsignedType::bits16:
      return at::kShort;
    case UnsignedType::bits32:
      return at::kInt;
    case UnsignedType::bits64:
      break;
  }
  return at::kLong;
}

at::Tensor widened(const at::Tensor& held, UnsignedType type) {
  switch (type) {
    case UnsignedType::bits16:
      return held.to(at::kInt).bitwise_and(0xFFFF);
    case UnsignedType::bits32:
      return held.to(at::kLong).bitwise_and(std::int64_t{0xFFFFFFFF});
    case UnsignedType::bits64:
      break;
  }
  if (held.numel() > 0 && held.min().item<std::int64_t>() < 0)
    throw Error("a value of uint64 is 2^63 or more, which int64 does not have");
  return held;
}

}  // namespace microtome::host
