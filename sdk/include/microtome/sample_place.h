#pragma once

#include <cstdint>
#include <string>

#include "microtome/tensor.h"

namespace [[gnu::visibility("default")]] microtome {

/// Where the samples are in a tensor inside a network. Networks put them elsewhere than first
/// (positions x samples around an LSTM) or merge them with positions, heads or windows into one
/// dimension; whoever works sample by sample gets values with samples first instead.
///
/// The tensor's size along `dimension` is outer x samples x inner. [value type; any thread]
struct SamplePlace {
  std::int64_t dimension = 0;
  std::int64_t outer = 1;  ///< entries around the samples: positions x samples in one dimension
  std::int64_t inner = 1;  ///< entries of each sample: samples x heads in one dimension

  bool operator==(const SamplePlace&) const = default;
  /// Whether the tensor has its samples first as it is.
  bool is_first() const { return dimension == 0 && outer == 1 && inner == 1; }
  /// The tensor with samples first: N x the other dimensions in their order, where what was merged
  /// with the samples stands as dimensions of its own (`outer`, then `inner`, where they are not
  /// 1). Shares memory where it can; gradients pass. `samples`: N. Throws `Error` when the size
  /// along `dimension` doesn't fit.
  at::Tensor samples_first(const at::Tensor& value, std::int64_t samples) const;
  /// The way back; `value` has samples first.
  at::Tensor in_network(const at::Tensor& value) const;
};

}  // namespace microtome
