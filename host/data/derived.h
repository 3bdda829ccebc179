#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/data/host_dataset.h"

namespace microtome::host {

/// The samples whose fields have these values; a label may be meant by its class's name.
std::shared_ptr<HostDataset> where(const std::string& name, std::shared_ptr<const HostDataset> from,
                                   const Value& conditions);

/// A part of a random split: `{train: 0.8, by: label, seed: 1}` is the first 0.8 of each class,
/// `{test: 0.2, ...}` the last 0.2; the same seed gives parts that do not overlap when the
/// fractions add up to at most 1.
std::shared_ptr<HostDataset> split(const std::string& name, std::shared_ptr<const HostDataset> from,
                                   const Value& how);

/// `times` random sets of `count` samples, each without repetition; the field `draw` numbers them.
std::shared_ptr<HostDataset> draw(const std::string& name, std::shared_ptr<const HostDataset> from,
                                  std::int64_t count, std::int64_t times, std::uint64_t seed);

/// Samples of several datasets side by side, paired by id; fields are `part.field`. Ids that are
/// not in all are left out.
std::shared_ptr<HostDataset> zip(
    const std::string& name,
    std::vector<std::pair<std::string, std::shared_ptr<const HostDataset>>> parts);

}  // namespace microtome::host
