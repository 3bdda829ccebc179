#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/pipeline/pipeline.h"

namespace microtome::host {

/// What to do so that a dataset's images of shape `given` become `wanted`, both C x H x W, for the
/// message that they do not fit: the transform, where the images come from files.
std::string fitting_transform(const Pipeline& pipeline, const std::string& dataset,
                              const std::vector<std::int64_t>& wanted,
                              const std::vector<std::int64_t>& given);

}  // namespace microtome::host
