// Tuples, lists, dictionaries and objects as they are known while loading.
#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

std::shared_ptr<Structure> Lowering::make(Structure::Kind kind, c10::TypePtr type,
                                          std::vector<Slot> elements) {
  auto structure = std::make_shared<Structure>();
  structure->kind = kind;
  structure->type = std::move(type);
  structure->serial = structures_++;
  structure->content.elements = std::move(elements);
  if (const auto tuple = structure->type->cast<c10::TupleType>(); tuple && tuple->schema()) {
    for (const auto& field : tuple->schema()->arguments()) structure->names.push_back(field.name());
  }
  return structure;
}

Structure::Content& Lowering::change(const std::shared_ptr<Structure>& structure) {
  if (!structure->content.fixed.empty()) {
    throw Error(
        std::string("it changes a list, dictionary or object, which is not supported here: ") +
        structure->content.fixed);
  }
  if (tries_ > 0) changes_.push_back({structure, structure->content});
  return structure->content;
}

void Lowering::fix(const std::shared_ptr<Structure>& structure, const std::string& why) {
  if (!structure->content.fixed.empty()) return;
  if (structure->kind != Structure::Kind::tuple) change(structure).fixed = why;
  for (const Slot& element : structure->content.elements) fix(element, why);
}

void Lowering::fix(const Slot& slot, const std::string& why) {
  if (const auto* structure = std::get_if<std::shared_ptr<Structure>>(&slot)) fix(*structure, why);
}

Slot Lowering::hold(const Slot& slot) {
  if (const auto* found = std::get_if<std::shared_ptr<Structure>>(&slot)) {
    if ((*found)->kind == Structure::Kind::tuple) {
      for (const Slot& element : (*found)->content.elements) hold(element);
    } else {
      (*found)->content.held = true;
    }
  }
  return slot;
}

Slot Lowering::slot_of(const c10::IValue& value, const c10::TypePtr& type) {
  c10::TypePtr own = type;
  if (const auto optional = type->cast<c10::OptionalType>()) own = optional->getElementType();
  if (value.isTensor() && value.toTensor().defined())
    return TensorSlot{tensor_constant(value.toTensor(), "a constant of the code")};
  if (value.isTuple()) {
    if (own->kind() != c10::TypeKind::TupleType) own = value.type();
    std::vector<Slot> elements;
    const auto parts = value.toTupleRef().elements();
    const auto& types = own->expectRef<c10::TupleType>().elements();
    for (std::size_t i = 0; i < parts.size(); ++i)
      elements.push_back(hold(slot_of(parts[i], types.at(i))));
    return make(Structure::Kind::tuple, own, std::move(elements));
  }
  if (value.isList()) {
    if (own->kind() != c10::TypeKind::ListType) own = value.type();
    auto structure = make(Structure::Kind::list, own);
    for (const c10::IValue& part : value.toListRef())
      structure->content.elements.push_back(hold(slot_of(part, element_type(*structure, 0))));
    return structure;
  }
  if (value.isGenericDict()) {
    if (own->kind() != c10::TypeKind::DictType) own = value.type();
    auto structure = make(Structure::Kind::dictionary, own);
    for (const auto& entry : value.toGenericDict()) {
      structure->content.keys.push_back(entry.key());
      structure->content.elements.push_back(
          hold(slot_of(entry.value(), element_type(*structure, 0))));
    }
    return structure;
  }
  return Known{value};
}

ValueId Lowering::materialise_structure(const Structure& structure, const std::string& holder) {
  const Structure::Content& content = structure.content;
  if (content.whole) return *content.whole;
  if (structure.kind == Structure::Kind::object)
    throw Error("an object of a class is used as a value, which is not supported here");
  std::vector<ValueId> elements;
  for (const Slot& element : content.elements) elements.push_back(materialise(element, holder));
  const std::size_t count = elements.size();
  Operation make;
  std::string operation;
  switch (structure.kind) {
    case Structure::Kind::tuple:
    case Structure::Kind::object:
      operation = "prim::TupleConstruct";
      make = [count](Stack& stack) {
        std::vector<c10::IValue> taken(stack.end() - static_cast<std::ptrdiff_t>(count),
                                       stack.end());
        stack.resize(stack.size() - count);
        stack.emplace_back(c10::ivalue::Tuple::create(std::move(taken)));
      };
      break;
    case Structure::Kind::list:
      operation = "prim::ListConstruct";
      make = [count, type = element_type(structure, 0)](Stack& stack) {
        c10::impl::GenericList list(type);
        list.reserve(count);
        for (std::size_t i = stack.size() - count; i < stack.size(); ++i) list.push_back(stack[i]);
        stack.resize(stack.size() - count);
        stack.emplace_back(std::move(list));
      };
      break;
    case Structure::Kind::dictionary:
      operation = "prim::DictConstruct";
      make = [keys = content.keys, key = structure.type->expectRef<c10::DictType>().getKeyType(),
              value = element_type(structure, 0)](Stack& stack) {
        c10::impl::GenericDict dictionary(key, value);
        const std::size_t first = stack.size() - keys.size();
        for (std::size_t i = 0; i < keys.size(); ++i) dictionary.insert(keys[i], stack[first + i]);
        stack.resize(first);
        stack.emplace_back(std::move(dictionary));
      };
      break;
  }
  return emit(operation, std::move(make), std::move(elements), 1)[0];
}

}  // namespace microtome::host::torchscript
