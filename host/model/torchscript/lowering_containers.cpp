// Making and reading tuples, lists and dictionaries whose elements are known one by one.
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>

#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

namespace aten = c10::aten;
namespace prim = c10::prim;

namespace {

/// The place of a key, or the number of keys.
std::size_t find_key(const Structure& dictionary, const c10::IValue& key) {
  const auto& keys = dictionary.content.keys;
  return static_cast<std::size_t>(std::find(keys.begin(), keys.end(), key) - keys.begin());
}

/// The structure, when its elements are known one by one.
const Structure* known_elements(const Slot& slot) {
  const auto* found = std::get_if<std::shared_ptr<Structure>>(&slot);
  return found != nullptr && !(*found)->content.whole && (*found)->kind != Structure::Kind::object
             ? found->get()
             : nullptr;
}

std::int64_t place_in(std::int64_t index, std::size_t size) {
  const auto count = static_cast<std::int64_t>(size);
  const std::int64_t place = index < 0 ? index + count : index;
  if (place < 0 || place >= count) {
    throw Error("the index " + std::to_string(index) + " is out of range: there are " +
                std::to_string(size) + " elements");
  }
  return place;
}

}  // namespace

bool Lowering::lower_container(torch::jit::Node& node, const Scope& scope) {
  if (construct(node, scope)) return true;
  const auto kind = node.kind();
  if (kind == prim::TupleUnpack || kind == prim::ListUnpack) {
    unpack(node, scope);
    return true;
  }
  if (kind == prim::TupleIndex || kind == aten::__getitem__) return get_item(node, scope);
  return read_container(node, scope) || combine_lists(node, scope);
}

bool Lowering::construct(torch::jit::Node& node, const Scope& scope) {
  const auto kind = node.kind();
  if (kind == prim::TupleConstruct || kind == prim::ListConstruct) {
    const bool is_tuple = kind == prim::TupleConstruct;
    std::vector<Slot> elements;
    for (const torch::jit::Value* input : node.inputs()) {
      const Slot& element = slot(input, scope);
      elements.push_back(is_tuple ? element : hold(element));
    }
    bind(node.output(),
         make(is_tuple ? Structure::Kind::tuple : Structure::Kind::list, node.output()->type(),
              std::move(elements)),
         scope);
    return true;
  }
  if (kind == prim::TupleSlice) {
    const Structure* whole = known_elements(slot(node.input(), scope));
    if (whole == nullptr) refuse(node, "the tuple is not known while loading");
    const auto& elements = whole->content.elements;
    bind(node.output(),
         make(Structure::Kind::tuple, node.output()->type(),
              {elements.begin() + node.i(c10::attr::beg),
               elements.begin() + node.i(c10::attr::end)}),
         scope);
    return true;
  }
  if (kind != prim::DictConstruct) return false;
  auto structure = make(Structure::Kind::dictionary, node.output()->type());
  for (std::size_t i = 0; i + 1 < node.inputs().size(); i += 2) {
    const auto key = known_value(slot(node.input(i), scope));
    if (!key || key->isTensor())
      refuse(node, "the keys of a dictionary must be known while loading; use constants");
    set_key(structure->content, *key, hold(slot(node.input(i + 1), scope)));
  }
  bind(node.output(), std::move(structure), scope);
  return true;
}

bool Lowering::read_container(torch::jit::Node& node, const Scope& scope) {
  const auto kind = node.kind();
  const std::string name = kind.toQualString();
  if (node.inputs().empty()) return false;
  const Slot source = slot(node.input(0), scope);
  if (const auto* views = std::get_if<ViewListSlot>(&source)) {
    if (kind == aten::len && views->count) {
      bind(node.output(), Known{*views->count}, scope);
      return true;
    }
    if (name == "aten::list" && views->count) {
      const ViewListSlot list = *views;
      auto copy = make(Structure::Kind::list, node.output()->type());
      for (std::int64_t i = 0; i < *list.count; ++i)
        copy->content.elements.push_back(element_of(list, i));
      bind(node.output(), std::move(copy), scope);
      return true;
    }
    return false;
  }
  const Structure* structure = known_elements(source);
  if (structure == nullptr) return false;
  const auto& content = structure->content;
  const bool is_dictionary = structure->kind == Structure::Kind::dictionary;
  if (kind == aten::len) {
    bind(node.output(), Known{static_cast<std::int64_t>(content.elements.size())}, scope);
    return true;
  }
  if (name == "aten::dict" && structure->kind == Structure::Kind::list) {
    auto made = make(Structure::Kind::dictionary, node.output()->type());
    for (const Slot& each : content.elements) {
      const Structure* pair = known_elements(each);
      const auto key = pair != nullptr ? known_value(pair->content.elements.at(0)) : std::nullopt;
      if (!key || key->isTensor()) return false;
      set_key(made->content, *key, hold(pair->content.elements.at(1)));
    }
    bind(node.output(), std::move(made), scope);
    return true;
  }
  if (!is_dictionary) return false;
  const auto key =
      node.inputs().size() > 1 ? known_value(slot(node.input(1), scope)) : std::nullopt;
  if (name == "aten::__contains__") {
    if (!key) return false;
    bind(node.output(), Known{find_key(*structure, *key) < content.keys.size()}, scope);
    return true;
  }
  if (name == "aten::get") {
    if (!key) return false;
    const std::size_t at = find_key(*structure, *key);
    const Slot otherwise =
        node.inputs().size() > 2 ? slot(node.input(2), scope) : Slot(Known{c10::IValue()});
    bind(node.output(), at < content.keys.size() ? content.elements[at] : otherwise, scope);
    return true;
  }
  if (name == "aten::keys" || name == "aten::list") {
    auto keys = make(Structure::Kind::list, node.output()->type());
    for (const c10::IValue& each : content.keys) keys->content.elements.emplace_back(Known{each});
    bind(node.output(), std::move(keys), scope);
    return true;
  }
  if (name == "aten::values") {
    auto values = make(Structure::Kind::list, node.output()->type());
    for (const Slot& each : content.elements) values->content.elements.push_back(hold(each));
    bind(node.output(), std::move(values), scope);
    return true;
  }
  if (name == "aten::items") {
    auto items = make(Structure::Kind::list, node.output()->type());
    for (std::size_t i = 0; i < content.keys.size(); ++i) {
      auto item = make(Structure::Kind::tuple, element_type(*items, 0));
      item->content.elements = {Known{content.keys[i]}, hold(content.elements[i])};
      items->content.elements.emplace_back(std::move(item));
    }
    bind(node.output(), std::move(items), scope);
    return true;
  }
  if (name == "aten::copy" || name == "aten::dict") {
    auto copy = make(Structure::Kind::dictionary, node.output()->type(), content.elements);
    copy->content.keys = content.keys;
    for (const Slot& each : content.elements) hold(each);
    bind(node.output(), std::move(copy), scope);
    return true;
  }
  return false;
}

bool Lowering::combine_lists(torch::jit::Node& node, const Scope& scope) {
  const std::string name = node.kind().toQualString();
  if (node.outputs().size() != 1 || node.output()->type()->kind() != c10::TypeKind::ListType)
    return false;
  const auto elements_of = [&](std::size_t input) -> const std::vector<Slot>* {
    if (input >= node.inputs().size()) return nullptr;
    const Structure* structure = known_elements(slot(node.input(input), scope));
    return structure != nullptr && structure->kind == Structure::Kind::list
               ? &structure->content.elements
               : nullptr;
  };
  const auto known = [&](std::size_t input) { return known_value(slot(node.input(input), scope)); };
  const std::vector<Slot>* first = elements_of(0);
  std::vector<Slot> elements;
  if (name == "aten::add" && first != nullptr && elements_of(1) != nullptr) {
    elements = *first;
    elements.insert(elements.end(), elements_of(1)->begin(), elements_of(1)->end());
  } else if (name == "aten::mul" && node.inputs().size() == 2) {
    const std::size_t list = first != nullptr ? 0 : 1;
    const auto times = known(1 - list);
    const auto* repeated = elements_of(list);
    if (repeated == nullptr || !times || !times->isInt()) return false;
    for (std::int64_t i = 0; i < times->toInt(); ++i)
      elements.insert(elements.end(), repeated->begin(), repeated->end());
  } else if ((name == "aten::copy" || name == "aten::list") && first != nullptr) {
    elements = *first;
  } else if (name == "aten::slice" && first != nullptr) {
    const auto start = known(1), end = known(2), step = known(3);
    if (!start || !end || !step) return false;
    const auto count = static_cast<std::int64_t>(first->size());
    const auto clamped = [&](const c10::IValue& place, std::int64_t otherwise) {
      if (place.isNone()) return otherwise;
      const std::int64_t at = place.toInt() < 0 ? place.toInt() + count : place.toInt();
      return std::clamp<std::int64_t>(at, 0, count);
    };
    if (step->toInt() < 1) return false;
    const std::int64_t last = clamped(*end, count);
    for (std::int64_t i = clamped(*start, 0); i < last; i += step->toInt())
      elements.push_back((*first)[static_cast<std::size_t>(i)]);
  } else {
    return false;
  }
  for (const Slot& element : elements) hold(element);
  bind(node.output(), make(Structure::Kind::list, node.output()->type(), std::move(elements)),
       scope);
  return true;
}

Slot Lowering::element_of(const ViewListSlot& list, std::int64_t index) {
  ViewStep step = list.step;
  step.element = index;
  const ValueId base = aliases_.read(list.base, emitter());
  const ValueId value = emitter().view(step, base);
  return TensorSlot{aliases_.view(list.base, std::move(step), value)};
}

void Lowering::unpack(torch::jit::Node& node, const Scope& scope) {
  const Slot source = slot(node.input(), scope);
  const std::size_t count = node.outputs().size();
  if (const Structure* structure = known_elements(source)) {
    const auto& elements = structure->content.elements;
    if (elements.size() != count) {
      refuse(node, "it unpacks " + std::to_string(elements.size()) + " values into " +
                       std::to_string(count));
    }
    return bind_all(node, elements, scope);
  }
  if (const auto* list = std::get_if<ViewListSlot>(&source)) {
    const ViewListSlot views = *list;
    if (views.count && *views.count != static_cast<std::int64_t>(count)) {
      refuse(node, "it unpacks " + std::to_string(*views.count) + " values into " +
                       std::to_string(count));
    }
    for (std::size_t i = 0; i < count; ++i)
      bind(node.output(i), element_of(views, static_cast<std::int64_t>(i)), scope);
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
      {materialise(source, "a list")}, count);
  for (std::size_t i = 0; i < count; ++i) {
    bind(node.output(i), computed(parts[i], node.output(i)->type(), false), scope);
  }
}

bool Lowering::get_item(torch::jit::Node& node, const Scope& scope) {
  const Slot source = slot(node.input(0), scope);
  const auto index = known_value(slot(node.input(1), scope));
  if (!index) return false;
  if (const Structure* structure = known_elements(source)) {
    const auto& elements = structure->content.elements;
    if (structure->kind == Structure::Kind::dictionary) {
      const std::size_t at = find_key(*structure, *index);
      if (at >= elements.size()) {
        refuse(node, index->isString()
                         ? "the dictionary has no key \"" + index->toStringRef() + "\""
                         : std::string("the dictionary has no such key"));
      }
      bind(node.output(), elements[at], scope);
      return true;
    }
    bind(node.output(),
         elements[static_cast<std::size_t>(place_in(index->toInt(), elements.size()))], scope);
    return true;
  }
  if (const auto* list = std::get_if<ViewListSlot>(&source)) {
    const ViewListSlot views = *list;
    if (!views.count && index->toInt() < 0) return false;
    const std::int64_t place =
        views.count ? place_in(index->toInt(), static_cast<std::size_t>(*views.count))
                    : index->toInt();
    bind(node.output(), element_of(views, place), scope);
    return true;
  }
  return false;
}

}  // namespace microtome::host::torchscript
