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
  if (std::holds_alternative<std::monostate>(slot)) return constant(c10::IValue());
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
    if (const auto known = known_value(slot)) return constant(*known);
    return materialise_structure(**structure, holder);
  }
  throw Error(
      "a module or function is used as a value that depends on the data; which module is called "
      "must be known while loading");
}

Slot Lowering::computed(ValueId value, const c10::TypePtr& type, bool fresh) {
  if (is_tensor_type(type)) {
    return TensorSlot{fresh ? aliases_.fresh(value) : aliases_.untraceable(value),
                      is_optional_tensor_type(type)};
  }
  if (type->kind() == c10::TypeKind::NoneType) return Known{c10::IValue()};
  const bool is_list = type->kind() == c10::TypeKind::ListType;
  if (is_list || type->kind() == c10::TypeKind::DictType) {
    auto structure = make(is_list ? Structure::Kind::list : Structure::Kind::dictionary, type);
    structure->content.whole = value;
    if (!fresh)
      structure->content.fixed =
          "it may be part of another value. Copy it first (`list(x)`, `dict(x)`)";
    return structure;
  }
  const auto tuple = type->cast<c10::TupleType>();
  if (!tuple) return Computed{value, {}, false};
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
  std::vector<Slot> elements;
  for (std::size_t i = 0; i < count; ++i)
    elements.push_back(computed(parts[i], tuple->elements()[i], fresh));
  return make(Structure::Kind::tuple, type, std::move(elements));
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

ValueId Lowering::without_gradient(ValueId value) {
  if (gradients_) return value;
  return emit(
      "aten::detach",
      [](Stack& stack) {
        if (stack.back().isTensor() && stack.back().toTensor().defined())
          stack.back() = stack.back().toTensor().detach();
      },
      {value}, 1)[0];
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
    slot = TensorSlot{
        aliases_.view(tensor->tensor, {"microtome::identity", {}, {value}, 0, -1}, identity(value)),
        tensor->may_be_none};
  } else if (auto* structure = std::get_if<std::shared_ptr<Structure>>(&slot)) {
    // Lists and dictionaries are shared with whoever holds them; tuples never change.
    if ((*structure)->kind != Structure::Kind::tuple) return;
    auto copy = make((*structure)->kind, (*structure)->type, (*structure)->content.elements);
    for (Slot& element : copy->content.elements) separate(element, made_since);
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
  for (std::size_t i = 0; i < (*structure)->content.elements.size(); ++i) {
    name.index = static_cast<int>(i);
    name.has_index = true;
    add_site(name, (*structure)->content.elements[i], type);
  }
}

void Lowering::collect_tensors(const Slot& slot, std::vector<TensorRef>& tensors) const {
  if (const auto* tensor = std::get_if<TensorSlot>(&slot)) tensors.push_back(tensor->tensor);
  if (const auto* list = std::get_if<ViewListSlot>(&slot)) tensors.push_back(list->base);
  if (const auto* structure = std::get_if<std::shared_ptr<Structure>>(&slot)) {
    for (const Slot& element : (*structure)->content.elements) collect_tensors(element, tensors);
  }
}

}  // namespace microtome::host::torchscript
