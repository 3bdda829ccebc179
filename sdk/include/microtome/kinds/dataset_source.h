#pragma once

#include <memory>
#include <string_view>

#include "microtome/stage_spec.h"

namespace [[gnu::visibility("default")]] microtome {

/// A source of samples that a plugin brings. Its type is named under `datasets:` as `source`; its
/// parameters stand beside it. It is no step of a pipeline: what it gives depends on its parameters
/// alone.
class DatasetSource : public Stage {
 public:
  static constexpr const char* capability_id = "microtome.dataset_source/1";

  /// Opens it; cheap, as it is called when a pipeline is checked. What `load` returns must be a
  /// function of the parameters and the positions.
  virtual std::shared_ptr<const Dataset> open() const = 0;

  void plan(const PlanInputs& inputs, Plan& plan) const final;
  void* capability(std::string_view id) override;
};

}  // namespace microtome
