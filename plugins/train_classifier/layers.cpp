#include "layers.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "microtome/sdk.h"

namespace train_classifier {

using microtome::Error;

Layer parse_layer(const std::string& text) {
  struct Known {
    Layer::Kind kind;
    std::vector<std::string> keys;
  };
  static const std::map<std::string, Known> known = {
      {"conv", {Layer::Kind::conv, {"channels", "kernel", "stride"}}},
      {"batch_norm", {Layer::Kind::batch_norm, {}}},
      {"relu", {Layer::Kind::relu, {}}},
      {"residual", {Layer::Kind::residual, {"channels", "stride"}}},
      {"max_pool", {Layer::Kind::max_pool, {"size"}}}};
  std::istringstream stream(text);
  std::string word;
  stream >> word;
  const auto found = known.find(word);
  if (found == known.end()) {
    std::vector<std::string> names;
    names.reserve(known.size());
    for (const auto& entry : known) names.push_back(entry.first);
    throw Error("there is no layer \"" + word + "\"" + microtome::suggestion(word, names));
  }
  Layer layer;
  layer.kind = found->second.kind;
  while (stream >> word) {
    const std::size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const auto& keys = found->second.keys;
    if (equals == std::string::npos || std::find(keys.begin(), keys.end(), key) == keys.end())
      throw Error("\"" + text + "\": unknown \"" + word + "\"" + microtome::suggestion(key, keys));
    const std::string digits = word.substr(equals + 1);
    if (digits.empty() || digits.size() > 5 ||
        digits.find_first_not_of("0123456789") != std::string::npos || std::stoll(digits) < 1)
      throw Error("\"" + text + "\": " + key + " is a whole number from 1");
    const std::int64_t number = std::stoll(digits);
    if (key == "channels") layer.channels = number;
    if (key == "kernel") layer.kernel = number;
    if (key == "stride") layer.stride = number;
    if (key == "size") layer.size = number;
  }
  const bool has_channels = layer.kind == Layer::Kind::conv || layer.kind == Layer::Kind::residual;
  if (has_channels && layer.channels == 0)
    throw Error("\"" + text + "\": say how many channels, such as channels=16");
  if (layer.kernel % 2 == 0) throw Error("\"" + text + "\": the kernel's side is odd");
  return layer;
}

}  // namespace train_classifier
