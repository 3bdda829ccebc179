#include "host/model/input_use.h"

#include <algorithm>
#include <array>
#include <compare>
#include <deque>
#include <set>
#include <string_view>
#include <unordered_map>

namespace microtome::host {
namespace {

/// An operator that takes its argument in the type of another one.
struct Weighted {
  std::string_view operation;
  std::size_t argument, weight;
};
constexpr std::array weighted = {Weighted{"aten::linear", 0, 1},
                                 Weighted{"aten::conv1d", 0, 1},
                                 Weighted{"aten::conv2d", 0, 1},
                                 Weighted{"aten::conv3d", 0, 1},
                                 Weighted{"aten::_convolution", 0, 1},
                                 Weighted{"aten::convolution", 0, 1},
                                 Weighted{"aten::conv_transpose1d", 0, 1},
                                 Weighted{"aten::conv_transpose2d", 0, 1},
                                 Weighted{"aten::conv_transpose3d", 0, 1},
                                 Weighted{"aten::conv_tbc", 0, 1},
                                 Weighted{"aten::batch_norm", 0, 3},
                                 Weighted{"aten::instance_norm", 0, 1},
                                 Weighted{"aten::layer_norm", 0, 2},
                                 Weighted{"aten::native_layer_norm", 0, 2},
                                 Weighted{"aten::group_norm", 0, 2},
                                 Weighted{"aten::prelu", 0, 1},
                                 Weighted{"aten::matmul", 0, 1},
                                 Weighted{"aten::matmul", 1, 0},
                                 Weighted{"aten::mm", 0, 1},
                                 Weighted{"aten::mm", 1, 0},
                                 Weighted{"aten::bmm", 0, 1},
                                 Weighted{"aten::bmm", 1, 0},
                                 Weighted{"aten::mv", 0, 1},
                                 Weighted{"aten::mv", 1, 0},
                                 Weighted{"aten::addmm", 1, 2},
                                 Weighted{"aten::addmm", 2, 1},
                                 Weighted{"aten::baddbmm", 1, 2},
                                 Weighted{"aten::bilinear", 0, 2},
                                 Weighted{"aten::bilinear", 1, 2},
                                 Weighted{"aten::lstm", 0, 2},
                                 Weighted{"aten::gru", 0, 2},
                                 Weighted{"aten::rnn_tanh", 0, 2},
                                 Weighted{"aten::rnn_relu", 0, 2},
                                 Weighted{"aten::lstm_cell", 0, 2},
                                 Weighted{"aten::gru_cell", 0, 2}};

/// Arguments that are of one type whatever the network.
struct Typed {
  std::string_view operation;
  std::size_t argument;
  at::ScalarType type;
};
constexpr std::array typed = {
    Typed{"aten::embedding", 1, at::kLong},     Typed{"aten::embedding_bag", 1, at::kLong},
    Typed{"aten::embedding_bag", 2, at::kLong}, Typed{"aten::one_hot", 0, at::kLong},
    Typed{"aten::gather", 2, at::kLong},        Typed{"aten::scatter", 2, at::kLong},
    Typed{"aten::index_select", 2, at::kLong},  Typed{"aten::masked_fill", 1, at::kBool},
    Typed{"aten::masked_select", 1, at::kBool}, Typed{"aten::where", 0, at::kBool}};

/// Their result has another type, whatever that of their argument.
constexpr std::string_view casts[] = {
    "aten::to",       "aten::type_as",     "aten::float",     "aten::double", "aten::half",
    "aten::bfloat16", "aten::long",        "aten::int",       "aten::short",  "aten::byte",
    "aten::bool",     "aten::_cast_Float", "aten::_cast_Long"};

/// Nor does what comes after these say anything about their argument's type.
constexpr std::string_view blind[] = {
    "aten::size",      "aten::dim",         "aten::len",
    "aten::numel",     "aten::eq",          "aten::ne",
    "aten::lt",        "aten::le",          "aten::gt",
    "aten::ge",        "aten::isnan",       "aten::isinf",
    "aten::isfinite",  "aten::logical_not", "aten::logical_and",
    "aten::argmax",    "aten::argmin",      "aten::zeros_like",
    "aten::ones_like", "aten::rand_like",   "aten::new_zeros",
    "aten::new_ones",  "aten::new_full",    "prim::dtype",
    "prim::device",    "prim::layout",      "aten::is_floating_point",
    "aten::any",       "aten::all",         "aten::count_nonzero"};

/// Their result has the type that all their arguments together lead to.
constexpr std::string_view promoting[] = {
    "aten::add",     "aten::sub",     "aten::rsub",       "aten::mul",     "aten::div",
    "aten::where",   "aten::cat",     "aten::stack",      "aten::addcmul", "aten::pow",
    "aten::maximum", "aten::minimum", "aten::true_divide"};

/// Their result has the type of each of their arguments.
constexpr std::string_view products[] = {"aten::matmul",  "aten::mm",
                                         "aten::bmm",     "aten::addmm",
                                         "aten::baddbmm", "aten::scaled_dot_product_attention"};

template <std::size_t N>
bool contains(const std::string_view (&names)[N], std::string_view operation) {
  return std::find(std::begin(names), std::end(names), operation) != std::end(names);
}

/// Whether the result's type depends on that of this argument.
bool hands_on(std::string_view operation, std::size_t argument) {
  if (contains(blind, operation)) return false;
  // Lists and tuples are made of all their arguments.
  return argument == 0 || contains(promoting, operation) || contains(products, operation) ||
         operation.rfind("prim::", 0) == 0;
}

/// A value on the way from an input.
struct Step {
  ValueId value = 0;
  bool promoted = false;  ///< integers have become real numbers, where there are any
  bool cast = false;      ///< its type says nothing about the input's
  auto operator<=>(const Step&) const = default;
};

class Uses {
 public:
  explicit Uses(const Program& program) : program_(program) { collect(program.body); }

  InputUse of(ValueId input) {
    InputUse use;
    std::set<Step> seen;
    std::deque<Step> waiting{{input}};
    while (!waiting.empty()) {
      const Step step = waiting.front();
      waiting.pop_front();
      if (!seen.insert(step).second) continue;
      for (const ValueId name : also_[step.value])
        waiting.push_back({name, step.promoted, step.cast});
      for (const auto& [node, argument] : readers_[step.value]) {
        const std::string_view operation = node->info.operation;
        note_ids(*node, argument, use);
        if (const auto type = type_taken(*node, argument)) {
          if (!step.cast) take(*type, step.promoted, use);
        } else if (hands_on(operation, argument)) {
          Step next{0, step.promoted || contains(promoting, operation),
                    step.cast || contains(casts, operation)};
          for (const ValueId output : node->outputs) {
            next.value = output;
            waiting.push_back(next);
          }
        }
      }
    }
    return use;
  }

 private:
  /// The first reader counts, but one that takes integers too gives way to a stricter one.
  static void take(at::ScalarType type, bool promoted, InputUse& use) {
    const bool takes_integers = promoted && c10::isFloatingType(type);
    if (use.type && (!use.takes_integers || takes_integers)) return;
    use.type = type;
    use.takes_integers = takes_integers;
  }

  void collect(const Block& block) {
    for (const Node& node : block.nodes) {
      if (node.kind == Node::Kind::operation || node.kind == Node::Kind::identity) {
        for (std::size_t i = 0; i < node.inputs.size(); ++i)
          readers_[node.inputs[i]].emplace_back(&node, i);
        for (const ValueId output : node.outputs) makers_[output] = &node;
      }
      for (const Block& inner : node.blocks) collect(inner);
      join_blocks(node);
    }
  }

  /// Values that enter or leave a branch or loop under another name.
  void join_blocks(const Node& node) {
    const auto join = [&](ValueId from, ValueId to) {
      if (from >= 0) also_[from].push_back(to);
    };
    if (node.kind == Node::Kind::branch) {
      for (const Block& block : node.blocks) {
        for (std::size_t i = 0; i < node.outputs.size(); ++i)
          join(block.results[i], node.outputs[i]);
      }
    }
    if (node.kind != Node::Kind::loop) return;
    const Block& body = node.blocks[0];
    for (std::size_t i = 2; i < node.inputs.size(); ++i) {
      join(node.inputs[i], body.parameters[i - 1]);
      join(body.results[i - 1], node.outputs[i - 2]);
    }
  }

  /// The type in which the node takes its argument, whatever that is; nothing when it takes
  /// several.
  std::optional<at::ScalarType> type_taken(const Node& node, std::size_t argument) const {
    const std::string_view operation = node.info.operation;
    for (const Typed& entry : typed) {
      if (entry.operation == operation && entry.argument == argument) return entry.type;
    }
    for (const Weighted& entry : weighted) {
      if (entry.operation != operation || entry.argument != argument ||
          entry.weight >= node.inputs.size())
        continue;
      constexpr int farthest = 16;
      if (const auto type = real_type(node.inputs[entry.weight], farthest)) return type;
    }
    return std::nullopt;
  }

  /// Of the real constants that a value is made of alone; nothing when it depends on more.
  std::optional<at::ScalarType> real_type(ValueId value, int depth) const {
    if (value < 0) {
      const c10::IValue& constant = program_.constant(value);
      if (constant.isTensor() && constant.toTensor().defined() &&
          constant.toTensor().is_floating_point())
        return constant.toTensor().scalar_type();
      if (constant.isTensorList() && !constant.toTensorVector().empty())
        return constant.toTensorVector()[0].scalar_type();
      return std::nullopt;
    }
    const auto maker = makers_.find(value);
    if (maker == makers_.end() || depth == 0) return std::nullopt;
    std::optional<at::ScalarType> type;
    for (const ValueId argument : maker->second->inputs) {
      const auto found = real_type(argument, depth - 1);
      if (argument >= 0 && !found) return std::nullopt;
      if (found && !type) type = found;
    }
    return type;
  }

  void note_ids(const Node& node, std::size_t argument, InputUse& use) const {
    std::int64_t ids = 0;
    const std::string_view operation = node.info.operation;
    if ((operation == "aten::embedding" || operation == "aten::embedding_bag") && argument == 1 &&
        node.inputs[0] < 0) {
      const c10::IValue& weight = program_.constant(node.inputs[0]);
      if (weight.isTensor() && weight.toTensor().dim() == 2) ids = weight.toTensor().size(0);
    }
    if (operation == "aten::one_hot" && argument == 0 && node.inputs.size() > 1 &&
        node.inputs[1] < 0 && program_.constant(node.inputs[1]).isInt())
      ids = program_.constant(node.inputs[1]).toInt();
    if (ids > 0 && (use.ids == 0 || ids < use.ids)) use.ids = ids;
  }

  const Program& program_;
  std::unordered_map<ValueId, std::vector<std::pair<const Node*, std::size_t>>> readers_;
  std::unordered_map<ValueId, std::vector<ValueId>> also_;
  std::unordered_map<ValueId, const Node*> makers_;
};

}  // namespace

std::vector<InputUse> input_uses(const Program& program) {
  Uses uses(program);
  std::vector<InputUse> all;
  for (const ProgramPort& input : program.inputs) all.push_back(uses.of(input.value));
  return all;
}

}  // namespace microtome::host
