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

void Lowering::lower_dynamic_loop(torch::jit::Node& node, const Scope& scope) {
  torch::jit::Block& body = *node.blocks()[0];
  Node loop;
  loop.kind = Node::Kind::loop;
  loop.info = {"prim::Loop", scope.module, scope.call, 1, {}, {}, depth_, position(node)};
  std::vector<TensorRef> sources;
  std::vector<std::shared_ptr<Structure>> carried_structures;
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    const Slot& input = slot(node.input(i), scope);
    loop.inputs.push_back(materialise_result(input));
    if (i < 2) continue;
    collect_tensors(input, sources);
    collect_structures(input, carried_structures);
  }
  const std::size_t carried = node.inputs().size() - 2;
  const State before = save(scope);
  std::vector<TensorRef> written;
  std::vector<std::shared_ptr<Structure>> changed;
  AliasTable after;
  // What the body changes outside of itself is carried too; which tensors and lists these are shows
  // when the body is read, so it is read until no more are found.
  for (bool complete = false; !complete;) {
    restore(before, scope);
    loop.blocks.assign(1, {});
    Block& block = loop.blocks[0];
    block_ = &block;
    ++depth_;
    ++loop_depth_;
    ++tries_;
    const auto parameter = [&] { return block.parameters.emplace_back(new_value()); };
    bind(body.inputs()[0], Computed{parameter(), {}, false}, scope);
    for (std::size_t i = 0; i < carried; ++i) {
      const ValueId id = parameter();
      const c10::TypePtr& type = body.inputs()[i + 1]->type();
      if (is_tensor_type(type)) {
        bind(body.inputs()[i + 1],
             TensorSlot{aliases_.possible_alias(id, sources), is_optional_tensor_type(type)},
             scope);
      } else {
        Slot made = computed(id, type, false);
        fix(made, carried_list);
        bind(body.inputs()[i + 1], std::move(made), scope);
      }
    }
    for (const TensorRef root : written) aliases_.replace_root(root, parameter());
    for (const auto& structure : changed) {
      Structure::Content& content = change(structure);
      content.elements.clear();
      content.keys.clear();
      content.whole = parameter();
    }
    const AliasTable start = aliases_;
    const auto results = lower_block(body, scope);
    if (ended_) {
      // A turn always ends in an exception, so there is nothing to hand on.
      ended_ = false;
      block.results.push_back(constant(false));
      for (std::size_t i = 1; i < block.parameters.size(); ++i)
        block.results.push_back(block.parameters[i]);
      after = aliases_;
      break;
    }
    if (gradients_ != before.gradients)
      refuse(node, "it turns the recording of gradients on or off for what comes after it");
    complete = true;
    for (const TensorRef root : aliases_.written_since(start)) {
      if (!before.aliases.contains(root) ||
          std::find(written.begin(), written.end(), root) != written.end())
        continue;
      written.push_back(root);
      complete = false;
    }
    for (const auto& structure : changed_since(before)) {
      if (std::find(changed.begin(), changed.end(), structure) != changed.end()) continue;
      if (structure->kind == Structure::Kind::object)
        refuse(node, "it changes an object in a loop whose length depends on the data");
      changed.push_back(structure);
      complete = false;
    }
    std::vector<std::shared_ptr<Structure>> handed_on = carried_structures;
    std::vector<TensorRef> tensors;
    for (std::size_t i = 1; i < results.size(); ++i) {
      collect_structures(results[i], handed_on);
      collect_tensors(results[i], tensors);
    }
    for (const auto& structure : handed_on) {
      if (std::find(changed.begin(), changed.end(), structure) != changed.end())
        refuse(node,
               "a list or dictionary that it changes has a second name in it. Copy it first "
               "(`list(x)`, `dict(x)`)");
    }
    // What a turn hands on may be a tensor from outside, or a view of one.
    for (const TensorRef tensor : tensors) {
      for (const TensorRef root : aliases_.related_roots(tensor, before.aliases)) {
        const bool is_known = std::any_of(sources.begin(), sources.end(), [&](TensorRef source) {
          return before.aliases.root_of(source) == root;
        });
        if (is_known) continue;
        sources.push_back(root);
        complete = false;
      }
    }
    if (complete) {
      for (const Slot& result : results) block.results.push_back(materialise_result(result));
      for (const TensorRef root : written) block.results.push_back(aliases_.read(root, emitter()));
      for (const auto& structure : changed)
        block.results.push_back(materialise_structure(*structure, "a list"));
    }
    after = aliases_;
    for (const auto& structure : handed_on) {
      if (structure->serial < before.structures) carried_structures.push_back(structure);
    }
  }
  rewind(before);
  aliases_.merge_unknown(after);
  for (const TensorRef root : written) {
    AliasTable outside = before.aliases;
    loop.inputs.push_back(outside.read(root, emitter()));
  }
  for (const auto& structure : changed)
    loop.inputs.push_back(materialise_structure(*structure, "a list"));
  for (std::size_t i = 2; i < loop.inputs.size(); ++i) loop.outputs.push_back(new_value());
  const std::vector<ValueId> outputs = loop.outputs;
  block_->nodes.push_back(std::move(loop));
  for (std::size_t i = 0; i < carried; ++i) {
    const c10::TypePtr& type = node.output(i)->type();
    if (is_tensor_type(type)) {
      bind(node.output(i),
           TensorSlot{aliases_.possible_alias(outputs[i], sources), is_optional_tensor_type(type)},
           scope);
    } else {
      Slot made = computed(outputs[i], type, false);
      fix(made, carried_list);
      bind(node.output(i), std::move(made), scope);
    }
  }
  for (const auto& structure : carried_structures) fix(structure, carried_list);
  for (std::size_t i = 0; i < written.size(); ++i) {
    aliases_.replace_root(written[i], outputs[carried + i]);
  }
  for (std::size_t i = 0; i < changed.size(); ++i) {
    Structure::Content& content = change(changed[i]);
    content.elements.clear();
    content.keys.clear();
    content.whole = outputs[carried + written.size() + i];
  }
}

}  // namespace microtome::host::torchscript
