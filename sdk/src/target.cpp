#include "microtome/target.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <vector>

#include "microtome/quoting.h"

namespace microtome {
namespace {

const std::vector<std::string> names = {"predicted", "label",     "class", "contrast",
                                        "unit",      "direction", "loss",  "kl"};

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(' ') - first + 1));
}

/// Splits at commas that stand outside brackets and quotes.
std::vector<std::string> arguments(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t comma = find_outside(text, ",", from);
    parts.push_back(trimmed(text.substr(from, comma - from)));
    from = comma + 1;
  }
  if (parts.size() == 1 && parts[0].empty()) parts.clear();
  return parts;
}

bool is_identifier(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.';
  });
}

ClassReference read_class(const std::string& text, const Location& location) {
  ClassReference reference;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), reference.index);
  if (code == std::errc{} && end == text.data() + text.size()) {
    if (reference.index < 0) throw Error(location, "classes count from 0, not " + text);
    return reference;
  }
  if (!is_identifier(text)) {
    throw Error(location, "\"" + text + "\" is neither a class number nor a field's name");
  }
  return {0, text};
}

std::string class_text(const ClassReference& reference) {
  return reference.field.empty() ? std::to_string(reference.index) : reference.field;
}

}  // namespace

Target parse_target(std::string_view text, const Location& location) {
  const std::string whole = trimmed(text);
  const auto open = whole.find('(');
  const std::string name = trimmed(std::string_view(whole).substr(0, open));
  const auto known = std::find(names.begin(), names.end(), name);
  if (known == names.end()) {
    throw Error(location, "\"" + whole + "\" is no target" + suggestion(name, names));
  }
  std::vector<std::string> args;
  if (open != std::string::npos) {
    if (whole.back() != ')') throw Error(location, "\"" + whole + "\" lacks a closing bracket");
    args = arguments(std::string_view(whole).substr(open + 1, whole.size() - open - 2));
  }
  Target target;
  target.location = location;
  target.what = static_cast<Target::What>(known - names.begin());
  const auto require = [&](std::size_t count, const std::string& form) {
    if (args.size() != count) throw Error(location, "\"" + whole + "\" should be " + form);
  };
  switch (target.what) {
    case Target::What::predicted:
    case Target::What::label:
    case Target::What::loss:
      require(0, name);
      break;
    case Target::What::class_index:
      require(1, "class(k)");
      target.first = read_class(args[0], location);
      break;
    case Target::What::contrast:
      require(2, "contrast(a, b)");
      target.first = read_class(args[0], location);
      target.second = read_class(args[1], location);
      break;
    case Target::What::unit:
      require(1, "unit(hook)");
      target.hook = parse_hook_point(args[0], location);
      break;
    case Target::What::direction: {
      require(2, "direction(hook, stage.output[row])");
      target.hook = parse_hook_point(args[0], location);
      target.direction = parse_hook_point("x[dir=" + args[1] + "]", location).selector.direction;
      break;
    }
    case Target::What::kl:
      require(1, "kl(reference)");
      target.reference = args[0];
      break;
  }
  return target;
}

Target read_target(const Value& value) {
  if (!value.is_map()) return parse_target(value.as_string(), value.location());
  const std::vector<std::string> keys = {"of", "on", "output", "position"};
  for (const auto& entry : value.as_map()) {
    if (std::find(keys.begin(), keys.end(), entry.key) == keys.end()) {
      throw Error(entry.key_location,
                  "unknown key \"" + entry.key + "\" of a target" + suggestion(entry.key, keys));
    }
  }
  const Value& of = value.at("of");
  Target target = parse_target(of.as_string(), of.location());
  if (const Value* on = value.find("on")) {
    const std::vector<std::string> words = {"logit", "log_prob", "prob"};
    const auto word = std::find(words.begin(), words.end(), on->as_string());
    if (word == words.end()) {
      throw Error(on->location(), "\"" + on->as_string() + "\" is none of logit, log_prob, prob");
    }
    target.on = static_cast<Target::On>(word - words.begin());
  }
  if (const Value* output = value.find("output")) target.output = output->as_string();
  if (const Value* position = value.find("position")) {
    target.position =
        position->is_string() && position->as_string() == "last" ? -1 : position->as_integer();
  }
  return target;
}

std::string Target::text() const {
  std::string result = names[static_cast<std::size_t>(what)];
  switch (what) {
    case What::class_index:
      result += "(" + class_text(first) + ")";
      break;
    case What::contrast:
      result += "(" + class_text(first) + "," + class_text(second) + ")";
      break;
    case What::unit:
      result += "(" + hook->text() + ")";
      break;
    case What::direction:
      result += "(" + hook->text() + "," + direction->text() + ")";
      break;
    case What::kl:
      result += "(" + reference + ")";
      break;
    default:
      break;
  }
  if (on == On::log_prob) result += " on log_prob";
  if (on == On::prob) result += " on prob";
  if (!output.empty()) result += " of " + output;
  if (position) result += " at " + std::to_string(*position);
  return result;
}

}  // namespace microtome
