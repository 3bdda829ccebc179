// Loops: written out where their length is known and short, nodes of the program otherwise.
#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>

#include "host/model/torchscript/lowering_state.h"

namespace microtome::host::torchscript {

namespace {
/// Loops that are known to be short are written out, so that each turn has hook points of its own.
constexpr std::int64_t longest_unrolled_loop = 128;

const char* const carried_list =
    "it goes from turn to turn of a loop, where it may have another name. Copy it first "
    "(`list(x)`, `dict(x)`)";

void collect_structures(const Slot& slot, std::vector<std::shared_ptr<Structure>>& structures) {
  const auto* found = std::get_if<std::shared_ptr<Structure>>(&slot);
  if (found == nullptr) return;
  structures.push_back(*found);
  for (const Slot& element : (*found)->content.elements) collect_structures(element, structures);
}

}  // namespace

void Lowering::lower_loop(torch::jit::Node& node, const Scope& scope) {
  if (!unroll(node, scope)) lower_dynamic_loop(node, scope);
}

bool Lowering::unroll(torch::jit::Node& node, const Scope& scope) {
  const auto trips = known_value(slot(node.input(0), scope));
  auto go_on = known_value(slot(node.input(1), scope));
  if (!trips || !go_on) return false;
  const torch::jit::Block& body = *node.blocks()[0];
  const auto constant = torch::jit::toIValue(body.outputs()[0]);
  const bool counts = constant && constant->isBool() && constant->toBool();
  if (counts && trips->toInt() > longest_unrolled_loop) return false;
  std::vector<Slot> carried;
  for (std::size_t i = 2; i < node.inputs().size(); ++i)
    carried.push_back(slot(node.input(i), scope));
  // Whether the condition to go on is known shows when the body is read.
  const State before = save(scope);
  ++tries_;
  bool known = true;
  for (std::int64_t trip = 0; known && trip < trips->toInt() && go_on->toBool(); ++trip) {
    bind(body.inputs()[0], Known{trip}, scope);
    for (std::size_t i = 0; i < carried.size(); ++i) bind(body.inputs()[i + 1], carried[i], scope);
    auto results = lower_block(*node.blocks()[0], scope);
    if (ended_) break;
    const auto next = known_value(results[0]);
    known = next && trip < longest_unrolled_loop;
    if (!known) break;
    go_on = next;
    carried.assign(results.begin() + 1, results.end());
  }
  --tries_;
  if (!known) {
    restore(before, scope);
    return false;
  }
  bind_all(node, carried, scope);
  return true;
}

/// A loop whose length depends on the data, while it is read.
struct Lowering::Turns {
  Node node;
  std::size_t carried = 0;
  /// Carried lists and dictionaries that are the same object in each turn (`list += [x]`).
  std::vector<std::shared_ptr<Structure>> stays;
  std::vector<TensorRef> sources;                      ///< whose memory what is carried may have
  std::vector<std::shared_ptr<Structure>> structures;  ///< among what is carried
  std::vector<TensorRef> written;                      ///< tensors from outside, in place
  std::vector<std::shared_ptr<Structure>> changed;     ///< lists and dictionaries from outside
  AliasTable after;
};

void Lowering::lower_dynamic_loop(torch::jit::Node& node, const Scope& scope) {
  Turns turns;
  turns.carried = node.inputs().size() - 2;
  turns.stays.resize(turns.carried);
  for (std::size_t i = 0; i < turns.carried; ++i) {
    const auto* given = std::get_if<std::shared_ptr<Structure>>(&slot(node.input(i + 2), scope));
    if (given != nullptr && (*given)->kind != Structure::Kind::tuple) turns.stays[i] = *given;
  }
  const State entry = save(scope);
  do {
    restore(entry, scope);
    begin_turns(node, scope, turns);
  } while (!read_turns(node, scope, turns));
  end_turns(node, scope, turns);
}

void Lowering::begin_turns(torch::jit::Node& node, const Scope& scope, Turns& turns) {
  turns.node = {};
  turns.node.kind = Node::Kind::loop;
  turns.node.info = {"prim::Loop", scope.module, scope.call, 1, {}, {}, depth_, position(node)};
  turns.structures.clear();
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    const Slot& input = slot(node.input(i), scope);
    const bool stays = i >= 2 && turns.stays[i - 2] != nullptr;
    turns.node.inputs.push_back(stays ? constant(c10::IValue()) : materialise_result(input));
    if (i < 2 || stays) continue;
    collect_tensors(input, turns.sources);
    collect_structures(input, turns.structures);
  }
}

bool Lowering::read_turns(torch::jit::Node& node, const Scope& scope, Turns& turns) {
  const State before = save(scope);
  // What the body changes outside of itself is carried too; which tensors and lists these are shows
  // when the body is read, so it is read until no more are found.
  while (true) {
    restore(before, scope);
    turns.node.blocks.assign(1, {});
    Block& block = turns.node.blocks[0];
    block_ = &block;
    ++depth_;
    ++loop_depth_;
    ++tries_;
    bind_turn(*node.blocks()[0], scope, turns);
    const AliasTable start = aliases_;
    const auto results = lower_block(*node.blocks()[0], scope);
    if (ended_) {
      // A turn always ends in an exception, so there is nothing to hand on.
      ended_ = false;
      block.results.push_back(constant(false));
      block.results.insert(block.results.end(), block.parameters.begin() + 1,
                           block.parameters.end());
      break;
    }
    if (gradients_ != before.gradients)
      refuse(node, "it turns the recording of gradients on or off for what comes after it");
    bool as_assumed = true;
    for (std::size_t i = 0; i < turns.carried; ++i) {
      if (turns.stays[i] == nullptr) continue;
      const auto* now = std::get_if<std::shared_ptr<Structure>>(&results[i + 1]);
      if (now != nullptr && *now == turns.stays[i]) continue;
      turns.stays[i] = nullptr;
      as_assumed = false;
    }
    if (!as_assumed) {
      rewind(before);
      return false;
    }
    if (find_effects(node, before, start, results, turns)) continue;
    for (std::size_t i = 0; i < results.size(); ++i) {
      const bool stays = i > 0 && turns.stays[i - 1] != nullptr;
      block.results.push_back(stays ? constant(c10::IValue()) : materialise_result(results[i]));
    }
    for (const TensorRef root : turns.written)
      block.results.push_back(aliases_.read(root, emitter()));
    for (const auto& structure : turns.changed)
      block.results.push_back(materialise_structure(*structure, "a list"));
    break;
  }
  turns.after = aliases_;
  rewind(before);
  return true;
}

void Lowering::bind_turn(torch::jit::Block& body, const Scope& scope, const Turns& turns) {
  const auto parameter = [&] { return block_->parameters.emplace_back(new_value()); };
  bind(body.inputs()[0], Computed{parameter(), {}, false}, scope);
  for (std::size_t i = 0; i < turns.carried; ++i) {
    const torch::jit::Value* input = body.inputs()[i + 1];
    bind(input, carried_slot(parameter(), input->type(), turns, i), scope);
  }
  for (const TensorRef root : turns.written) aliases_.replace_root(root, parameter());
  for (const auto& structure : turns.changed) set_whole(structure, parameter());
}

Slot Lowering::carried_slot(ValueId value, const c10::TypePtr& type, const Turns& turns,
                            std::size_t index) {
  if (turns.stays[index] != nullptr) return turns.stays[index];
  if (is_tensor_type(type))
    return TensorSlot{aliases_.possible_alias(value, turns.sources), is_optional_tensor_type(type)};
  Slot made = computed(value, type, false);
  fix(made, carried_list);
  return made;
}

void Lowering::set_whole(const std::shared_ptr<Structure>& structure, ValueId value) {
  Structure::Content& content = change(structure);
  content.elements.clear();
  content.keys.clear();
  content.whole = value;
}

bool Lowering::find_effects(const torch::jit::Node& node, const State& before,
                            const AliasTable& start, const std::vector<Slot>& results,
                            Turns& turns) {
  const auto contains = [](const auto& list, const auto& value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  bool found = false;
  for (const TensorRef root : aliases_.written_since(start)) {
    if (!before.aliases.contains(root) || contains(turns.written, root)) continue;
    turns.written.push_back(root);
    found = true;
  }
  for (const auto& structure : changed_since(before)) {
    if (contains(turns.changed, structure)) continue;
    if (structure->kind == Structure::Kind::object)
      refuse(node, "it changes an object in a loop whose length depends on the data");
    turns.changed.push_back(structure);
    found = true;
  }
  std::vector<std::shared_ptr<Structure>> handed_on = turns.structures;
  std::vector<TensorRef> tensors;
  for (std::size_t i = 1; i < results.size(); ++i) {
    if (turns.stays[i - 1] != nullptr) continue;
    collect_structures(results[i], handed_on);
    collect_tensors(results[i], tensors);
  }
  for (const auto& structure : handed_on) {
    if (contains(turns.changed, structure))
      refuse(node,
             "a list or dictionary that it changes has a second name in it. Copy it first "
             "(`list(x)`, `dict(x)`)");
    if (structure->serial < before.structures && !contains(turns.structures, structure))
      turns.structures.push_back(structure);
  }
  // What a turn hands on may be a tensor from outside, or a view of one.
  for (const TensorRef tensor : tensors) {
    for (const TensorRef root : aliases_.related_roots(tensor, before.aliases)) {
      const bool is_known =
          std::any_of(turns.sources.begin(), turns.sources.end(),
                      [&](TensorRef source) { return before.aliases.root_of(source) == root; });
      if (is_known) continue;
      turns.sources.push_back(root);
      found = true;
    }
  }
  return found;
}

void Lowering::end_turns(torch::jit::Node& node, const Scope& scope, Turns& turns) {
  Node& loop = turns.node;
  {
    // Their contents before the loop.
    AliasTable outside = aliases_;
    for (const TensorRef root : turns.written) loop.inputs.push_back(outside.read(root, emitter()));
  }
  aliases_.merge_unknown(turns.after);
  for (const auto& structure : turns.changed)
    loop.inputs.push_back(materialise_structure(*structure, "a list"));
  for (std::size_t i = 2; i < loop.inputs.size(); ++i) loop.outputs.push_back(new_value());
  const std::vector<ValueId> outputs = loop.outputs;
  block_->nodes.push_back(std::move(loop));
  for (std::size_t i = 0; i < turns.carried; ++i) {
    const torch::jit::Value* output = node.output(i);
    bind(output, carried_slot(outputs[i], output->type(), turns, i), scope);
  }
  for (const auto& structure : turns.structures) fix(structure, carried_list);
  for (std::size_t i = 0; i < turns.written.size(); ++i)
    aliases_.replace_root(turns.written[i], outputs[turns.carried + i]);
  for (std::size_t i = 0; i < turns.changed.size(); ++i)
    set_whole(turns.changed[i], outputs[turns.carried + turns.written.size() + i]);
}

}  // namespace microtome::host::torchscript
