#include "host/model/slice.h"

#include <algorithm>
#include <unordered_set>

#include "microtome/error.h"

namespace microtome::host {
namespace {

std::size_t index_of(ValueId value) { return static_cast<std::size_t>(value); }

/// What a node's blocks make, read, and whether they can raise.
struct Inside {
  std::vector<ValueId> made, read;
  bool raises = false;

  void add(const Block& block) {
    made.insert(made.end(), block.parameters.begin(), block.parameters.end());
    read.insert(read.end(), block.results.begin(), block.results.end());
    for (const Node& node : block.nodes) {
      raises = raises || node.kind == Node::Kind::raise;
      read.insert(read.end(), node.inputs.begin(), node.inputs.end());
      made.insert(made.end(), node.outputs.begin(), node.outputs.end());
      for (const Block& inner : node.blocks) add(inner);
    }
  }
};

}  // namespace

ProgramIndex::ProgramIndex(const Program& program)
    : program_(&program),
      producer_(index_of(program.value_count), -1),
      outermost_(index_of(program.value_count), 0),
      read_inside_(index_of(program.value_count), 0),
      has_effect_(program.body.nodes.size(), 0),
      reads_(program.body.nodes.size()) {
  for (const ProgramPort& input : program.inputs) outermost_[at(input.value)] = 1;
  for (std::size_t i = 0; i < program.body.nodes.size(); ++i) {
    const Node& node = program.body.nodes[i];
    Inside inside;
    for (const Block& block : node.blocks) inside.add(block);
    has_effect_[i] = inside.raises || node.kind == Node::Kind::raise ? 1 : 0;
    for (const ValueId output : node.outputs) {
      producer_[at(output)] = static_cast<std::int32_t>(i);
      outermost_[at(output)] = 1;
    }
    for (const ValueId made : inside.made) producer_[at(made)] = static_cast<std::int32_t>(i);
    std::vector<ValueId>& reads = reads_[i];
    for (const ValueId input : node.inputs) {
      if (input >= 0) reads.push_back(input);
    }
    if (node.kind != Node::Kind::operation && node.kind != Node::Kind::identity)
      inside.read.insert(inside.read.end(), node.inputs.begin(), node.inputs.end());
    for (const ValueId value : inside.read) {
      if (value < 0) continue;
      read_inside_[at(value)] = 1;
      if (producer_[at(value)] != static_cast<std::int32_t>(i)) reads.push_back(value);
    }
    std::sort(reads.begin(), reads.end());
    reads.erase(std::unique(reads.begin(), reads.end()), reads.end());
  }
}

std::vector<char> ProgramIndex::computed_from(const std::vector<ValueId>& cut) const {
  std::vector<char> computed(producer_.size(), 0);
  for (const ValueId value : cut) computed[at(value)] = 1;
  for (std::size_t i = 0; i < reads_.size(); ++i) {
    const bool reached = std::any_of(reads_[i].begin(), reads_[i].end(),
                                     [&](ValueId value) { return computed[at(value)] != 0; });
    if (!reached) continue;
    for (const ValueId output : program_->body.nodes[i].outputs) computed[at(output)] = 1;
  }
  return computed;
}

std::vector<ValueId> ProgramIndex::live_at(const std::vector<ValueId>& cut) const {
  const std::vector<char> computed = computed_from(cut);
  std::vector<ValueId> live = cut;
  for (std::size_t i = 0; i < reads_.size(); ++i) {
    const auto& outputs = program_->body.nodes[i].outputs;
    const bool after = std::any_of(reads_[i].begin(), reads_[i].end(),
                                   [&](ValueId value) { return computed[at(value)] != 0; });
    if (!after) continue;
    // A value of the cut that another one of the cut leads to is given, not computed again.
    const bool given =
        !outputs.empty() && std::all_of(outputs.begin(), outputs.end(), [&](ValueId v) {
          return std::find(cut.begin(), cut.end(), v) != cut.end();
        });
    if (given) continue;
    for (const ValueId value : reads_[i]) {
      if (computed[at(value)] == 0) live.push_back(value);
    }
  }
  // Outputs that do not depend on the cut.
  for (const ProgramPort& output : program_->outputs) {
    if (output.value >= 0 && computed[at(output.value)] == 0) live.push_back(output.value);
  }
  std::sort(live.begin(), live.end());
  live.erase(std::unique(live.begin(), live.end()), live.end());
  return live;
}

Slice::Slice(const ProgramIndex& index, const SliceRequest& request)
    : names_(index_of(index.program().value_count)) {
  const Program& program = index.program();
  const auto& nodes = program.body.nodes;
  const std::size_t values = index_of(program.value_count);
  std::vector<char> given(values, 0), needed(values, 0), acted(values, 0), run(nodes.size(), 0);
  for (const ValueId value : request.given) given[index_of(value)] = 1;
  for (const ValueId value : request.acted) acted[index_of(value)] = 1;

  // Backwards from what is wanted.
  std::int32_t last_node = -1;
  const auto want = [&](ValueId value) {
    if (value < 0 || given[index_of(value)] != 0 || needed[index_of(value)] != 0) return;
    const std::int32_t producer = index.producer(value);
    if (producer < 0) {
      throw Error(
          "a value that is asked for is not computed from the cut alone: it needs the model's "
          "input. Ask for it in the run that comes before the cut");
    }
    needed[index_of(value)] = 1;
    run[index_of(producer)] = 1;
    last_node = std::max(last_node, producer);
  };
  for (const ValueId value : request.wanted) want(value);
  const std::int32_t end =
      request.to_the_end ? static_cast<std::int32_t>(nodes.size()) - 1 : last_node;
  const bool from_inputs =
      std::all_of(program.inputs.begin(), program.inputs.end(),
                  [&](const ProgramPort& input) { return given[index_of(input.value)] != 0; });
  for (std::int32_t i = end; i >= 0; --i) {
    const auto place = index_of(i);
    // The model's own checks are kept; from a cut on, they have been made before it.
    if (from_inputs && index.has_effect(place)) run[place] = 1;
    if (run[place] == 0) continue;
    for (const ValueId value : index.reads(place)) want(value);
  }

  // Other names for a value.
  for (std::size_t i = 0; i < values; ++i) names_[i] = static_cast<ValueId>(i);
  std::vector<char> skipped(nodes.size(), 0);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    if (run[i] == 0 || node.kind != Node::Kind::identity) continue;
    const ValueId output = node.outputs[0], input = node.inputs[0];
    if (acted[index_of(output)] != 0 || given[index_of(output)] != 0 ||
        index.is_read_inside(output))
      continue;
    names_[index_of(output)] = named(input);
    skipped[i] = 1;
  }

  // Forwards, with the last reader of each value.
  std::vector<std::int32_t> last_reader(values, -1);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (run[i] == 0 || skipped[i] != 0) continue;
    for (const ValueId value : index.reads(i)) {
      if (const ValueId name = named(value); name >= 0)
        last_reader[index_of(name)] = static_cast<std::int32_t>(i);
    }
  }
  std::vector<char> kept(values, 0);
  for (const ValueId value : request.kept) {
    if (const ValueId name = named(value); name >= 0) kept[index_of(name)] = 1;
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (run[i] == 0 || skipped[i] != 0) continue;
    const Node& node = nodes[i];
    Step step;
    step.node = &node;
    step.first = static_cast<std::uint32_t>(ids_.size());
    step.inputs = static_cast<std::uint32_t>(node.inputs.size());
    step.outputs = static_cast<std::uint32_t>(node.outputs.size());
    const auto dies_here = [&](ValueId name) {
      return name >= 0 && kept[index_of(name)] == 0 &&
             last_reader[index_of(name)] == static_cast<std::int32_t>(i);
    };
    std::unordered_set<ValueId> moved;
    for (const ValueId input : node.inputs) {
      const ValueId name = named(input);
      const bool once = std::count_if(node.inputs.begin(), node.inputs.end(),
                                      [&](ValueId other) { return named(other) == name; }) == 1;
      // What a branch or loop reads inside must stay while it runs.
      const bool moves = once && dies_here(name) && node.kind == Node::Kind::operation;
      if (moves) moved.insert(name);
      ids_.push_back(name);
      last_.push_back(moves ? 1 : 0);
    }
    for (const ValueId output : node.outputs) {
      ids_.push_back(given[index_of(output)] != 0 ? ignored : output);
      last_.push_back(0);
    }
    std::unordered_set<ValueId> released;
    for (const ValueId value : index.reads(i)) {
      const ValueId name = named(value);
      if (dies_here(name) && !moved.contains(name)) released.insert(name);
    }
    for (const ValueId output : node.outputs) {
      const bool read = last_reader[index_of(output)] >= 0 || kept[index_of(output)] != 0;
      if (!read && given[index_of(output)] == 0) released.insert(output);
    }
    step.releases = static_cast<std::uint32_t>(released.size());
    for (const ValueId name : released) {
      ids_.push_back(name);
      last_.push_back(0);
    }
    steps_.push_back(step);
  }
}

}  // namespace microtome::host
