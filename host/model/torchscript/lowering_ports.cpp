// The model's inputs and outputs.
#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

namespace {

std::string key_text(const c10::IValue& key) {
  if (key.isString()) return key.toStringRef();
  if (key.isInt()) return std::to_string(key.toInt());
  throw Error("an output is a dictionary whose keys are neither strings nor integers");
}

std::string type_text(const c10::TypePtr& type) { return type->repr_str(); }

}  // namespace

std::vector<Slot> Lowering::make_inputs(const c10::FunctionSchema& schema) {
  std::vector<Slot> arguments, tensors;
  for (std::size_t i = 1; i < schema.arguments().size(); ++i) {
    const c10::Argument& input = schema.arguments()[i];
    const std::string& name = input.name();
    const bool may_be_none = is_optional_tensor_type(input.type());
    if (is_tensor_type(input.type())) {
      const ValueId id = new_value();
      program_.inputs.push_back({name, id, may_be_none});
      arguments.emplace_back(TensorSlot{aliases_.fresh(id), may_be_none});
      tensors.push_back(arguments.back());
      continue;
    }
    if (!input.default_value()) {
      throw Error("the input \"" + name + "\" is " + type_text(input.type()) +
                  " and has no default value; inputs must be tensors. Give it a default value in "
                  "`forward`, or save a module that calls this one with the value that you want");
    }
    arguments.push_back(slot_of(*input.default_value(), input.type()));
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::string name = "input." + program_.inputs[i].name;
    if (tensors.size() == 1) add_site(parse_hook_point("input"), tensors[i], "input");
    add_site(parse_hook_point(name), tensors[i], "input");
  }
  return arguments;
}

void Lowering::add_outputs(const Slot& slot, const std::string& name) {
  const auto inner = [&](const std::string& part) {
    return name.empty() ? part : name + "." + part;
  };
  const std::string what = name.empty() ? std::string("the output") : "the output \"" + name + "\"";
  if (const auto* found = std::get_if<std::shared_ptr<Structure>>(&slot)) {
    const Structure& structure = **found;
    if (structure.content.whole) {
      const bool has_tensors = structure.type->repr_str().find("Tensor") != std::string::npos;
      if (!has_tensors) return;
      throw Error(what + " is a " +
                  (structure.kind == Structure::Kind::list ? "list" : "dictionary") +
                  " whose length shows only when the model runs. Return a tensor (torch.stack) or "
                  "a tuple");
    }
    const auto& elements = structure.content.elements;
    for (std::size_t i = 0; i < elements.size(); ++i) {
      if (structure.kind == Structure::Kind::dictionary) {
        add_outputs(elements[i], inner(key_text(structure.content.keys[i])));
      } else {
        add_outputs(elements[i],
                    inner(structure.names.empty() ? std::to_string(i) : structure.names[i]));
      }
    }
    return;
  }
  if (const auto* views = std::get_if<ViewListSlot>(&slot)) {
    if (!views->count) {
      throw Error(what + " is the list that " + views->step.operation +
                  " returns, whose length shows only when the model runs. Return the tensor, or a "
                  "tuple of its parts");
    }
    for (std::int64_t i = 0; i < *views->count; ++i)
      add_outputs(element_of(*views, i), inner(std::to_string(i)));
    return;
  }
  if (const auto* tensor = std::get_if<TensorSlot>(&slot)) {
    // A value of its own: hooking the output is not hooking what made it.
    const ValueId id = identity(aliases_.read(tensor->tensor, emitter()));
    program_.outputs.push_back({name.empty() ? "output" : name, id, tensor->may_be_none});
  }
}

}  // namespace microtome::host::torchscript
