#include "host/model/torchscript/slot.h"

#include <algorithm>

namespace microtome::host::torchscript {

c10::TypePtr element_type(const Structure& structure, std::size_t index) {
  switch (structure.kind) {
    case Structure::Kind::tuple:
      return structure.type->expectRef<c10::TupleType>().elements().at(index);
    case Structure::Kind::list:
      return structure.type->expectRef<c10::ListType>().getElementType();
    case Structure::Kind::dictionary:
      return structure.type->expectRef<c10::DictType>().getValueType();
    case Structure::Kind::object:
      break;
  }
  return structure.type->expectRef<c10::ClassType>().getAttribute(index);
}

std::optional<c10::IValue> known_value(const Slot& slot) {
  if (const auto* known = std::get_if<Known>(&slot)) return known->value;
  const auto* found = std::get_if<std::shared_ptr<Structure>>(&slot);
  if (found == nullptr || (*found)->kind == Structure::Kind::object) return std::nullopt;
  const Structure& structure = **found;
  if (structure.content.whole) return std::nullopt;
  std::vector<c10::IValue> elements;
  for (const Slot& element : structure.content.elements) {
    auto value = known_value(element);
    if (!value) return std::nullopt;
    elements.push_back(std::move(*value));
  }
  if (structure.kind == Structure::Kind::tuple) {
    const auto type = structure.type->cast<c10::TupleType>();
    if (type && type->schema())
      return c10::IValue(c10::ivalue::Tuple::createNamed(std::move(elements), type));
    return c10::IValue(c10::ivalue::Tuple::create(std::move(elements)));
  }
  if (structure.kind == Structure::Kind::list) {
    c10::impl::GenericList list(element_type(structure, 0));
    for (c10::IValue& element : elements) list.push_back(std::move(element));
    return c10::IValue(std::move(list));
  }
  const auto& type = structure.type->expectRef<c10::DictType>();
  c10::impl::GenericDict dictionary(type.getKeyType(), type.getValueType());
  for (std::size_t i = 0; i < elements.size(); ++i)
    dictionary.insert(structure.content.keys[i], std::move(elements[i]));
  return c10::IValue(std::move(dictionary));
}

void set_key(Structure::Content& dictionary, const c10::IValue& key, Slot value) {
  const auto found = std::find(dictionary.keys.begin(), dictionary.keys.end(), key);
  if (found == dictionary.keys.end()) {
    dictionary.keys.push_back(key);
    dictionary.elements.push_back(std::move(value));
  } else {
    dictionary.elements[static_cast<std::size_t>(found - dictionary.keys.begin())] =
        std::move(value);
  }
}

const c10::IValue* known_plain(const Slot& slot) {
  const auto* known = std::get_if<Known>(&slot);
  if (known == nullptr) return nullptr;
  const c10::IValue& value = known->value;
  const bool plain = value.isNone() || value.isBool() || value.isInt() || value.isDouble() ||
                     value.isString() || value.isDevice();
  return plain ? &value : nullptr;
}

bool is_known_none(const Slot& slot) {
  const auto* known = std::get_if<Known>(&slot);
  return known != nullptr && known->value.isNone();
}

bool is_tensor_type(const c10::TypePtr& type) {
  return is_optional_tensor_type(type) || type->isSubtypeOf(*c10::TensorType::get());
}

bool is_optional_tensor_type(const c10::TypePtr& type) {
  return !type->isSubtypeOf(*c10::TensorType::get()) && type->kind() != c10::TypeKind::NoneType &&
         type->isSubtypeOf(*c10::OptionalType::create(c10::TensorType::get()));
}

}  // namespace microtome::host::torchscript
