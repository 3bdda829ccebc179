#include "microtome/artifact.h"

#include <unordered_map>

#include "microtome/error.h"

namespace microtome {

at::Tensor rows_of_samples(const ArtifactReader& artifact, const std::string& tensor,
                           const std::vector<std::string>& ids) {
  const std::vector<std::string> all = artifact.sample_ids();
  std::unordered_map<std::string_view, std::int64_t> places;
  places.reserve(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) places.emplace(all[i], static_cast<std::int64_t>(i));
  std::vector<std::int64_t> wanted;
  wanted.reserve(ids.size());
  for (const std::string& id : ids) {
    const auto found = places.find(id);
    if (found == places.end())
      throw Error("the artifact has no sample \"" + id + "\"; it was made of other data");
    wanted.push_back(found->second);
  }
  // Runs of rows that lie one after the other are read at once.
  std::vector<at::Tensor> parts;
  for (std::size_t first = 0; first < wanted.size();) {
    std::size_t last = first + 1;
    while (last < wanted.size() && wanted[last] == wanted[last - 1] + 1) ++last;
    parts.push_back(artifact.rows(tensor, wanted[first], wanted[last - 1] + 1));
    first = last;
  }
  return parts.empty() ? artifact.rows(tensor, 0, 0) : at::cat(parts);
}

}  // namespace microtome
