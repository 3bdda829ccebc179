// Branches and the model's own exceptions.

#include <algorithm>

#include "host/model/torchscript/lowering_state.h"

namespace microtome::host::torchscript {

namespace prim = c10::prim;

namespace {

bool always_raises(const torch::jit::Block& block) {
  for (const torch::jit::Node* node : block.nodes()) {
    if (node->kind() == prim::RaiseException) return true;
    if (node->kind() == prim::If && always_raises(*node->blocks()[0]) &&
        always_raises(*node->blocks()[1]))
      return true;
  }
  return false;
}

}  // namespace

Lowering::State Lowering::save(const Scope& scope) const {
  return {aliases_,
          calls_,
          *scope.occurrences,
          program_.sites.size(),
          block_,
          block_->nodes.size(),
          changes_.size(),
          structures_,
          program_.value_count,
          set_attributes_,
          read_attributes_,
          depth_,
          loop_depth_,
          ended_,
          gradients_,
          gradients_off_since_,
          current_,
          source_,
          call_stack_.size(),
          tries_};
}

void Lowering::rewind(const State& state) {
  while (changes_.size() > state.changes) {
    Change& last = changes_.back();
    // What was made since is not seen from outside.
    if (last.structure->serial < state.structures) last.structure->content = std::move(last.before);
    changes_.pop_back();
  }
  aliases_ = state.aliases;
  block_ = state.block;
  depth_ = state.depth;
  loop_depth_ = state.loop_depth;
  ended_ = state.ended;
  gradients_ = state.gradients;
  gradients_off_since_ = state.gradients_off_since;
  current_ = state.current;
  source_ = state.source;
  call_stack_.resize(state.calls_open);
  tries_ = state.tries;
}

void Lowering::restore(const State& state, const Scope& scope) {
  rewind(state);
  calls_ = state.calls;
  *scope.occurrences = state.occurrences;
  program_.sites.resize(state.sites);
  block_->nodes.erase(block_->nodes.begin() + static_cast<std::ptrdiff_t>(state.nodes),
                      block_->nodes.end());
  set_attributes_ = state.set_attributes;
  read_attributes_ = state.read_attributes;
}

std::vector<std::shared_ptr<Structure>> Lowering::changed_since(const State& state) const {
  std::vector<std::shared_ptr<Structure>> changed;
  for (std::size_t i = state.changes; i < changes_.size(); ++i) {
    const auto& structure = changes_[i].structure;
    if (structure->serial < state.structures &&
        std::find(changed.begin(), changed.end(), structure) == changed.end())
      changed.push_back(structure);
  }
  return changed;
}

void Lowering::raise(torch::jit::Node& node, const Scope& scope) {
  Node raised;
  raised.kind = Node::Kind::raise;
  raised.info = {"prim::RaiseException", scope.module, scope.call, 1, {}, {}, depth_,
                 position(node)};
  const Slot& message = slot(node.input(0), scope);
  const auto known = known_value(message);
  last_raised_ = known && known->isString() ? known->toStringRef() : "(no message)";
  if (known || std::holds_alternative<Computed>(message))
    raised.inputs.push_back(materialise(message));
  block_->nodes.push_back(std::move(raised));
  ended_ = true;
}

std::vector<Slot> Lowering::lower_side(torch::jit::Block& block, const Scope& scope) {
  const State before = save(scope);
  try {
    return lower_block(block, scope);
  } catch (const Error& error) {
    restore(before, scope);
    Node refused;
    refused.kind = Node::Kind::raise;
    refused.info = {"prim::RaiseException", scope.module, scope.call, 1, {}, {}, depth_, source_};
    last_raised_ = "the run takes a branch that is not supported: " + error.full();
    refused.inputs = {constant(last_raised_)};
    block_->nodes.push_back(std::move(refused));
    ended_ = true;
    refused_ = refused_.empty() ? error.full() : refused_;
    return {};
  }
}

void Lowering::lower_check(torch::jit::Node& node, const Slot& condition, int raising,
                           const Scope& scope) {
  Node branch;
  branch.kind = Node::Kind::branch;
  branch.info = {"prim::If", scope.module, scope.call, 1, {}, {}, depth_, position(node)};
  branch.inputs = {materialise(condition)};
  branch.blocks.resize(2);
  const State before = save(scope);
  block_ = &branch.blocks[static_cast<std::size_t>(raising)];
  ++depth_;
  ++tries_;
  lower_side(*node.blocks()[static_cast<std::size_t>(raising)], scope);
  restore(before, scope);
  block_->nodes.push_back(std::move(branch));
  bind_all(node, lower_block(*node.blocks()[static_cast<std::size_t>(1 - raising)], scope), scope);
}

void Lowering::lower_if(torch::jit::Node& node, const Scope& scope) {
  const Slot condition = slot(node.input(), scope);
  if (const auto known = known_value(condition)) {
    bind_all(node, lower_block(*node.blocks()[known->toBool() ? 0 : 1], scope), scope);
    return;
  }
  const bool raises = always_raises(*node.blocks()[0]);
  if (raises != always_raises(*node.blocks()[1]))
    return lower_check(node, condition, raises ? 0 : 1, scope);

  Node node_made;
  node_made.kind = Node::Kind::branch;
  node_made.info = {"prim::If", scope.module, scope.call, 1, {}, {}, depth_, position(node)};
  node_made.inputs = {materialise(condition)};
  node_made.blocks.resize(2);

  const State before = save(scope);
  Branch branch{before, {}, {}, {}, {}};
  std::vector<Slot> results[2];
  std::vector<std::shared_ptr<Structure>> changed;
  std::vector<TensorRef> written;
  bool ended[2] = {false, false};
  bool gradients[2] = {true, true};
  std::map<Structure*, Structure::Content> after[2];
  for (std::size_t side = 0; side < 2; ++side) {
    block_ = &node_made.blocks[side];
    ++depth_;
    ++tries_;
    results[side] = lower_side(*node.blocks()[side], scope);
    ended[side] = ended_;
    gradients[side] = gradients_;
    branch.after[side] = aliases_;
    for (const TensorRef root : aliases_.written_since(before.aliases)) {
      if (std::find(written.begin(), written.end(), root) == written.end()) written.push_back(root);
    }
    for (const auto& structure : changed_since(before)) {
      after[side][structure.get()] = structure->content;
      if (std::find(changed.begin(), changed.end(), structure) == changed.end())
        changed.push_back(structure);
    }
    rewind(before);
  }
  if (ended[0] != ended[1]) {
    restore(before, scope);
    return lower_check(node, condition, ended[0] ? 0 : 1, scope);
  }
  if (ended[0]) {
    block_->nodes.push_back(std::move(node_made));
    ended_ = true;
    return;
  }
  if (gradients[0] != gradients[1]) {
    refuse(node,
           "whether gradients are recorded after it (torch.set_grad_enabled) depends on the "
           "data");
  }

  std::vector<std::function<Slot()>> joined;
  for (std::size_t i = 0; i < node.outputs().size(); ++i)
    joined.push_back(join(results[0][i], results[1][i], node.output(i)->type(), branch));
  std::vector<std::function<Structure::Content()>> contents;
  for (const auto& structure : changed) {
    const auto content = [&](std::size_t side) {
      const auto found = after[side].find(structure.get());
      return found == after[side].end() ? structure->content : found->second;
    };
    contents.push_back(join_content(structure, content(0), content(1), branch));
  }

  // Each side hands out what the sides have different, and what it wrote in place into tensors from
  // outside.
  for (std::size_t side = 0; side < 2; ++side) {
    aliases_ = branch.after[side];
    block_ = &node_made.blocks[side];
    depth_ = before.depth + 1;
    for (auto& [structure, content] : after[side]) std::swap(structure->content, content);
    for (const auto& leaf : branch.leaves)
      block_->results.push_back(materialise_result(leaf.sides[side]));
    for (const TensorRef root : written) block_->results.push_back(aliases_.read(root, emitter()));
    for (auto& [structure, content] : after[side]) std::swap(structure->content, content);
    branch.after[side] = aliases_;
  }
  aliases_ = before.aliases;
  block_ = before.block;
  depth_ = before.depth;
  gradients_ = gradients[0];
  for (const AliasTable& tried : branch.after) aliases_.merge_unknown(tried);

  const std::size_t count = branch.leaves.size() + written.size();
  for (std::size_t i = 0; i < count; ++i) node_made.outputs.push_back(new_value());
  branch.outputs = node_made.outputs;
  block_->nodes.push_back(std::move(node_made));
  for (std::size_t i = 0; i < joined.size(); ++i) bind(node.output(i), joined[i](), scope);
  for (std::size_t i = 0; i < changed.size(); ++i) {
    Structure::Content content = contents[i]();
    change(changed[i]) = std::move(content);
  }
  for (const auto& structure : branch.sources) fix(structure, second_name_after_branch);
  for (std::size_t i = 0; i < written.size(); ++i) {
    aliases_.replace_root(written[i], branch.outputs[branch.leaves.size() + i]);
  }
}

}  // namespace microtome::host::torchscript
