#include <algorithm>
#include <limits>

#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

std::string Lowering::position(const torch::jit::Node& node) {
  const auto where = node.sourceRange().file_line_col();
  if (!where) return {};
  const auto& [file, line, column] = *where;
  return file + ":" + std::to_string(line) + ":" + std::to_string(column + 1);
}

std::string Lowering::place(const torch::jit::Node& node) const {
  std::string text = node.kind().toQualString();
  if (!current_.module.empty()) text = current_.module + "/" + text;
  const std::string where = position(node);
  return where.empty() ? text : text + " (" + where + ")";
}

void Lowering::refuse(const torch::jit::Node& node, const std::string& why) const {
  Error error(why);
  error.add_where(place(node));
  throw error;
}

Slot& Lowering::slot(const torch::jit::Value* value, const Scope& scope) {
  const auto found = scope.environment->find(value);
  if (found == scope.environment->end()) {
    throw Error("the value %" + value->debugName() + " is read before it is made");
  }
  return found->second;
}

void Lowering::bind(const torch::jit::Value* value, Slot slot, const Scope& scope) {
  (*scope.environment)[value] = std::move(slot);
}

ValueId Lowering::constant(const c10::IValue& value) {
  program_.constants.push_back(value);
  return -static_cast<ValueId>(program_.constants.size());
}

TensorRef Lowering::tensor_constant(const at::Tensor& value, const std::string& name) {
  const auto [known, added] = parameters_.try_emplace(value.unsafeGetTensorImpl(), 0);
  if (added) known->second = constant(value.detach());
  const TensorRef tensor = aliases_.fresh(known->second);
  aliases_.mark_constant(tensor, name);
  return tensor;
}

ValueId Lowering::materialise(const Slot& slot, const std::string& holder) {
  if (const auto* computed = std::get_if<Computed>(&slot)) return computed->id;
  if (const auto* known = std::get_if<Known>(&slot)) return constant(known->value);
  if (const auto* tensor = std::get_if<TensorSlot>(&slot)) {
    const ValueId value = aliases_.read(tensor->tensor, emitter());
    if (!holder.empty()) aliases_.mark_held(tensor->tensor, holder);
    return value;
  }
  if (const auto* list = std::get_if<ViewListSlot>(&slot)) {
    aliases_.mark_held(list->base, holder.empty() ? "a list" : holder);
    return list->list;
  }
  if (const auto* structure = std::get_if<std::shared_ptr<Structure>>(&slot)) {
    return materialise_structure(**structure, holder);
  }
  throw Error("a module or function is used as a value");
}

ValueId Lowering::materialise_structure(const Structure& structure, const std::string& holder) {
  std::vector<ValueId> elements;
  for (const Slot& element : structure.elements) elements.push_back(materialise(element, holder));
  const std::size_t count = elements.size();
  Operation make;
  std::string operation;
  switch (structure.kind) {
    case Structure::Kind::tuple:
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
      make = [count,
              type = structure.type->expectRef<c10::ListType>().getElementType()](Stack& stack) {
        c10::impl::GenericList list(type);
        list.reserve(count);
        for (std::size_t i = stack.size() - count; i < stack.size(); ++i) list.push_back(stack[i]);
        stack.resize(stack.size() - count);
        stack.emplace_back(std::move(list));
      };
      break;
    case Structure::Kind::dictionary:
      operation = "prim::DictConstruct";
      make = [names = structure.names,
              value = structure.type->expectRef<c10::DictType>().getValueType()](Stack& stack) {
        c10::impl::GenericDict dictionary(c10::StringType::get(), value);
        const std::size_t first = stack.size() - names.size();
        for (std::size_t i = 0; i < names.size(); ++i)
          dictionary.insert(names[i], stack[first + i]);
        stack.resize(first);
        stack.emplace_back(std::move(dictionary));
      };
      break;
  }
  return emit(operation, std::move(make), std::move(elements), 1)[0];
}

Slot Lowering::computed(ValueId value, const c10::TypePtr& type, bool fresh) {
  if (type->isSubtypeOf(*c10::TensorType::get())) {
    return TensorSlot{fresh ? aliases_.fresh(value) : aliases_.untraceable(value)};
  }
  const auto tuple = type->cast<c10::TupleType>();
  if (!tuple) return Computed{value};
  const std::size_t count = tuple->elements().size();
  const auto parts = emit(
      "prim::TupleUnpack",
      [](Stack& stack) {
        const auto elements = stack.back().toTupleRef().elements();
        const std::vector<c10::IValue> copied(elements.begin(), elements.end());
        stack.pop_back();
        stack.insert(stack.end(), copied.begin(), copied.end());
      },
      {value}, count);
  auto structure = std::make_shared<Structure>();
  structure->type = type;
  structure->depth = depth_;
  for (std::size_t i = 0; i < count; ++i) {
    structure->elements.push_back(computed(parts[i], tuple->elements()[i], fresh));
  }
  return structure;
}

std::vector<ValueId> Lowering::emit(const std::string& operation, Operation call,
                                    std::vector<ValueId> inputs, std::size_t outputs) {
  Node node;
  node.info.operation = operation;
  node.info.module = current_.module;
  node.info.call = current_.call;
  node.info.depth = depth_;
  node.info.source = source_;
  node.inputs = std::move(inputs);
  for (std::size_t i = 0; i < outputs; ++i) node.outputs.push_back(new_value());
  node.info.inputs.assign(node.inputs.begin(), node.inputs.end());
  node.info.outputs.assign(node.outputs.begin(), node.outputs.end());
  node.call = std::move(call);
  const std::vector<ValueId> made = node.outputs;
  block_->nodes.push_back(std::move(node));
  return made;
}

ValueId Lowering::identity(ValueId value) {
  const ValueId result = emit("microtome::identity", {}, {value}, 1)[0];
  block_->nodes.back().kind = Node::Kind::identity;
  return result;
}

AliasTable::Emitter Lowering::emitter() {
  return {
      [this](const ViewStep& step, ValueId base) {
        if (step.operation == "microtome::identity") return identity(base);
        std::vector<ValueId> arguments = step.arguments;
        arguments[step.self] = base;
        Operation call = step.call;
        if (step.element >= 0) {
          call = [inner = step.call, element = step.element](Stack& stack) {
            inner(stack);
            stack.back() = stack.back().toTensorVector().at(static_cast<std::size_t>(element));
          };
        }
        return emit(step.operation, std::move(call), std::move(arguments), 1)[0];
      },
      [this](const ViewStep& step, ValueId base, ValueId part) {
        if (step.operation == "microtome::identity") return part;
        std::vector<ValueId> arguments = step.arguments;
        arguments[step.self] = base;
        arguments.push_back(part);
        // Any view can be written through: the same view of a counter tells the places.
        Operation call = [inner = step.call, self = step.self, element = step.element,
                          count = step.arguments.size()](Stack& stack) {
          const at::Tensor part = stack.back().toTensor();
          stack.pop_back();
          c10::IValue& slot = stack[stack.size() - count + self];
          const at::Tensor base = slot.toTensor();
          slot = at::arange(base.numel(), base.options().dtype(at::kLong).requires_grad(false))
                     .view(base.sizes());
          inner(stack);
          const at::Tensor places =
              element >= 0 ? stack.back().toTensorVector().at(static_cast<std::size_t>(element))
                           : stack.back().toTensor();
          stack.back() =
              base.reshape(-1).index_put({places.reshape(-1)}, part.reshape(-1)).view(base.sizes());
        };
        return emit("microtome::write_view", std::move(call), std::move(arguments), 1)[0];
      }};
}

void Lowering::separate(Slot& slot, std::int32_t made_since) {
  if (const auto* tensor = std::get_if<TensorSlot>(&slot)) {
    const ValueId value = aliases_.read(tensor->tensor, emitter());
    if (value >= made_since) return;
    slot = TensorSlot{aliases_.view(tensor->tensor, {"microtome::identity", {}, {value}, 0, -1},
                                    identity(value))};
  } else if (auto* structure = std::get_if<std::shared_ptr<Structure>>(&slot)) {
    // Lists and dictionaries are shared with whoever holds them; tuples never change.
    if ((*structure)->kind != Structure::Kind::tuple) return;
    auto copy = std::make_shared<Structure>(**structure);
    for (Slot& element : copy->elements) separate(element, made_since);
    slot = std::move(copy);
  }
}

void Lowering::add_site(HookPoint name, const Slot& slot, const std::string& operation) {
  const auto* tensor = std::get_if<TensorSlot>(&slot);
  if (tensor == nullptr) return;
  program_.sites.push_back({std::move(name), aliases_.read(tensor->tensor, emitter()), operation,
                            true, loop_depth_ > 0});
}

void Lowering::add_module_sites(const std::string& path, int call, HookPoint::Slot kind,
                                std::vector<Slot>& slots, const std::string& type) {
  HookPoint name;
  name.module = path;
  name.call = call;
  name.slot = kind;
  if (kind == HookPoint::Slot::input) {
    for (std::size_t i = 0; i < slots.size(); ++i) {
      name.index = static_cast<int>(i);
      name.has_index = i > 0;
      add_site(name, slots[i], type);
    }
    return;
  }
  if (slots.size() != 1) return;
  const auto* structure = std::get_if<std::shared_ptr<Structure>>(&slots[0]);
  if (structure == nullptr) return add_site(name, slots[0], type);
  for (std::size_t i = 0; i < (*structure)->elements.size(); ++i) {
    name.index = static_cast<int>(i);
    name.has_index = true;
    add_site(name, (*structure)->elements[i], type);
  }
}

void Lowering::collect_tensors(const Slot& slot, std::vector<TensorRef>& tensors) const {
  if (const auto* tensor = std::get_if<TensorSlot>(&slot)) tensors.push_back(tensor->tensor);
  if (const auto* list = std::get_if<ViewListSlot>(&slot)) tensors.push_back(list->base);
  if (const auto* structure = std::get_if<std::shared_ptr<Structure>>(&slot)) {
    for (const Slot& element : (*structure)->elements) collect_tensors(element, tensors);
  }
}

}  // namespace microtome::host::torchscript
