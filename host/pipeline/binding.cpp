#include "host/pipeline/binding.h"

#include <algorithm>

#include "host/pipeline/fitting_transform.h"
#include "host/pipeline/model_inputs.h"
#include "host/support/element_type.h"

namespace microtome::host {
namespace {

bool is_integral(at::ScalarType type) { return c10::isIntegralType(type, true); }

/// Labels, masks and the like feed an input by its name, or when `bind` says so.
bool is_bound_by_name_alone(const FieldInfo& field) {
  if (!field.class_names.empty()) return true;
  const std::string& name = field.name;
  const auto is_part = [&](std::string_view word) {
    const auto at = name.rfind(word);
    return at != std::string::npos && at + word.size() == name.size() &&
           (at == 0 || name[at - 1] == '.');
  };
  return is_part("label") || is_part("labels") || is_part("mask") || is_part("draw") ||
         name.rfind("factor.", 0) == 0 || name.find(".factor.") != std::string::npos;
}

bool shapes_agree(at::IntArrayRef a, at::IntArrayRef b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && a[i] >= 0 && b[i] >= 0) return false;
  }
  return true;
}

/// What is known of an input when fields are bound to it.
struct Input {
  PortInfo port;
  InputUse use;
  bool is_declared = false;  ///< its type is
  bool is_optional = false;

  bool is_typed() const { return is_declared || use.type || use.ids > 0; }
  bool takes_integers() const {
    return is_typed() ? is_integral(port.type) || (!is_declared && use.takes_integers) : false;
  }
  /// Whether it may be meant for it, as far as type and shape tell.
  bool may_take(const FieldInfo& field) const {
    const bool real = !is_integral(field.type);
    if (real ? is_integral(port.type) : !takes_integers() && field.type != at::kBool) return false;
    // What convolutions and linear maps read has a dimension at least.
    if (real && use.type && field.shape.empty()) return false;
    return port.shape.empty() || shapes_agree(port.shape, field.shape);
  }
};

std::string list_of_fields(const DatasetInfo& data) {
  std::string text;
  for (const FieldInfo& field : data.fields)
    text += (text.empty() ? "" : ", ") + field.name + " (" + type_name(field.type) + ", " +
            shape_name(field.shape) + ")";
  return text;
}

}  // namespace

struct Binder::Attempt {
  const ProgramModel& model;
  const DatasetInfo& data;
  Location place;
  std::vector<Input> inputs;
  std::vector<const FieldInfo*> chosen;
  std::vector<Location> places;  ///< of what chose them
  std::vector<bool> is_wrong;    ///< that is said already

  bool is_used(const FieldInfo& field) const {
    return std::find(chosen.begin(), chosen.end(), &field) != chosen.end();
  }
};

FieldPlace place_of_field(const Pipeline& pipeline, const std::string& dataset,
                          const std::string& field) {
  const auto declared =
      std::find_if(pipeline.datasets.begin(), pipeline.datasets.end(),
                   [&](const Declaration& entry) { return entry.name == dataset; });
  FieldPlace place{{}, dataset, field, {}, false};
  if (declared == pipeline.datasets.end()) return place;
  const Value& content = declared->content;
  if (const Value* from = content.find("from"); from != nullptr && from->is_string())
    return place_of_field(pipeline, from->as_string(), field);
  if (const Value* parts = content.find("zip"); parts != nullptr && parts->is_map()) {
    for (const auto& part : parts->as_map()) {
      if (field.rfind(part.key + ".", 0) == 0 && part.value.is_string())
        return place_of_field(pipeline, part.value.as_string(), field.substr(part.key.size() + 1));
    }
  }
  place.location = declared->location;
  const Value* fields = content.find("fields");
  const Value* file = fields == nullptr ? nullptr : fields->find(field);
  if (file == nullptr || !file->is_string()) return place;
  place.location = file->location();
  place.file = file->as_string();
  place.can_convert = true;
  return place;
}

std::vector<Binding> Binder::bind(const ProgramModel& model, const DatasetInfo& data,
                                  const Value& said, const Location& place) {
  Attempt attempt{model, data, place, {}, {}, {}, {}};
  for (std::size_t i = 0; i < model.inputs().size(); ++i) {
    const ProgramPort& port = model.program().inputs.at(i);
    const DeclaredInput* declared = model.declared().find(model.program(), port);
    attempt.inputs.push_back({model.inputs()[i], model.uses()[i],
                              declared != nullptr && declared->type.has_value(), port.optional});
  }
  attempt.chosen.resize(attempt.inputs.size(), nullptr);
  attempt.places.resize(attempt.inputs.size(), place);
  attempt.is_wrong.resize(attempt.inputs.size(), false);
  take_said(attempt, said);
  take_names(attempt);
  take_the_one_way(attempt);
  report_unbound(attempt);
  std::vector<Binding> bindings;
  for (std::size_t i = 0; i < attempt.inputs.size(); ++i) {
    if (attempt.chosen[i] == nullptr) continue;
    check_shape(attempt, i, *attempt.chosen[i], attempt.places[i]);
    bindings.push_back(typed(attempt, i, *attempt.chosen[i]));
  }
  return bindings;
}

void Binder::take_said(Attempt& attempt, const Value& said) {
  if (said.is_null()) return;
  for (const auto& entry : said.as_map()) {
    for (std::size_t i = 0; i < attempt.inputs.size(); ++i) {
      if (attempt.inputs[i].port.name != entry.key) continue;
      attempt.places[i] = entry.value.location();
      attempt.is_wrong[i] = true;
      if (!entry.value.is_string()) {
        problems_.add(entry.value.location(),
                      "bind names a field, found " + describe_type(entry.value.type()));
        continue;
      }
      std::string name = entry.value.as_string();
      const std::string prefix = attempt.data.name + ".";
      if (attempt.data.find(name) == nullptr && name.rfind(prefix, 0) == 0)
        name = name.substr(prefix.size());
      attempt.chosen[i] = attempt.data.find(name);
      if (attempt.chosen[i] != nullptr) {
        attempt.is_wrong[i] = false;
        continue;
      }
      std::vector<std::string> fields;
      for (const FieldInfo& field : attempt.data.fields) fields.push_back(field.name);
      problems_.add(entry.value.location(), "the dataset \"" + attempt.data.name +
                                                "\" has no field \"" + name + "\"" +
                                                suggestion(name, fields));
    }
  }
}

void Binder::take_names(Attempt& attempt) {
  for (std::size_t i = 0; i < attempt.inputs.size(); ++i) {
    if (attempt.chosen[i] != nullptr || attempt.is_wrong[i]) continue;
    const FieldInfo* field = attempt.data.find(attempt.inputs[i].port.name);
    if (field != nullptr && !attempt.is_used(*field)) attempt.chosen[i] = field;
  }
}

void Binder::take_the_one_way(Attempt& attempt) {
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < attempt.inputs.size(); ++i) {
    if (attempt.chosen[i] == nullptr && !attempt.is_wrong[i] && !attempt.inputs[i].is_optional)
      open.push_back(i);
  }
  std::vector<const FieldInfo*> free;
  for (const FieldInfo& field : attempt.data.fields) {
    if (!is_bound_by_name_alone(field) && !attempt.is_used(field)) free.push_back(&field);
  }
  // What is wrong with the one that can be meant is said of that one.
  if (open.size() == 1 && free.size() == 1) attempt.chosen[open[0]] = free[0];
  if (open.size() <= 1 && free.size() <= 1) return;
  std::vector<const FieldInfo*> way(open.size()), found;
  int ways = 0;
  const auto search = [&](const auto& self, std::size_t k) -> void {
    if (ways > 1) return;
    if (k == open.size()) {
      if (++ways == 1) found = way;
      return;
    }
    for (const FieldInfo* field : free) {
      const auto end = way.begin() + static_cast<std::ptrdiff_t>(k);
      if (std::find(way.begin(), end, field) != end || !attempt.inputs[open[k]].may_take(*field))
        continue;
      way[k] = field;
      self(self, k + 1);
    }
  };
  search(search, 0);
  if (ways != 1) return;
  for (std::size_t k = 0; k < open.size(); ++k) attempt.chosen[open[k]] = found[k];
}

void Binder::report_unbound(Attempt& attempt) {
  std::vector<PortInfo> missing;
  for (std::size_t i = 0; i < attempt.inputs.size(); ++i) {
    if (attempt.chosen[i] == nullptr && !attempt.is_wrong[i] && !attempt.inputs[i].is_optional)
      missing.push_back(attempt.inputs[i].port);
  }
  if (missing.empty()) return;
  std::string bind;
  for (const PortInfo& input : missing) bind += (bind.empty() ? "" : ", ") + input.name + ": field";
  problems_.add(attempt.place, "it is not clear which fields of the dataset \"" +
                                   attempt.data.name + "\" feed the model's " +
                                   (missing.size() == 1 ? "input " : "inputs ") +
                                   describe_inputs(missing) +
                                   ": the names differ, and types and shapes do not leave one way "
                                   "alone. The fields are " +
                                   list_of_fields(attempt.data) + "; say bind: {" + bind + "}");
}

void Binder::report(const std::string& key, const Location& location, const std::string& message) {
  if (reported_.insert(key).second) problems_.add(location, message);
}

void Binder::check_shape(const Attempt& attempt, std::size_t input, const FieldInfo& field,
                         const Location& place) {
  const DatasetInfo& data = attempt.data;
  const bool normalises = attempt.model.normalised_input() == input;
  if (normalises && field.is_normalised()) {
    problems_.add(place, "both the model (input: mean, std) and the dataset \"" + data.name +
                             "\" (transform: normalize) normalise; remove one of them");
  }
  const PortInfo& port = attempt.inputs[input].port;
  if (port.shape.empty() || shapes_agree(port.shape, field.shape)) return;
  const bool is_only = attempt.inputs.size() == 1;
  report("shape " + attempt.model.name() + " " + port.name + " " + data.name + " " + field.name,
         place,
         "the model's input " + (is_only ? "" : "\"" + port.name + "\" ") + "is " +
             shape_name(port.shape) + ", but \"" + field.name + "\" of the dataset \"" + data.name +
             "\" is " + shape_name(field.shape) +
             (field.image ? "; " + fitting_transform(pipeline_, data.name, port.shape, field.shape)
                          : ""));
}

Binding Binder::typed(const Attempt& attempt, std::size_t i, const FieldInfo& field) {
  const Input& input = attempt.inputs[i];
  const at::ScalarType from = field.type, to = input.port.type;
  Binding binding{input.port.name, field.name, from, from};
  // The network takes any type, and makes of it what it does.
  if (!input.is_typed()) {
    if (from == at::kHalf || from == at::kBFloat16) binding.to = at::kFloat;
    return binding;
  }
  if (is_integral(from) && !is_integral(to) && input.takes_integers()) return binding;
  const bool is_scale = is_integral(from) && from != at::kBool && !is_integral(to);
  if (!is_scale && converts_exactly(from, to)) {
    binding.to = to;
    return binding;
  }
  const FieldPlace place = place_of_field(pipeline_, attempt.data.name, field.name);
  std::string message =
      "the field \"" + place.field + "\"" + (place.file.empty() ? "" : " (" + place.file + ")") +
      " of the dataset \"" + place.dataset + "\" is " + type_name(from) + ", but the input \"" +
      input.port.name + "\" of the model \"" + attempt.model.name() + "\" takes " + type_name(to);
  if (is_scale) {
    message += ", and the values' scale is not known";
  } else if (is_integral(to)) {
    message += to == at::kBool     ? ""
               : is_integral(from) ? ", which is narrower"
                                   : " (whole numbers, as the network turns them into such; "
                                     "where it takes real numbers and rounds them itself, say "
                                     "input: {type: " +
                                         type_name(from) + "} of the model)";
  } else {
    message += ", which rounds";
  }
  if (place.can_convert) {
    message += "; if that is meant, say so in the dataset: convert: {" + place.field + ": " +
               type_name(to) + "}";
    if (is_scale && from == at::kByte)
      message += " for values of 0 to 255 as they are, or convert: {" + place.field +
                 ": pixels} for 0 to 1";
  } else {
    message += "; the dataset's source must give " + type_name(to);
  }
  report("type " + attempt.model.name() + " " + input.port.name + " " + place.dataset + " " +
             place.field,
         place.location.known() ? place.location : attempt.places[i], message);
  return binding;
}

std::string describe_binding(const Binding& binding, const DatasetInfo& data, bool is_pixels) {
  const FieldInfo* field = data.find(binding.field);
  std::string text =
      binding.input + " <- " + data.name + "." + binding.field + " (" + type_name(binding.from);
  if (binding.to != binding.from) text += " as " + type_name(binding.to);
  if (field != nullptr) text += ", " + shape_name(field->shape);
  if (is_pixels) text += ", pixels";
  return text + ")";
}

}  // namespace microtome::host
