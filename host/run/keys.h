#pragma once

#include <string>
#include <vector>

#include "host/loader/catalog.h"
#include "host/pipeline/checker.h"
#include "host/store/content_index.h"

namespace microtome::host {

/// Hashes of what a run reads.
struct InputHashes {
  std::map<std::string, std::string> models, datasets;
};

InputHashes hash_inputs(const PlannedPipeline& planned, ContentIndex& index);

/// The key of each stage: its type and plugin, parameters, keys of inputs, the numerics
/// fingerprint, and the seed where its plan is random. Equal keys mean equal bytes.
std::vector<std::string> stage_keys(const PlannedPipeline& planned, Catalog& catalog,
                                    const InputHashes& hashes, const Value& fingerprint);

}  // namespace microtome::host
