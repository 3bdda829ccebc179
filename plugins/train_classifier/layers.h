#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace train_classifier {

/// One layer as the pipeline writes it: `conv channels=16 kernel=3 stride=2`.
struct Layer {
  enum class Kind { conv, batch_norm, relu, residual, max_pool };
  Kind kind = Kind::conv;
  std::int64_t channels = 0;  ///< of conv and residual
  std::int64_t kernel = 3;    ///< odd; of conv
  std::int64_t stride = 1;    ///< of conv and residual
  std::int64_t size = 2;      ///< of max_pool
};

/// Throws `Error` that says what a layer may be.
Layer parse_layer(const std::string& text);

}  // namespace train_classifier
