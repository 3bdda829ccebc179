// Changes of lists and dictionaries.
#include <algorithm>

#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

bool Lowering::lower_change(torch::jit::Node& node, const Scope& scope) {
  const Slot target = slot(node.input(0), scope);
  const auto* found = std::get_if<std::shared_ptr<Structure>>(&target);
  if (found == nullptr) return false;
  const std::shared_ptr<Structure> structure = *found;
  const bool is_known = !structure->content.whole;
  const bool changed = is_known && (structure->kind == Structure::Kind::dictionary
                                        ? change_dictionary(node, structure, scope)
                                        : change_elements(node, structure, scope));
  if (!changed) change_whole(node, structure, scope);
  // These return the list itself.
  const std::string name = node.kind().toQualString();
  if (node.outputs().size() == 1 && (name == "aten::append" || name == "aten::add_"))
    bind(node.output(), target, scope);
  return true;
}

bool Lowering::change_elements(torch::jit::Node& node, const std::shared_ptr<Structure>& target,
                               const Scope& scope) {
  const std::string name = node.kind().toQualString();
  const std::size_t size = target->content.elements.size();
  const auto known = [&](std::size_t input) { return known_value(slot(node.input(input), scope)); };
  const auto place_of = [&](const c10::IValue& index) {
    const std::int64_t at =
        index.toInt() < 0 ? index.toInt() + static_cast<std::int64_t>(size) : index.toInt();
    if (at < 0 || at >= static_cast<std::int64_t>(size)) {
      refuse(node, "the index " + std::to_string(index.toInt()) +
                       " is out of range: the list has " + std::to_string(size) + " elements");
    }
    return at;
  };
  if (name == "aten::append") {
    Slot added = hold(slot(node.input(1), scope));
    change(target).elements.push_back(std::move(added));
    return true;
  }
  if (name == "aten::_set_item") {
    const auto index = known(1);
    if (!index) return false;
    Slot value = hold(slot(node.input(2), scope));
    const auto at = static_cast<std::size_t>(place_of(*index));
    change(target).elements[at] = std::move(value);
    return true;
  }
  if (name == "aten::insert") {
    const auto index = known(1);
    if (!index) return false;
    const auto count = static_cast<std::int64_t>(size);
    const std::int64_t at = index->toInt() < 0 ? index->toInt() + count : index->toInt();
    Slot value = hold(slot(node.input(2), scope));
    auto& elements = change(target).elements;
    elements.insert(elements.begin() + std::clamp<std::int64_t>(at, 0, count), std::move(value));
    return true;
  }
  if (name == "aten::extend" || name == "aten::add_") {
    const auto* other = std::get_if<std::shared_ptr<Structure>>(&slot(node.input(1), scope));
    if (other == nullptr || (*other)->content.whole) return false;
    const std::vector<Slot> added = (*other)->content.elements;
    for (const Slot& element : added) hold(element);
    auto& elements = change(target).elements;
    elements.insert(elements.end(), added.begin(), added.end());
    return true;
  }
  if (name == "aten::pop" || name == "aten::Delete") {
    const auto index = node.inputs().size() > 1 ? known(1) : c10::IValue(-1);
    if (!index) return false;
    const std::int64_t at = place_of(*index);
    const Slot taken = target->content.elements[static_cast<std::size_t>(at)];
    auto& elements = change(target).elements;
    elements.erase(elements.begin() + at);
    if (!node.outputs().empty()) bind(node.output(), taken, scope);
    return true;
  }
  if (name == "aten::clear") {
    change(target).elements.clear();
    return true;
  }
  if (name == "aten::reverse") {
    auto& elements = change(target).elements;
    std::reverse(elements.begin(), elements.end());
    return true;
  }
  // Others (`sort`, `remove`) look at the values.
  const auto whole = known_value(target);
  if (!whole || !node.outputs().empty()) return false;
  Stack stack{*whole};
  for (std::size_t i = 1; i < node.inputs().size(); ++i) {
    const auto argument = known(i);
    if (!argument) return false;
    stack.push_back(*argument);
  }
  operation_of(node)(stack);
  const Slot after = slot_of(*whole, target->type);
  change(target).elements = std::get<std::shared_ptr<Structure>>(after)->content.elements;
  return true;
}

bool Lowering::change_dictionary(torch::jit::Node& node, const std::shared_ptr<Structure>& target,
                                 const Scope& scope) {
  const std::string name = node.kind().toQualString();
  if (name == "aten::clear") {
    Structure::Content& content = change(target);
    content.keys.clear();
    content.elements.clear();
    return true;
  }
  if (name == "aten::update") {
    const auto* other = std::get_if<std::shared_ptr<Structure>>(&slot(node.input(1), scope));
    if (other == nullptr || (*other)->content.whole) return false;
    const Structure::Content added = (*other)->content;
    Structure::Content& content = change(target);
    for (std::size_t i = 0; i < added.keys.size(); ++i)
      set_key(content, added.keys[i], hold(added.elements[i]));
    return true;
  }
  if (node.inputs().size() < 2) return false;
  const auto key = known_value(slot(node.input(1), scope));
  if (!key || key->isTensor()) return false;
  const auto& content = target->content;
  const auto found = std::find(content.keys.begin(), content.keys.end(), *key);
  const auto at = found - content.keys.begin();
  if (name == "aten::_set_item") {
    Slot value = hold(slot(node.input(2), scope));
    set_key(change(target), *key, std::move(value));
    return true;
  }
  if (name == "aten::setdefault") {
    if (found == content.keys.end()) {
      Slot value = hold(slot(node.input(2), scope));
      set_key(change(target), *key, std::move(value));
    }
    bind(node.output(), target->content.elements[static_cast<std::size_t>(at)], scope);
    return true;
  }
  if (name == "aten::pop" || name == "aten::Delete") {
    if (found == content.keys.end()) {
      if (node.inputs().size() < 3) refuse(node, "the dictionary has no such key");
      bind(node.output(), slot(node.input(2), scope), scope);
      return true;
    }
    const Slot taken = content.elements[static_cast<std::size_t>(at)];
    Structure::Content& changed = change(target);
    changed.keys.erase(changed.keys.begin() + at);
    changed.elements.erase(changed.elements.begin() + at);
    if (!node.outputs().empty()) bind(node.output(), taken, scope);
    return true;
  }
  return false;
}

void Lowering::change_whole(torch::jit::Node& node, const std::shared_ptr<Structure>& target,
                            const Scope& scope) {
  // The operator changes a copy, so that the value from before stays what it was.
  std::vector<ValueId> arguments{materialise_structure(*target, "a list")};
  for (std::size_t i = 1; i < node.inputs().size(); ++i)
    arguments.push_back(materialise(slot(node.input(i), scope), "a list"));
  const std::size_t count = arguments.size(), outputs = node.outputs().size();
  const Operation call = [inner = operation_of(node), count](Stack& stack) {
    c10::IValue& given = stack[stack.size() - count];
    given = given.isList() ? c10::IValue(given.toList().copy())
                           : c10::IValue(given.toGenericDict().copy());
    const c10::IValue changed = given;
    inner(stack);
    stack.push_back(changed);
  };
  const auto results = emit(node.kind().toQualString(), call, std::move(arguments), outputs + 1);
  for (std::size_t i = 0; i < outputs; ++i)
    bind(node.output(i), computed(results[i], node.output(i)->type(), false), scope);
  set_whole(target, results.back());
}

}  // namespace microtome::host::torchscript
