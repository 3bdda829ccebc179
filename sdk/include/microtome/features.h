#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "microtome/artifact.h"
#include "microtome/stage.h"

namespace [[gnu::visibility("default")]] microtome {

/// A tensor of an activations artifact as rows of features, read from disk in parts.
///
/// N x D has a row a sample; N x P x D a row for each of P positions or tokens of a sample. Where
/// the activations say that features are elsewhere (N x D x P, behind a 1-d convolution), they are
/// taken from there.
class FeatureRows {
 public:
  /// `layer`: which tensor; empty means the only one. Throws `Error` naming those that exist, or
  /// when the rank is another.
  FeatureRows(const ArtifactReader& activations, const std::string& layer);

  std::int64_t samples() const;
  std::int64_t positions() const;
  std::int64_t rows() const { return samples() * positions(); }
  std::int64_t features() const;
  const std::string& layer() const;
  /// Rows of the samples [begin, end), [(end - begin) * positions, D] float64. Throws `Error` that
  /// names a sample with a NaN or an infinite value.
  at::Tensor read(std::int64_t begin, std::int64_t end) const;
  /// How many samples make a part of about `bytes`; at least 1.
  std::int64_t samples_in(double bytes) const;

  /// The name that `layer` means among these; throws `Error` naming those that exist.
  static std::string choose(const std::vector<TensorInfo>& tensors, const std::string& layer);
  /// How many features the activations planned at `port` will have, -1 when that is not known; a
  /// layer that will not be there is a problem of the plan.
  static std::int64_t planned(const PlanInputs& inputs, const std::string& port,
                              const std::string& layer);

 private:
  struct Parts;
  std::shared_ptr<const Parts> parts_;
};

}  // namespace microtome
