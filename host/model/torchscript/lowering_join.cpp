// What a branch leaves behind, put together value by value, so that lists stay known element by
// element.
#include "host/model/torchscript/lowering_state.h"

namespace microtome::host::torchscript {

namespace {

/// What either side may be, when those are few values; else empty.
Computed choices_of(const Slot& left, const Slot& right) {
  constexpr std::size_t most = 16;
  Computed all;
  for (const Slot* side : {&left, &right}) {
    if (const auto* known = known_plain(*side)) {
      all.choices.push_back(*known);
      continue;
    }
    const auto* computed = std::get_if<Computed>(side);
    if (computed == nullptr || computed->choices.empty()) return {};
    all.choices.insert(all.choices.end(), computed->choices.begin(), computed->choices.end());
    all.at_least = all.at_least || computed->at_least;
  }
  return all.choices.size() <= most ? all : Computed{};
}

}  // namespace

std::function<Slot()> Lowering::join_by_value(const Slot& left, const Slot& right,
                                              const c10::TypePtr& type, Branch& branch) {
  const std::size_t place = branch.leaves.size();
  branch.leaves.push_back({{left, right}});
  const auto may_be_none = [](const Slot& slot) {
    if (std::holds_alternative<std::monostate>(slot)) return false;
    const auto* tensor = std::get_if<TensorSlot>(&slot);
    return tensor == nullptr || tensor->may_be_none;
  };
  bool fixed = false;
  for (const Slot* side : {&left, &right}) {
    const auto* structure = std::get_if<std::shared_ptr<Structure>>(side);
    if (structure == nullptr) continue;
    if ((*structure)->kind == Structure::Kind::object)
      throw Error("which object a name stands for depends on the data");
    if ((*structure)->serial < branch.before.structures || (*structure)->content.held) {
      fixed = true;
      branch.sources.push_back(*structure);
    }
  }
  const bool optional = is_optional_tensor_type(type) && (may_be_none(left) || may_be_none(right));
  return [this, place, type, optional, fixed, &branch]() -> Slot {
    const ValueId output = branch.outputs[place];
    if (!is_tensor_type(type)) {
      Slot made = computed(output, type, !fixed);
      if (fixed) fix(made, second_name_after_branch);
      if (auto* value = std::get_if<Computed>(&made)) {
        const ValueId id = value->id;
        *value = choices_of(branch.leaves[place].sides[0], branch.leaves[place].sides[1]);
        value->id = id;
      }
      return made;
    }
    // The result may be a tensor from outside of the branches.
    std::vector<TensorRef> existing;
    for (std::size_t side = 0; side < 2; ++side) {
      std::vector<TensorRef> sources;
      collect_tensors(branch.leaves[place].sides[side], sources);
      for (const TensorRef source : sources) {
        for (const TensorRef root : branch.after[side].related_roots(source, branch.before.aliases))
          existing.push_back(root);
      }
    }
    return TensorSlot{aliases_.possible_alias(output, existing), optional};
  };
}

bool Lowering::is_from_before(const Slot& slot, const State& before) {
  if (const auto* value = std::get_if<Computed>(&slot)) return value->id < before.values;
  if (const auto* tensor = std::get_if<TensorSlot>(&slot))
    return before.aliases.contains(tensor->tensor);
  if (const auto* structure = std::get_if<std::shared_ptr<Structure>>(&slot))
    return (*structure)->serial < before.structures;
  return !std::holds_alternative<ViewListSlot>(slot);
}

std::function<Slot()> Lowering::join(const Slot& left, const Slot& right, const c10::TypePtr& type,
                                     Branch& branch) {
  const auto same = [](Slot slot) { return [slot = std::move(slot)] { return slot; }; };
  if (left.index() == right.index()) {
    const auto *one = known_plain(left), *other = known_plain(right);
    if (one != nullptr && other != nullptr && one->tagKind() == other->tagKind() && *one == *other)
      return same(left);
    if (std::holds_alternative<std::monostate>(left)) return same(left);
    if (const auto* value = std::get_if<Computed>(&left);
        value != nullptr && value->id == std::get<Computed>(right).id &&
        value->id < branch.before.values)
      return same(left);
    if (const auto* tensor = std::get_if<TensorSlot>(&left);
        tensor != nullptr && tensor->tensor == std::get<TensorSlot>(right).tensor &&
        branch.before.aliases.contains(tensor->tensor)) {
      return same(TensorSlot{tensor->tensor,
                             tensor->may_be_none || std::get<TensorSlot>(right).may_be_none});
    }
    if (const auto* module = std::get_if<ModuleSlot>(&left);
        module != nullptr &&
        module->module._ivalue() == std::get<ModuleSlot>(right).module._ivalue())
      return same(left);
    if (const auto* function = std::get_if<FunctionSlot>(&left);
        function != nullptr && function->function == std::get<FunctionSlot>(right).function)
      return same(left);
  }
  // What one side leaves without a value is never read after it.
  const bool left_is_empty = std::holds_alternative<std::monostate>(left);
  if (left_is_empty || std::holds_alternative<std::monostate>(right)) {
    const Slot& only = left_is_empty ? right : left;
    if (is_from_before(only, branch.before)) return same(only);
    const auto* structure = std::get_if<std::shared_ptr<Structure>>(&only);
    if (structure == nullptr || (*structure)->kind != Structure::Kind::tuple)
      return join_by_value(left, right, type, branch);
    return join_parts(*structure, branch, [&](std::size_t i) -> std::array<Slot, 2> {
      const Slot& part = (*structure)->content.elements[i];
      return left_is_empty ? std::array<Slot, 2>{Slot(), part} : std::array<Slot, 2>{part, Slot()};
    });
  }
  const auto* one = std::get_if<std::shared_ptr<Structure>>(&left);
  const auto* other = std::get_if<std::shared_ptr<Structure>>(&right);
  if (one == nullptr || other == nullptr) return join_by_value(left, right, type, branch);
  if (*one == *other) return same(left);
  const Structure &a = **one, &b = **other;
  const bool tuples = a.kind == Structure::Kind::tuple && b.kind == Structure::Kind::tuple;
  const auto is_own = [&](const Structure& structure) {
    return structure.serial >= branch.before.structures && !structure.content.held;
  };
  const bool alike = a.kind == b.kind && a.kind != Structure::Kind::object && !a.content.whole &&
                     !b.content.whole && a.content.elements.size() == b.content.elements.size() &&
                     a.content.keys == b.content.keys;
  if (!alike || (!tuples && !(is_own(a) && is_own(b))))
    return join_by_value(left, right, a.kind == b.kind ? a.type : type, branch);
  return join_parts(*one, branch, [&](std::size_t i) -> std::array<Slot, 2> {
    return {a.content.elements[i], b.content.elements[i]};
  });
}

std::function<Slot()> Lowering::join_parts(
    const std::shared_ptr<Structure>& like, Branch& branch,
    const std::function<std::array<Slot, 2>(std::size_t)>& sides) {
  std::vector<std::function<Slot()>> parts;
  for (std::size_t i = 0; i < like->content.elements.size(); ++i) {
    const auto [left, right] = sides(i);
    parts.push_back(join(left, right, element_type(*like, i), branch));
  }
  return [this, parts = std::move(parts), like]() -> Slot {
    auto made = make(like->kind, like->type);
    made->names = like->names;
    made->content.keys = like->content.keys;
    for (const auto& part : parts) made->content.elements.push_back(part());
    return made;
  };
}

std::function<Structure::Content()> Lowering::join_content(
    const std::shared_ptr<Structure>& structure, const Structure::Content& left,
    const Structure::Content& right, Branch& branch) {
  Structure::Content joined;
  joined.fixed = left.fixed.empty() ? right.fixed : left.fixed;
  joined.held = left.held || right.held;
  joined.keys = left.keys;
  const bool alike = !left.whole && !right.whole && left.elements.size() == right.elements.size() &&
                     left.keys == right.keys;
  if (alike) {
    std::vector<std::function<Slot()>> parts;
    for (std::size_t i = 0; i < left.elements.size(); ++i)
      parts.push_back(
          join(left.elements[i], right.elements[i], element_type(*structure, i), branch));
    return [joined, parts = std::move(parts)] {
      Structure::Content content = joined;
      for (const auto& part : parts) content.elements.push_back(part());
      return content;
    };
  }
  const auto copy = [&](const Structure::Content& content) {
    auto made = make(structure->kind, structure->type);
    made->content = content;
    made->content.held = false;
    return made;
  };
  const std::size_t place = branch.leaves.size();
  branch.leaves.push_back({{copy(left), copy(right)}});
  joined.keys.clear();
  return [joined, place, &branch] {
    Structure::Content content = joined;
    content.whole = branch.outputs[place];
    return content;
  };
}

}  // namespace microtome::host::torchscript
