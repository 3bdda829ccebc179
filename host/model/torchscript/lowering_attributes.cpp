// Attributes of modules and objects.
#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

namespace prim = c10::prim;

namespace {

std::string joined(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

std::string class_name(const c10::TypePtr& type) {
  const auto found = type->cast<c10::ClassType>();
  return found && found->name() ? found->name()->qualifiedName() : std::string();
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

Slot Lowering::slot_of_attribute(const c10::IValue& value, const c10::TypePtr& type,
                                 const std::string& path) {
  if (value.isModule()) return ModuleSlot{value.toModule(), path};
  if (value.isTensor() && value.toTensor().defined())
    return TensorSlot{tensor_constant(value.toTensor(), path)};
  const std::string why =
      "\"" + path + "\" is an attribute of the model, whose state does not change";
  if (value.isList() || value.isTuple() || value.isGenericDict()) {
    Slot slot = slot_of(value, type);
    fix(slot, why);
    return slot;
  }
  const auto object_type = value.isObject() ? value.type()->cast<c10::ClassType>() : nullptr;
  if (object_type && object_type->is_module()) return Known{value};
  if (object_type && object_type->name() &&
      object_type->name()->qualifiedName().rfind("__torch__.torch.classes", 0) != 0) {
    std::vector<Slot> attributes;
    const auto object = value.toObject();
    for (std::size_t i = 0; i < object_type->numAttributes(); ++i) {
      attributes.push_back(slot_of_attribute(object->getSlot(i), object_type->getAttribute(i),
                                             joined(path, object_type->getAttributeName(i))));
    }
    auto structure = make(Structure::Kind::object, object_type, std::move(attributes));
    for (const auto& attribute : object_type->getAttributes())
      structure->names.push_back(attribute.getName());
    fix(structure, why);
    return structure;
  }
  return Known{value};
}

void Lowering::get_attribute(torch::jit::Node& node, const Scope& scope) {
  const Slot source = slot(node.input(), scope);
  const std::string& name = node.s(c10::attr::name);
  if (const auto* object = std::get_if<std::shared_ptr<Structure>>(&source)) {
    const Structure& structure = **object;
    for (std::size_t i = 0; i < structure.names.size(); ++i) {
      if (structure.names[i] != name) continue;
      const Slot found = structure.content.elements.at(i);
      if (std::holds_alternative<std::monostate>(found))
        refuse(node, "the attribute \"" + name + "\" is read before it is set");
      return bind(node.output(), found, scope);
    }
  }
  const auto* owner = std::get_if<ModuleSlot>(&source);
  if (owner == nullptr) {
    refuse(node,
           "it reads the attribute \"" + name + "\" of an object that is not TorchScript's own");
  }
  const void* const module = owner->module._ivalue().get();
  if (const auto found = set_attributes_.find(module); found != set_attributes_.end()) {
    if (const auto set = found->second.find(name); set != found->second.end())
      return bind(node.output(), set->second, scope);
  }
  const c10::IValue value = owner->module._ivalue()->getAttr(name);
  const std::string path = joined(owner->path, name);
  if (!value.isModule()) read_attributes_[module].emplace(name, place(node));
  const auto& type = owner->module.type();
  const std::size_t index = type->getAttributeSlot(name);
  const std::size_t known = parameters_.size();
  Slot made = slot_of_attribute(value, type->getAttribute(index), path);
  // Tied parameters are one constant, under the name that is read first.
  if (value.isTensor() && parameters_.size() > known) {
    program_.parameters.push_back(
        {path, -static_cast<ValueId>(program_.constants.size()), !type->is_parameter(index)});
  }
  bind(node.output(), std::move(made), scope);
}

void Lowering::set_attribute(torch::jit::Node& node, const Scope& scope) {
  const Slot target = slot(node.input(0), scope);
  const std::string& name = node.s(c10::attr::name);
  if (const auto* object = std::get_if<std::shared_ptr<Structure>>(&target)) {
    for (std::size_t i = 0; i < (*object)->names.size(); ++i) {
      if ((*object)->names[i] != name) continue;
      Slot value = hold(slot(node.input(1), scope));
      change(*object).elements.at(i) = std::move(value);
      return;
    }
  }
  const auto* owner = std::get_if<ModuleSlot>(&target);
  if (owner == nullptr) {
    refuse(node,
           "it sets the attribute \"" + name + "\" of an object that is not TorchScript's own");
  }
  // What a run leaves in the module must not reach the next run.
  const void* const module = owner->module._ivalue().get();
  const std::string path = joined(owner->path, name);
  if (depth_ > 0) {
    refuse(node, "it changes the module's state (\"" + path +
                     "\") in a branch or loop that depends on the data, so what a run gives may "
                     "depend on the run before. Keep the value in a variable of `forward`");
  }
  if (const auto read = read_attributes_.find(module); read != read_attributes_.end() &&
                                                       read->second.contains(name) &&
                                                       !set_attributes_[module].contains(name)) {
    refuse(node,
           "it changes the module's state (\"" + path + "\"), which was read at " +
               read->second.at(name) +
               ", so what a run gives depends on the run before. Keep the value in a variable "
               "of `forward`");
  }
  set_attributes_[module][name] = hold(slot(node.input(1), scope));
}

bool Lowering::lower_object(torch::jit::Node& node, const Scope& scope) {
  const auto kind = node.kind();
  if (kind == prim::CreateObject) {
    const auto type = node.output()->type()->expect<c10::ClassType>();
    auto object = make(Structure::Kind::object, type, std::vector<Slot>(type->numAttributes()));
    for (const auto& attribute : type->getAttributes())
      object->names.push_back(attribute.getName());
    bind(node.output(), std::move(object), scope);
    return true;
  }
  if (kind == prim::ModuleContainerIndex) {
    const auto* owner = std::get_if<ModuleSlot>(&slot(node.input(0), scope));
    const auto key = known_value(slot(node.input(1), scope));
    if (owner == nullptr || !key)
      refuse(node,
             "which module it picks is not known while loading. Call the modules in a plain "
             "loop over the container");
    std::string name;
    if (key->isString()) {
      name = key->toStringRef();
    } else {
      const auto children = static_cast<std::int64_t>(owner->module.children().size());
      name = std::to_string(key->toInt() < 0 ? key->toInt() + children : key->toInt());
    }
    const ModuleSlot found{owner->module.attr(name).toModule(), joined(owner->path, name)};
    bind(node.output(), found, scope);
    return true;
  }
  if (kind != prim::Enter && kind != prim::Exit) return false;
  const Slot target = slot(node.input(0), scope);
  const auto* object = std::get_if<std::shared_ptr<Structure>>(&target);
  const std::string name = class_name(node.input(0)->type());
  // Timing says nothing about values.
  if (ends_with(name, "record_function")) {
    bind(node.output(), kind == prim::Enter ? target : Slot(Known{c10::IValue()}), scope);
    return true;
  }
  if (object == nullptr) refuse(node, "it enters a block of a kind that is not supported");
  if (name.find("autocast") != std::string::npos) {
    for (std::size_t i = 0; i < (*object)->names.size(); ++i) {
      const auto known = known_value((*object)->content.elements[i]);
      if ((*object)->names[i].find("enabled") != std::string::npos && known && known->isBool() &&
          !known->toBool()) {
        bind(node.output(), kind == prim::Enter ? target : Slot(Known{c10::IValue()}), scope);
        return true;
      }
    }
    refuse(node,
           "it computes in mixed precision (torch.autocast). Save the network without it; "
           "runtime: {precision: bfloat16} computes in less");
  }
  auto* method = (*object)->type->expectRef<c10::ClassType>().findMethod(
      kind == prim::Enter ? "__enter__" : "__exit__");
  if (method == nullptr) refuse(node, "it enters a block of a kind that is not supported");
  std::vector<Slot> arguments{target};
  if (kind == prim::Exit) arguments.resize(4, Known{c10::IValue()});
  const auto results = call_function(node, *method, std::move(arguments), scope);
  if (!ended_ && results.size() == 1) bind(node.output(), results[0], scope);
  return true;
}

}  // namespace microtome::host::torchscript
