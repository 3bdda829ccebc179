#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>

#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

namespace aten = c10::aten;
namespace prim = c10::prim;

namespace {

bool changes_first_argument(const torch::jit::Use& use) {
  if (use.offset != 0 || use.user->maybeSchema() == nullptr) return false;
  const auto& arguments = use.user->schema().arguments();
  return !arguments.empty() && arguments[0].alias_info() != nullptr &&
         arguments[0].alias_info()->isWrite();
}

}  // namespace

/// Whether a list is changed in a branch or loop other than where it was made, or handed to a loop:
/// then it lives in the program, not in our knowledge of it.
bool Lowering::changed_in_other_block(const torch::jit::Value& list) const {
  const torch::jit::Block* made_in = list.node()->owningBlock();
  return std::any_of(list.uses().begin(), list.uses().end(), [&](const torch::jit::Use& use) {
    if (use.user->kind() == prim::Loop) return true;
    return changes_first_argument(use) && use.user->owningBlock() != made_in;
  });
}

bool Lowering::lower_container(torch::jit::Node& node, const Scope& scope) {
  const auto kind = node.kind();
  if (kind == prim::TupleConstruct || kind == prim::ListConstruct) {
    auto structure = std::make_shared<Structure>();
    structure->kind = kind == prim::TupleConstruct ? Structure::Kind::tuple : Structure::Kind::list;
    structure->type = node.output()->type();
    structure->depth = depth_;
    bool all_known = kind == prim::ListConstruct;
    for (const torch::jit::Value* input : node.inputs()) {
      structure->elements.push_back(slot(input, scope));
      all_known = all_known && std::holds_alternative<Known>(structure->elements.back());
    }
    if (const auto tuple = structure->type->cast<c10::TupleType>(); tuple && tuple->schema()) {
      for (const auto& field : tuple->schema()->arguments())
        structure->names.push_back(field.name());
    }
    const bool changed = std::any_of(node.output()->uses().begin(), node.output()->uses().end(),
                                     changes_first_argument);
    if (kind == prim::ListConstruct && changed_in_other_block(*node.output())) {
      bind(node.output(), Computed{materialise_structure(*structure, "a list")}, scope);
    } else if (all_known && !changed) {
      c10::impl::GenericList list(structure->type->expectRef<c10::ListType>().getElementType());
      for (const Slot& element : structure->elements)
        list.push_back(std::get<Known>(element).value);
      bind(node.output(), Known{list}, scope);
    } else {
      bind(node.output(), std::move(structure), scope);
    }
    return true;
  }
  if (kind == prim::DictConstruct) {
    auto structure = std::make_shared<Structure>();
    structure->kind = Structure::Kind::dictionary;
    structure->type = node.output()->type();
    structure->depth = depth_;
    for (std::size_t i = 0; i + 1 < node.inputs().size(); i += 2) {
      const auto* key = std::get_if<Known>(&slot(node.input(i), scope));
      if (key == nullptr || !key->value.isString()) refuse(node, "its keys are no constant texts");
      structure->names.push_back(key->value.toStringRef());
      structure->elements.push_back(slot(node.input(i + 1), scope));
    }
    if (changed_in_other_block(*node.output())) {
      refuse(node, "the dictionary is changed inside of a branch or loop");
    }
    bind(node.output(), std::move(structure), scope);
    return true;
  }
  if (kind == prim::TupleUnpack || kind == prim::ListUnpack) {
    unpack(node, scope);
    return true;
  }
  if (kind == prim::TupleIndex || kind == aten::__getitem__) return get_item(node, scope);
  if (kind == prim::TupleSlice) {
    const auto& whole = std::get<std::shared_ptr<Structure>>(slot(node.input(), scope));
    auto part = std::make_shared<Structure>(*whole);
    part->type = node.output()->type();
    part->names.clear();
    part->elements.assign(whole->elements.begin() + node.i(c10::attr::beg),
                          whole->elements.begin() + node.i(c10::attr::end));
    bind(node.output(), std::move(part), scope);
    return true;
  }
  if (kind == aten::len || kind == aten::__contains__) {
    const auto* structure = std::get_if<std::shared_ptr<Structure>>(&slot(node.input(0), scope));
    if (structure == nullptr) return false;
    if (kind == aten::len) {
      bind(node.output(), Known{static_cast<std::int64_t>((*structure)->elements.size())}, scope);
      return true;
    }
    const auto* key = std::get_if<Known>(&slot(node.input(1), scope));
    if (key == nullptr || !key->value.isString()) return false;
    const auto& names = (*structure)->names;
    bind(node.output(),
         Known{std::find(names.begin(), names.end(), key->value.toStringRef()) != names.end()},
         scope);
    return true;
  }
  return false;
}

Slot Lowering::element_of(const ViewListSlot& list, std::int64_t index, const Scope&) {
  ViewStep step = list.step;
  step.element = index;
  const ValueId base = aliases_.read(list.base, emitter());
  const ValueId value = emitter().view(step, base);
  return TensorSlot{aliases_.view(list.base, std::move(step), value)};
}

void Lowering::unpack(torch::jit::Node& node, const Scope& scope) {
  const Slot source = slot(node.input(), scope);
  const std::size_t count = node.outputs().size();
  if (const auto* structure = std::get_if<std::shared_ptr<Structure>>(&source)) {
    if ((*structure)->elements.size() != count) {
      refuse(node, "it unpacks " + std::to_string((*structure)->elements.size()) + " values into " +
                       std::to_string(count));
    }
    for (std::size_t i = 0; i < count; ++i) bind(node.output(i), (*structure)->elements[i], scope);
    return;
  }
  if (const auto* known = std::get_if<Known>(&source)) {
    const auto elements = known->value.isTuple() ? known->value.toTupleRef().elements().vec()
                                                 : known->value.toListRef().vec();
    for (std::size_t i = 0; i < count; ++i) bind(node.output(i), Known{elements.at(i)}, scope);
    return;
  }
  if (const auto* list = std::get_if<ViewListSlot>(&source)) {
    const ViewListSlot views = *list;
    for (std::size_t i = 0; i < count; ++i) {
      bind(node.output(i), element_of(views, static_cast<std::int64_t>(i), scope), scope);
    }
    return;
  }
  const auto parts = emit(
      node.kind().toQualString(),
      [count](Stack& stack) {
        const c10::IValue value = stack.back();
        stack.pop_back();
        if (value.isTuple()) {
          for (const c10::IValue& element : value.toTupleRef().elements()) stack.push_back(element);
          return;
        }
        const auto elements = value.toListRef();
        if (elements.size() != count)
          throw Error("a list has " + std::to_string(elements.size()) + " elements, not " +
                      std::to_string(count));
        for (const c10::IValue& element : elements) stack.push_back(element);
      },
      {materialise(source)}, count);
  for (std::size_t i = 0; i < count; ++i) {
    bind(node.output(i), computed(parts[i], node.output(i)->type(), false), scope);
  }
}

bool Lowering::get_item(torch::jit::Node& node, const Scope& scope) {
  const Slot source = slot(node.input(0), scope);
  const auto* index = std::get_if<Known>(&slot(node.input(1), scope));
  if (index == nullptr) return false;
  if (const auto* structure = std::get_if<std::shared_ptr<Structure>>(&source)) {
    const Structure& content = **structure;
    if (index->value.isString()) {
      const auto found =
          std::find(content.names.begin(), content.names.end(), index->value.toStringRef());
      if (found == content.names.end())
        refuse(node, "the dictionary has no key \"" + index->value.toStringRef() + "\"");
      bind(node.output(), content.elements[static_cast<std::size_t>(found - content.names.begin())],
           scope);
      return true;
    }
    std::int64_t at = index->value.toInt();
    if (at < 0) at += static_cast<std::int64_t>(content.elements.size());
    if (at < 0 || at >= static_cast<std::int64_t>(content.elements.size()))
      refuse(node, "the index is out of range");
    bind(node.output(), content.elements[static_cast<std::size_t>(at)], scope);
    return true;
  }
  if (const auto* list = std::get_if<ViewListSlot>(&source);
      list != nullptr && index->value.toInt() >= 0) {
    const ViewListSlot views = *list;
    bind(node.output(), element_of(views, index->value.toInt(), scope), scope);
    return true;
  }
  return false;
}

bool Lowering::lower_list_change(torch::jit::Node& node, const Scope& scope) {
  const std::string name = node.kind().toQualString();
  const Slot target = slot(node.input(0), scope);
  if (const auto* structure = std::get_if<std::shared_ptr<Structure>>(&target)) {
    Structure& content = **structure;
    if (content.depth != depth_)
      refuse(node, "it changes a list or dictionary that was made outside of this branch or loop");
    if (name == "aten::append") {
      content.elements.push_back(slot(node.input(1), scope));
    } else if (name == "aten::_set_item") {
      const auto* key = std::get_if<Known>(&slot(node.input(1), scope));
      if (key == nullptr) refuse(node, "the place that it changes is not known while loading");
      if (key->value.isString()) {
        const auto found =
            std::find(content.names.begin(), content.names.end(), key->value.toStringRef());
        if (found == content.names.end()) {
          content.names.push_back(key->value.toStringRef());
          content.elements.push_back(slot(node.input(2), scope));
        } else {
          content.elements[static_cast<std::size_t>(found - content.names.begin())] =
              slot(node.input(2), scope);
        }
      } else {
        std::int64_t at = key->value.toInt();
        if (at < 0) at += static_cast<std::int64_t>(content.elements.size());
        if (at < 0 || at >= static_cast<std::int64_t>(content.elements.size()))
          refuse(node, "the index is out of range");
        content.elements[static_cast<std::size_t>(at)] = slot(node.input(2), scope);
      }
    } else {
      refuse(node, "this change of a list is not supported");
    }
    if (!node.outputs().empty()) bind(node.output(0), target, scope);
    return true;
  }
  if (!std::holds_alternative<Computed>(target)) return false;
  std::vector<ValueId> arguments;
  for (const torch::jit::Value* input : node.inputs())
    arguments.push_back(materialise(slot(input, scope), "a list"));
  auto operation = node.getOperation();
  const auto results = emit(
      name, [operation](Stack& stack) mutable { operation(stack); }, std::move(arguments),
      node.outputs().size());
  block_->nodes.back().changes_list = true;
  for (std::size_t i = 0; i < results.size(); ++i)
    bind(node.output(i), computed(results[i], node.output(i)->type(), false), scope);
  return true;
}

}  // namespace microtome::host::torchscript
