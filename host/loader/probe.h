#pragma once

#include <string>

#include "host/loader/catalog.h"

namespace microtome::host {

/// Loads a plugin in a process of its own and asks for its stage types. Returns why that fails,
/// also where the plugin ends or kills the process; empty when all is well. What the plugin prints
/// is thrown away. Forks: call it before the process has threads.
std::string why_broken(Catalog& catalog, const PluginFile& plugin);

}  // namespace microtome::host
