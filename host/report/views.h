#pragma once

#include <string>

#include "microtome/artifact.h"
#include "microtome/value.h"

namespace microtome::host::report {

/// One view of an artifact, as HTML. What can't be drawn is said in its place.
std::string draw_view(const Value& view, const ArtifactReader& artifact);

}  // namespace microtome::host::report
