#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "factors.h"
#include "microtome/sdk.h"

namespace shapes {

struct Params {
  std::int64_t samples = 1000;
  std::int64_t size = 48;
  std::int64_t seed = 0;
  std::vector<std::string> label = {"shape"};
  std::vector<std::string> follows;
  double agreement = 1;
  std::optional<std::string> changed;
};

/// Generated images whose concepts are known.
class Shapes final : public microtome::DatasetSource {
 public:
  using Params = shapes::Params;
  explicit Shapes(Params params);
  static void describe(microtome::StageSpec<Params>& spec);
  std::shared_ptr<const microtome::Dataset> open() const override;

 private:
  Params params_;
  std::vector<std::size_t> label_;
  /// Factors whose value follows the label's first factor.
  std::vector<std::size_t> follows_;
  std::optional<std::size_t> changed_;
};

}  // namespace shapes
