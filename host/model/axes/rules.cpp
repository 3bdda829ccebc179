#include "host/model/axes/rules.h"

#include <algorithm>
#include <set>
#include <string>
#include <unordered_map>

namespace microtome::host::axes {
namespace {

using Sizes = std::vector<std::int64_t>;
using Made = std::optional<Dimensions>;
using Rule = Made (*)(const Call&, const Sizes&);

std::string operation(const Call& call) {
  const std::string& name = call.node.info.operation;
  return name.starts_with("aten::") ? name.substr(6) : name;
}

std::size_t wrapped(std::int64_t dimension, std::size_t rank) {
  return static_cast<std::size_t>(dimension < 0 ? dimension + static_cast<std::int64_t>(rank)
                                                : dimension);
}

const std::vector<std::string>& places(std::size_t count) {
  static const std::vector<std::vector<std::string>> names = {
      {}, {"x"}, {"y", "x"}, {"z", "y", "x"}};
  return names.at(std::min<std::size_t>(count, 3));
}

/// Over how many dimensions a convolution, pooling or enlargement goes; 0 for other operators.
std::size_t window_rank(const Call& call) {
  const std::string name = operation(call);
  static const std::set<std::string> of_places = {"conv1d",
                                                  "conv2d",
                                                  "conv3d",
                                                  "conv_transpose1d",
                                                  "conv_transpose2d",
                                                  "conv_transpose3d",
                                                  "max_pool1d",
                                                  "max_pool2d",
                                                  "max_pool3d",
                                                  "avg_pool1d",
                                                  "avg_pool2d",
                                                  "avg_pool3d",
                                                  "adaptive_avg_pool1d",
                                                  "adaptive_avg_pool2d",
                                                  "adaptive_avg_pool3d",
                                                  "adaptive_max_pool1d",
                                                  "adaptive_max_pool2d",
                                                  "adaptive_max_pool3d",
                                                  "max_pool1d_with_indices",
                                                  "max_pool2d_with_indices",
                                                  "max_pool3d_with_indices",
                                                  "lp_pool2d",
                                                  "upsample_nearest1d",
                                                  "upsample_nearest2d",
                                                  "upsample_nearest3d",
                                                  "upsample_linear1d",
                                                  "upsample_bilinear2d",
                                                  "upsample_bicubic2d",
                                                  "upsample_trilinear3d",
                                                  "pixel_shuffle",
                                                  "pixel_unshuffle",
                                                  "grid_sampler_2d",
                                                  "grid_sampler_3d",
                                                  "reflection_pad1d",
                                                  "reflection_pad2d",
                                                  "replication_pad1d",
                                                  "replication_pad2d",
                                                  "replication_pad3d",
                                                  "conv_depthwise2d"};
  if (name == "_convolution" || name == "convolution") {
    const Sizes weight = call.constant_sizes(1);
    if (weight.size() > 2) return weight.size() - 2;
    const Dimensions* input = call.argument(0);
    return input != nullptr && input->size() > 2 ? input->size() - 2 : 0;
  }
  if (name.starts_with("pixel_")) return 2;
  if (!of_places.contains(name)) return 0;
  for (const char digit : {'1', '2', '3'}) {
    if (name.find(std::string{digit, 'd'}) != std::string::npos)
      return static_cast<std::size_t>(digit - '0');
  }
  return 0;
}

bool is_convolution(const std::string& name) {
  return name.starts_with("conv") || name == "_convolution";
}

Made resized_like(const Dimensions* input, const Sizes& sizes) {
  if (input == nullptr || input->size() != sizes.size()) return std::nullopt;
  Dimensions made;
  for (std::size_t d = 0; d < sizes.size(); ++d) made.push_back(resized((*input)[d], sizes[d]));
  return made;
}

Made same(const Call& call, const Sizes& sizes) { return resized_like(call.argument(0), sizes); }

/// What a window of this rank goes over, whatever it was taken for before; returns whether that is
/// news. Along one dimension positions stay tokens.
bool read_as(Dimension& dimension, std::size_t rank, std::size_t i) {
  const std::string name = name_of(dimension), &place = places(rank)[i];
  if (holds_samples(dimension) || name == place) return false;
  if (rank == 1 ? !name.empty() : name == "z" || name == "y" || name == "x") return false;
  dimension = {{place, size_of(dimension)}};
  return true;
}

/// Convolutions, pooling, enlargements: the dimensions that they go over are places, the one before
/// holds channels.
Made windowed(const Call& call, const Sizes& sizes) {
  const std::size_t rank = window_rank(call);
  const Dimensions* input = call.argument(0);
  if (rank == 0 || sizes.size() < rank + 1) return std::nullopt;
  Made made = resized_like(input, sizes);
  if (!made) return std::nullopt;
  const std::size_t channels = sizes.size() - rank - 1;
  for (std::size_t i = 0; i < rank; ++i) read_as((*made)[channels + 1 + i], rank, i);
  Dimension& dimension = (*made)[channels];
  if (is_convolution(operation(call))) dimension = {{"c", sizes[channels]}};
  if (name_of(dimension).empty()) name_unknown(dimension, "c");
  return made;
}

/// A matrix applied along the last dimension.
Made linear(const Call& call, const Sizes& sizes) {
  const Dimensions* input = call.argument(0);
  if (input == nullptr || input->size() != sizes.size() || sizes.empty()) return std::nullopt;
  Dimensions made(input->begin(), input->end() - 1);
  // Where the channels are elsewhere, it mixes positions (MLP-Mixer).
  const bool elsewhere = std::any_of(made.begin(), made.end(), [](const Dimension& dimension) {
    return name_of(dimension) == "c";
  });
  const std::string from = name_of(input->back());
  made.push_back({{elsewhere ? (from.empty() || from == "c" ? "" : "token") : "c", sizes.back()}});
  return made;
}

bool is_position(const Dimension& dimension) {
  const std::string name = name_of(dimension);
  return name.empty() || name == "token" || name == "x";
}

/// Queries as the positions that they are of: those of the values, where these are as many.
Dimension positions_like(const Dimension& query, const Dimension& values) {
  const std::string name = name_of(values);
  if (size_of(values) == size_of(query) && !holds_samples(values) && is_position(values) &&
      !name.empty())
    return values;
  return {{"token", size_of(query)}};
}

/// Rows of `left` against columns of `right`, both computed from the samples.
Made product(const Dimensions& left, const Dimensions& right, const Sizes& sizes) {
  if (left.size() < 2 || right.size() < 2 || sizes.size() < 2) return std::nullopt;
  const Dimensions& longer = left.size() >= right.size() ? left : right;
  if (longer.size() != sizes.size()) return std::nullopt;
  Dimensions made;
  for (std::size_t d = 0; d + 2 < sizes.size(); ++d) made.push_back(resized(longer[d], sizes[d]));
  Dimension row = left[left.size() - 2], column = right.back();
  const std::string summed = name_of(left.back()), other = name_of(right[right.size() - 2]);
  const bool over_channels = (summed == "c" || other == "c") && summed != "key";
  if (over_channels && is_position(row) && is_position(column)) {
    row = {{"query", size_of(row)}};
    column = {{"key", size_of(column)}};
  } else if (name_of(row) == "query" && summed == "key") {
    row = positions_like(row, right[right.size() - 2]);
    if (name_of(column).empty()) column = {{"c", size_of(column)}};
  } else if (name_of(column) == "query" && other == "key") {
    column = positions_like(column, left.back());
  }
  made.push_back(resized(row, sizes[sizes.size() - 2]));
  made.push_back(resized(column, sizes.back()));
  return made;
}

Made matmul(const Call& call, const Sizes& sizes) {
  if (call.is_constant(1)) return linear(call, sizes);
  const Dimensions *left = call.argument(0), *right = call.argument(1);
  if (call.is_constant(0) && right != nullptr && right->size() == sizes.size()) {
    Made made = resized_like(right, sizes);
    if (sizes.size() >= 2) (*made)[sizes.size() - 2] = {{"", sizes[sizes.size() - 2]}};
    return made;
  }
  if (left == nullptr || right == nullptr) return std::nullopt;
  return product(*left, *right, sizes);
}

Made add_product(const Call& call, const Sizes& sizes) {
  const Dimensions *left = call.argument(1), *right = call.argument(2);
  if (call.is_constant(2)) {
    if (left == nullptr || left->size() != sizes.size()) return std::nullopt;
    Dimensions made(left->begin(), left->end() - 1);
    made.push_back({{"c", sizes.back()}});
    return made;
  }
  if (left == nullptr || right == nullptr) return std::nullopt;
  return product(*left, *right, sizes);
}

/// Letters of the equation; each output letter is what the first operand with it has.
Made einsum(const Call& call, const Sizes& sizes) {
  if (!call.is_constant(0) || !call.program.constant(call.node.inputs[0]).isString())
    return std::nullopt;
  std::string equation = call.program.constant(call.node.inputs[0]).toStringRef();
  std::erase(equation, ' ');
  const auto arrow = equation.find("->");
  if (arrow == std::string::npos || equation.find('.') != std::string::npos) return std::nullopt;
  std::vector<std::string> operands(1);
  for (const char letter : equation.substr(0, arrow)) {
    if (letter == ',') {
      operands.emplace_back();
    } else {
      operands.back() += letter;
    }
  }
  const std::string output = equation.substr(arrow + 2);
  if (output.size() != sizes.size()) return std::nullopt;
  // The operands are a list; its parts are the arguments of the node that made it.
  std::vector<ValueId> parts;
  for (const Node& node : call.program.body.nodes) {
    if (call.node.inputs.size() > 1 && node.outputs.size() == 1 &&
        node.outputs[0] == call.node.inputs[1])
      parts = node.inputs;
  }
  if (parts.size() != operands.size()) return std::nullopt;
  Dimensions made;
  for (std::size_t d = 0; d < output.size(); ++d) {
    Dimension dimension{{"", sizes[d]}};
    for (std::size_t k = 0; k < operands.size(); ++k) {
      const auto at = operands[k].find(output[d]);
      const Dimensions* from = call.of(parts[k]);
      if (at == std::string::npos || from == nullptr || at >= from->size()) continue;
      dimension = resized((*from)[at], sizes[d]);
      break;
    }
    made.push_back(std::move(dimension));
  }
  // Positions against positions over channels are queries against keys.
  const auto is_token = [](const Dimension& dimension) { return name_of(dimension) == "token"; };
  if (operands.size() == 2 && std::count_if(made.begin(), made.end(), is_token) == 2) {
    const char* name = "query";
    for (Dimension& dimension : made) {
      if (!is_token(dimension)) continue;
      dimension = {{name, size_of(dimension)}};
      name = "key";
    }
  }
  return made;
}

Made embedding(const Call& call, const Sizes& sizes) {
  const Dimensions* indices = call.argument(1);
  if (indices == nullptr || indices->size() + 1 != sizes.size()) return std::nullopt;
  Dimensions made = *indices;
  for (Dimension& dimension : made) {
    if (name_of(dimension).empty()) name_unknown(dimension, "token");
  }
  made.push_back({{"c", sizes.back()}});
  return made;
}

/// The longest argument's dimensions, with what the others know.
Made broadcast(const Call& call, const Sizes& sizes) {
  Made made;
  for (std::size_t i = 0; i < call.node.inputs.size(); ++i) {
    const Dimensions* argument = call.argument(i);
    if (argument == nullptr || argument->size() > sizes.size() || argument->empty()) continue;
    if (!made) {
      made.emplace();
      for (const std::int64_t size : sizes) made->push_back({{"", size}});
    }
    const std::size_t missing = sizes.size() - argument->size();
    for (std::size_t d = 0; d < argument->size(); ++d) {
      const Dimension& from = (*argument)[d];
      Dimension& to = (*made)[missing + d];
      const bool better = holds_samples(from) && !holds_samples(to);
      if (size_of(from) == size_of(to) && (better || (name_of(to).empty() && !holds_samples(to)) ||
                                           (name_of(to).empty() && !name_of(from).empty())))
        to = from;
    }
  }
  return made;
}

Made permuted(const Call& call, const Sizes& sizes) {
  const Dimensions* input = call.argument(0);
  if (input == nullptr || input->size() != sizes.size()) return std::nullopt;
  const std::string name = operation(call);
  const std::size_t rank = input->size();
  Dimensions made = *input;
  if (name == "permute") {
    const auto order = call.integers(1);
    if (!order || order->size() != rank) return std::nullopt;
    for (std::size_t d = 0; d < rank; ++d) made[d] = (*input)[wrapped((*order)[d], rank)];
  } else if (name == "t" || name == "numpy_T") {
    std::reverse(made.begin(), made.end());
  } else if (name == "movedim" || name == "moveaxis") {
    const auto from = call.integers(1), to = call.integers(2);
    if (!from || !to || from->size() != 1) return std::nullopt;
    const Dimension moved = made[wrapped((*from)[0], rank)];
    made.erase(made.begin() + static_cast<std::ptrdiff_t>(wrapped((*from)[0], rank)));
    made.insert(made.begin() + static_cast<std::ptrdiff_t>(wrapped((*to)[0], rank)), moved);
  } else {
    const auto first = call.integer(1), second = call.integer(2);
    if (!first || !second || rank == 0) return std::nullopt;
    std::swap(made[wrapped(*first, rank)], made[wrapped(*second, rank)]);
  }
  return made;
}

Made reshaped(const Call& call, const Sizes& sizes) {
  const Dimensions* input = call.argument(0);
  return input == nullptr ? std::nullopt : regrouped(*input, sizes);
}

Made unsqueezed(const Call& call, const Sizes& sizes) {
  const Dimensions* input = call.argument(0);
  const auto at = call.integer(1);
  if (input == nullptr || !at || input->size() + 1 != sizes.size()) return std::nullopt;
  Dimensions made = *input;
  made.insert(made.begin() + static_cast<std::ptrdiff_t>(wrapped(*at, sizes.size())),
              Dimension{{"", 1}});
  return made;
}

/// Takes away dimensions that the call names (`select`, `unbind`, sums), or leaves them with one
/// entry.
Made reduced(const Call& call, const Sizes& sizes) {
  const Dimensions* input = call.argument(0);
  if (input == nullptr) return std::nullopt;
  if (input->size() == sizes.size()) return resized_like(input, sizes);
  std::vector<std::int64_t> gone;
  if (const auto list = call.integers(1)) gone = *list;
  if (gone.empty()) {
    if (const auto one = call.integer(1)) gone = {*one};
  }
  if (operation(call) == "norm" || operation(call) == "linalg_vector_norm") {
    const auto list = call.integers(2);
    if (!list) return std::nullopt;
    gone = *list;
  }
  Dimensions made;
  for (std::size_t d = 0; d < input->size(); ++d) {
    const bool is_gone = std::any_of(gone.begin(), gone.end(), [&](std::int64_t dimension) {
      return wrapped(dimension, input->size()) == d;
    });
    if (!is_gone) made.push_back((*input)[d]);
  }
  if (made.size() != sizes.size()) return std::nullopt;
  return resized_like(&made, sizes);
}

Made squeezed(const Call& call, const Sizes& sizes) {
  const Dimensions* input = call.argument(0);
  if (input == nullptr) return std::nullopt;
  if (call.node.inputs.size() > 1) return reduced(call, sizes);
  Dimensions made;
  for (const Dimension& dimension : *input) {
    if (size_of(dimension) != 1) made.push_back(dimension);
  }
  return resized_like(&made, sizes);
}

/// Over what a list holds: all of one kind, so the first that is known says it.
Made joined(const Call& call, const Sizes& sizes) {
  if (call.node.inputs.empty()) return std::nullopt;
  for (const Node& node : call.program.body.nodes) {
    if (node.outputs.size() != 1 || node.outputs[0] != call.node.inputs[0]) continue;
    for (const ValueId part : node.inputs) {
      const Dimensions* dimensions = call.of(part);
      if (dimensions == nullptr || dimensions->size() != sizes.size()) continue;
      const bool is_known =
          std::any_of(dimensions->begin(), dimensions->end(),
                      [](const Dimension& dimension) { return !name_of(dimension).empty(); });
      if (is_known) return resized_like(dimensions, sizes);
    }
  }
  return std::nullopt;
}

/// The dimensions of the sequence, and the units.
Made recurrent(const Call& call, const Sizes& sizes) {
  const Dimensions* input = call.argument(0);
  if (input == nullptr || input->size() != sizes.size() || sizes.empty()) return std::nullopt;
  Made made = resized_like(input, sizes);
  made->back() = {{"c", sizes.back()}};
  for (Dimension& dimension : *made) {
    if (name_of(dimension).empty() && !holds_samples(dimension)) name_unknown(dimension, "token");
  }
  return made;
}

/// Queries look at keys and take values.
Made attention(const Call& call, const Sizes& sizes) {
  Made made = resized_like(call.argument(0), sizes);
  if (made) made->back() = {{"c", sizes.back()}};
  return made;
}

Made normalised(const Call& call, const Sizes& sizes) {
  Made made = same(call, sizes);
  if (made && made->size() > 1 && name_of((*made)[1]).empty()) name_unknown((*made)[1], "c");
  return made;
}

const std::unordered_map<std::string, Rule>& rules() {
  static const std::unordered_map<std::string, Rule> known = [] {
    std::unordered_map<std::string, Rule> table;
    const auto on = [&](Rule rule, std::initializer_list<const char*> names) {
      for (const char* name : names) table.emplace(name, rule);
    };
    on(linear, {"linear"});
    on(matmul, {"matmul", "bmm", "mm"});
    on(add_product, {"addmm", "baddbmm", "addbmm"});
    on(einsum, {"einsum"});
    on(embedding, {"embedding"});
    on(permuted,
       {"permute", "transpose", "t", "numpy_T", "movedim", "moveaxis", "swapaxes", "swapdims"});
    on(reshaped,
       {"view", "reshape", "flatten", "unflatten", "_unsafe_view", "view_as", "reshape_as"});
    on(unsqueezed, {"unsqueeze"});
    on(reduced,
       {"select", "unbind", "mean", "sum", "amax", "amin", "max", "min", "argmax", "argmin", "prod",
        "logsumexp", "var", "std", "norm", "linalg_vector_norm", "all", "any"});
    on(squeezed, {"squeeze"});
    on(joined, {"cat", "concat"});
    on(recurrent, {"lstm", "gru", "rnn_tanh", "rnn_relu"});
    on(attention, {"scaled_dot_product_attention"});
    on(normalised,
       {"batch_norm", "instance_norm", "group_norm", "native_batch_norm", "native_group_norm"});
    on(same, {"slice", "narrow", "index_select", "constant_pad_nd", "pad", "split", "chunk",
              "split_with_sizes", "roll", "flip", "layer_norm", "native_layer_norm", "softmax",
              "log_softmax", "prelu", "glu"});
    return table;
  }();
  return known;
}

/// Operators that keep every dimension as it is, for the way back.
bool keeps_dimensions(const Call& call) {
  static const std::set<std::string> others = {
      "slice",   "narrow",      "pad",        "constant_pad_nd", "roll",
      "flip",    "layer_norm",  "batch_norm", "instance_norm",   "group_norm",
      "softmax", "log_softmax", "prelu"};
  const std::string name = operation(call);
  return call.node.kind == Node::Kind::identity || others.contains(name) ||
         (window_rank(call) > 0 && !is_convolution(name)) || !rules().contains(name);
}

bool name_dimension(Dimensions* dimensions, std::size_t d, const std::string& name) {
  if (dimensions == nullptr || d >= dimensions->size()) return false;
  Dimension& dimension = (*dimensions)[d];
  const bool only_samples = dimension.size() == 1 && dimension[0].name == samples;
  return !only_samples && name_of(dimension).empty() && name_unknown(dimension, name);
}

}  // namespace

const Dimensions* Call::argument(std::size_t i) const {
  return i < node.inputs.size() ? of(node.inputs[i]) : nullptr;
}

std::optional<std::int64_t> Call::integer(std::size_t i) const {
  if (!is_constant(i) || !program.constant(node.inputs[i]).isInt()) return std::nullopt;
  return program.constant(node.inputs[i]).toInt();
}

std::optional<std::vector<std::int64_t>> Call::integers(std::size_t i) const {
  if (!is_constant(i) || !program.constant(node.inputs[i]).isIntList()) return std::nullopt;
  return program.constant(node.inputs[i]).toIntVector();
}

std::vector<std::int64_t> Call::constant_sizes(std::size_t i) const {
  if (!is_constant(i) || !program.constant(node.inputs[i]).isTensor()) return {};
  const at::Tensor tensor = program.constant(node.inputs[i]).toTensor();
  return tensor.defined() ? tensor.sizes().vec() : std::vector<std::int64_t>();
}

Made made_by(const Call& call, const Sizes& sizes) {
  if (call.node.kind == Node::Kind::identity) return same(call, sizes);
  if (window_rank(call) > 0) return windowed(call, sizes);
  const auto rule = rules().find(operation(call));
  if (rule != rules().end()) return rule->second(call, sizes);
  return broadcast(call, sizes);
}

bool name_read(const Call& call) {
  if (call.node.inputs.empty()) return false;
  Dimensions* const input = call.of(call.node.inputs[0]);
  const std::string name = operation(call);
  if (name == "embedding" && call.node.inputs.size() > 1) {
    Dimensions* const indices = call.of(call.node.inputs[1]);
    bool changed = false;
    for (std::size_t d = 0; indices != nullptr && d < indices->size(); ++d)
      changed = name_dimension(indices, d, "token") || changed;
    return changed;
  }
  if (input == nullptr) return false;
  const std::size_t rank = window_rank(call);
  bool changed = false;
  if (rank > 0 && input->size() > rank) {
    const std::size_t channels = input->size() - rank - 1;
    for (std::size_t i = 0; i < rank; ++i)
      changed = read_as((*input)[channels + 1 + i], rank, i) || changed;
    // Groups of channels that were shuffled are channels.
    Dimension& dimension = (*input)[channels];
    if (!name_of(dimension).empty() || holds_samples(dimension)) return changed;
    dimension = {{"c", size_of(dimension)}};
    return true;
  }
  static const std::set<std::string> channels_second = {"batch_norm", "instance_norm",
                                                        "group_norm"};
  if (channels_second.contains(name)) return name_dimension(input, 1, "c");
  static const std::set<std::string> channels_last = {"linear", "layer_norm", "lstm",
                                                      "gru",    "rnn_tanh",   "rnn_relu"};
  if (channels_last.contains(name) || (name == "matmul" && call.is_constant(1))) {
    const bool elsewhere =
        std::any_of(input->begin(), input->end(),
                    [](const Dimension& dimension) { return name_of(dimension) == "c"; });
    return !elsewhere && !input->empty() && name_dimension(input, input->size() - 1, "c");
  }
  return false;
}

bool name_back(const Call& call) {
  bool changed = false;
  for (const ValueId output : call.node.outputs) {
    const Dimensions* made = call.of(output);
    if (made == nullptr) continue;
    const std::string name = operation(call);
    if (name == "permute" || name == "transpose") {
      Dimensions* const input = call.of(call.node.inputs[0]);
      if (input == nullptr || input->size() != made->size()) continue;
      // Where each dimension of the input went.
      Dimensions places;
      for (std::size_t d = 0; d < input->size(); ++d)
        places.push_back({{std::to_string(d), size_of((*input)[d])}});
      Call probe = call;
      const ValueId source = call.node.inputs[0];
      probe.of = [&, inner = call.of](ValueId id) { return id == source ? &places : inner(id); };
      Sizes sizes;
      for (const Dimension& dimension : *made) sizes.push_back(size_of(dimension));
      const Made moved = permuted(probe, sizes);
      for (std::size_t d = 0; moved && d < moved->size(); ++d) {
        const std::string known = name_of((*made)[d]);
        if (!known.empty())
          changed = name_dimension(input, std::stoul((*moved)[d][0].name), known) || changed;
      }
      continue;
    }
    if (!keeps_dimensions(call)) continue;
    for (const ValueId argument : call.node.inputs) {
      Dimensions* const input = call.of(argument);
      if (input == nullptr || input->size() != made->size()) continue;
      for (std::size_t d = 0; d < made->size(); ++d) {
        const std::string known = name_of((*made)[d]);
        const bool alike = size_of((*input)[d]) == size_of((*made)[d]) || window_rank(call) > 0 ||
                           rules().contains(name);
        if (!known.empty() && alike) changed = name_dimension(input, d, known) || changed;
      }
    }
  }
  return changed;
}

bool makes_parts(const Node& node) {
  static const std::set<std::string> operators = {"aten::chunk", "aten::split",
                                                  "aten::split_with_sizes"};
  return operators.contains(node.info.operation);
}

bool unpacks(const Node& node) { return node.info.operation == "prim::ListUnpack"; }

}  // namespace microtome::host::axes
