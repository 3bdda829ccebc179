#include "host/model/axes/value_axes.h"

#include <algorithm>

#include "host/model/axes/rules.h"

namespace microtome::host {
namespace {

using axes::Dimension;
using axes::Dimensions;
using axes::Part;

/// Names go forwards and backwards through a network a few times until nothing new is known.
constexpr int most_rounds = 6;

class Naming {
 public:
  Naming(const ProgramIndex& index, const BatchLayout& layout)
      : program_(index.program()),
        layout_(layout),
        known_(static_cast<std::size_t>(program_.value_count)) {
    for (ValueId id = 0; id < program_.value_count; ++id) start(id);
  }

  void declare(ValueId id, const Axes& names) {
    if (at(id) == nullptr) return;
    std::size_t next = 0;
    for (Dimension& dimension : *at(id)) {
      for (Part& part : dimension) {
        if (part.name != axes::samples && next < names.size()) part.name = names[next++];
      }
    }
  }

  void run() {
    spread();
    // What is left over of the inputs and then of all: the one dimension beside the channels.
    for (const ProgramPort& input : program_.inputs) name_the_last(input.value);
    spread();
    for (ValueId id = 0; id < program_.value_count; ++id) name_the_last(id);
  }

  Axes of(ValueId id) const {
    const Dimensions& dimensions = known_[static_cast<std::size_t>(id)];
    const ValueLayout& layout = layout_.of(id);
    const std::vector<std::int64_t> shape = layout_.shape(id);
    if (shape.empty()) return {};
    Axes names;
    if (layout.kind == ValueLayout::Kind::fixed) {
      const bool first_is_one = !layout.sizes.empty() && layout.sizes[0] == 1;
      for (std::size_t d = first_is_one ? 1 : 0; d < dimensions.size(); ++d)
        names.push_back(axes::name_of(dimensions[d]));
      return names;
    }
    for (std::size_t d = 0; d < dimensions.size(); ++d) {
      const Dimension& dimension = dimensions[d];
      if (static_cast<std::int64_t>(d) != layout.place.dimension) {
        names.push_back(axes::name_of(dimension));
        continue;
      }
      const auto middle = std::find_if(dimension.begin(), dimension.end(),
                                       [](const Part& part) { return part.name == axes::samples; });
      if (layout.place.outer > 1) names.push_back(axes::name_of(dimension.begin(), middle));
      if (layout.place.inner > 1)
        names.push_back(middle == dimension.end() ? ""
                                                  : axes::name_of(middle + 1, dimension.end()));
    }
    return names;
  }

 private:
  Dimensions* at(ValueId id) {
    if (id < 0) return nullptr;
    Dimensions& dimensions = known_[static_cast<std::size_t>(id)];
    return dimensions.empty() ? nullptr : &dimensions;
  }

  /// The samples where they are, and nothing else known.
  void start(ValueId id) {
    const ValueLayout& layout = layout_.of(id);
    Dimensions& dimensions = known_[static_cast<std::size_t>(id)];
    for (std::size_t d = 0; d < layout.sizes.size(); ++d) {
      const std::int64_t size = layout.sizes[d];
      if (layout.kind != ValueLayout::Kind::rows ||
          static_cast<std::int64_t>(d) != layout.place.dimension) {
        dimensions.push_back({{"", size}});
        continue;
      }
      const SamplePlace& place = layout.place;
      const std::int64_t entries = place.outer * place.inner;
      Dimension dimension;
      if (place.outer > 1) dimension.push_back({"", place.outer});
      dimension.push_back({axes::samples, entries > 0 ? size / entries : 0});
      if (place.inner > 1) dimension.push_back({"", place.inner});
      dimensions.push_back(std::move(dimension));
    }
  }

  /// Whether two ways to see a dimension agree on where its samples are.
  static bool have_samples_alike(const Dimension& a, const Dimension& b) {
    const auto before = [](const Dimension& dimension) -> std::int64_t {
      std::int64_t size = 1;
      for (const Part& part : dimension) {
        if (part.name == axes::samples) return size;
        size *= part.size;
      }
      return -1;
    };
    return axes::size_of(a) == axes::size_of(b) && before(a) == before(b);
  }

  bool fill(ValueId id, const Dimensions& made) {
    Dimensions* const now = at(id);
    if (now == nullptr || now->size() != made.size()) return false;
    bool changed = false;
    for (std::size_t d = 0; d < made.size(); ++d) {
      Dimension& dimension = (*now)[d];
      const bool is_known =
          std::none_of(dimension.begin(), dimension.end(),
                       [](const Part& part) { return part.name.empty() && part.size > 1; }) &&
          !(dimension.size() == 1 && dimension[0].name.empty());
      if (is_known || !have_samples_alike(dimension, made[d])) continue;
      const auto count = [](const Dimension& all) {
        return std::count_if(all.begin(), all.end(),
                             [](const Part& part) { return !part.name.empty(); });
      };
      if (count(made[d]) <= count(dimension)) continue;
      dimension = made[d];
      changed = true;
    }
    return changed;
  }

  axes::Call call(const Node& node) {
    return {program_, node, [this](ValueId id) { return at(id); }};
  }

  bool forward(const Block& block) {
    bool changed = false;
    for (const Node& node : block.nodes) {
      if (node.kind == Node::Kind::branch || node.kind == Node::Kind::loop) {
        const std::size_t skipped = node.kind == Node::Kind::loop ? 1 : 0;
        for (const Block& inner : node.blocks) {
          if (node.kind == Node::Kind::loop) {
            for (std::size_t i = 1; i < inner.parameters.size(); ++i) {
              if (const Dimensions* from = at(node.inputs.at(i + 1)))
                changed = fill(inner.parameters[i], *from) || changed;
            }
          }
          changed = forward(inner) || changed;
          for (std::size_t i = 0; i < node.outputs.size(); ++i) {
            if (i + skipped >= inner.results.size()) break;
            const ValueId result = inner.results[i + skipped];
            if (const Dimensions* from = at(result))
              changed = fill(node.outputs[i], *from) || changed;
            if (const auto list = lists_.find(result); list != lists_.end())
              lists_.insert_or_assign(node.outputs[i], list->second);
          }
        }
        continue;
      }
      if (node.outputs.empty()) continue;
      if (axes::makes_parts(node)) lists_.insert_or_assign(node.outputs[0], &node);
      const auto list = node.inputs.empty() ? lists_.end() : lists_.find(node.inputs[0]);
      // The parts of a list that a branch gave.
      const Node& maker = list != lists_.end() && axes::unpacks(node) ? *list->second : node;
      for (const ValueId output : node.outputs) {
        if (at(output) == nullptr) continue;
        const auto made = axes::made_by(call(maker), layout_.of(output).sizes);
        if (made) changed = fill(output, *made) || changed;
      }
    }
    return changed;
  }

  bool backward(const Block& block) {
    bool changed = false;
    for (auto node = block.nodes.rbegin(); node != block.nodes.rend(); ++node) {
      for (const Block& inner : node->blocks) changed = backward(inner) || changed;
      if (node->kind != Node::Kind::operation && node->kind != Node::Kind::identity) continue;
      changed = axes::name_read(call(*node)) || changed;
      changed = axes::name_back(call(*node)) || changed;
    }
    return changed;
  }

  void spread() {
    for (int round = 0; round < most_rounds; ++round) {
      bool changed = forward(program_.body);
      changed = backward(program_.body) || changed;
      if (!changed) return;
    }
  }

  void name_the_last(ValueId id) {
    Dimensions* const dimensions = at(id);
    if (dimensions == nullptr) return;
    std::vector<Dimension*> unknown;
    std::size_t others = 0;
    for (Dimension& dimension : *dimensions) {
      const bool alone = dimension.size() == 1 && dimension[0].name == axes::samples;
      if (alone) continue;
      ++others;
      if (axes::name_of(dimension).empty()) unknown.push_back(&dimension);
    }
    if (unknown.size() != 1) return;
    const auto has = [&](const std::string& name) {
      return std::any_of(dimensions->begin(), dimensions->end(), [&](const Dimension& dimension) {
        return axes::name_of(dimension) == name;
      });
    };
    const bool whole = c10::isIntegralType(layout_.of(id).type, true);
    if (others == 1) {
      axes::name_unknown(*unknown[0], whole ? "token" : "c");
    } else if (has("c") && !has("y") && !has("token") && !has("x")) {
      axes::name_unknown(*unknown[0], "token");
    }
  }

  const Program& program_;
  const BatchLayout& layout_;
  std::vector<Dimensions> known_;
  std::map<ValueId, const Node*> lists_;  ///< what made a list of a tensor's parts
};

}  // namespace

ValueAxes::ValueAxes(const ProgramIndex& index, const BatchLayout& layout,
                     const std::map<ValueId, Axes>& declared) {
  Naming naming(index, layout);
  for (const auto& [value, names] : declared) naming.declare(value, names);
  naming.run();
  const std::int32_t count = index.program().value_count;
  axes_.reserve(static_cast<std::size_t>(count));
  for (ValueId id = 0; id < count; ++id) {
    const auto found = declared.find(id);
    axes_.push_back(found == declared.end() ? naming.of(id) : found->second);
  }
}

}  // namespace microtome::host
