#include "microtome/hook_point.h"

#include <charconv>

#include "microtome/quoting.h"

namespace microtome {
namespace {

constexpr const char* about_quotes =
    "; a module's name with blanks, brackets or any of @ : / | , stands in single quotes, such as "
    "m.'x[0]'";

/// Reads the grammar from left to right, knowing the column for errors.
class Reader {
 public:
  Reader(std::string_view text, Location location) : text_(text), start_(std::move(location)) {}

  bool done() const { return position_ == text_.size(); }
  bool next_is(char c) const { return !done() && text_[position_] == c; }
  bool take(std::string_view word) {
    if (text_.substr(position_, word.size()) != word) return false;
    position_ += word.size();
    return true;
  }
  void expect(char c, const std::string& after) {
    if (!next_is(c)) fail("expected '" + std::string(1, c) + "' after " + after);
    ++position_;
  }
  std::string until(std::string_view stops) {
    const std::size_t from = position_;
    while (!done() && stops.find(text_[position_]) == std::string_view::npos) ++position_;
    return std::string(text_.substr(from, position_ - from));
  }
  /// Up to one of `stops` that stands outside quotes and brackets.
  std::string until_outside(std::string_view stops) {
    const std::size_t from = position_;
    position_ = find_outside(text_, stops, from);
    return std::string(text_.substr(from, position_ - from));
  }
  /// A module's path, its quotes taken off.
  std::string path() {
    std::string result;
    while (true) {
      if (next_is('\'')) {
        result += quoted();
      } else {
        result += until(".@:/|[ \t'");
        if (next_is('\'')) {
          fail(
              "a quote inside of a name; write the name in single quotes and each quote in it "
              "twice, such as 'it''s'");
        }
      }
      if (!take(".")) return result;
      result += '.';
    }
  }
  std::int64_t integer(const std::string& what) {
    skip_spaces();
    std::int64_t result = 0;
    const auto [end, code] =
        std::from_chars(text_.data() + position_, text_.data() + text_.size(), result);
    if (code != std::errc{}) fail("expected a whole number for " + what);
    position_ = static_cast<std::size_t>(end - text_.data());
    skip_spaces();
    return result;
  }
  std::int64_t positive(const std::string& what) {
    const std::int64_t value = integer(what);
    if (value < 1 || value > 1'000'000) fail(what + " counts from 1");
    return value;
  }
  void skip_spaces() {
    while (next_is(' ')) ++position_;
  }
  [[noreturn]] void fail(const std::string& message) const {
    Location place = start_;
    if (place.known()) place.column += static_cast<int>(position_);
    throw Error(place, "\"" + std::string(text_) + "\" is no hook point: " + message);
  }

 private:
  std::string quoted() {
    const std::size_t end = end_of_quoted(text_, position_);
    if (end == position_) fail("the quote is not closed");
    std::string name;
    for (std::size_t i = position_ + 1; i + 1 < end; ++i) {
      name += text_[i];
      if (text_[i] == '\'') ++i;
    }
    if (name.empty()) fail("there is nothing between the quotes");
    position_ = end;
    return name;
  }
  std::string_view text_;
  std::size_t position_ = 0;
  Location start_;
};

DirectionReference read_reference(Reader& reader, bool with_row) {
  DirectionReference reference;
  reference.stage = reader.until(".,[]| ");
  if (reference.stage.empty()) reader.fail("expected a stage's name");
  if (reader.take("[")) {
    reference.stage += "[" + reader.until_outside("]") + "]";
    reader.expect(']', "the element of the matrix");
  }
  reader.expect('.', "the stage \"" + reference.stage + "\"");
  reference.output = reader.until(".,[]| ");
  if (reference.output.empty()) reader.fail("expected the name of an output of the stage");
  if (with_row) {
    reader.expect('[', "the output \"" + reference.output + "\"");
    reference.row = reader.integer("the row");
    if (reference.row < 0) reader.fail("rows count from 0");
    reader.expect(']', "the row");
  }
  return reference;
}

std::int64_t read_index(Reader& reader, const std::string& axis) {
  reader.skip_spaces();
  if (reader.take("last")) return -1;
  return reader.integer("the axis \"" + axis + "\"");
}

void read_selector(Reader& reader, Selector& selector) {
  reader.expect('[', "the value's name");
  do {
    reader.skip_spaces();
    const std::string axis = reader.until("=,[] ");
    reader.skip_spaces();
    if (axis.empty()) reader.fail("expected an axis such as c, y, x, token, head or unit");
    if (!reader.take("="))
      reader.fail("expected '=' after the axis \"" + axis + "\"" + about_quotes);
    reader.skip_spaces();
    if (axis == "dir") {
      if (selector.direction) reader.fail("one direction at a time");
      selector.direction = read_reference(reader, true);
    } else {
      for (const AxisSelection& other : selector.axes) {
        if (other.axis == axis) reader.fail("the axis \"" + axis + "\" stands twice");
      }
      AxisSelection selection{axis, {}};
      if (reader.take("[")) {
        do {
          selection.indices.push_back(read_index(reader, axis));
          reader.skip_spaces();
        } while (reader.take(","));
        reader.expect(']', "the list of indices");
      } else {
        selection.indices.push_back(read_index(reader, axis));
      }
      selector.axes.push_back(std::move(selection));
    }
    reader.skip_spaces();
  } while (reader.take(","));
  reader.expect(']', "the selector");
}

std::string selector_text(const Selector& selector) {
  std::string text;
  for (const AxisSelection& axis : selector.axes) {
    text += (text.empty() ? "" : ",") + axis.axis + "=";
    if (axis.indices.size() != 1) text += "[";
    for (std::size_t i = 0; i < axis.indices.size(); ++i) {
      if (i > 0) text += ",";
      text += axis.indices[i] == -1 ? "last" : std::to_string(axis.indices[i]);
    }
    if (axis.indices.size() != 1) text += "]";
  }
  if (selector.direction) {
    text += (text.empty() ? "dir=" : ",dir=") + selector.direction->text();
  }
  return text.empty() ? "" : "[" + text + "]";
}

}  // namespace

HookPoint parse_hook_point(std::string_view text, const Location& location) {
  Reader reader(text, location);
  HookPoint hook;
  hook.location = location;
  hook.module = reader.path();
  if (hook.module.empty() && !reader.next_is('/')) {
    reader.fail("expected a module's path, such as layer1.0.conv1");
  }
  if (reader.take("@")) hook.call = static_cast<int>(reader.positive("the call"));
  if (reader.take(":")) {
    if (reader.take("in")) {
      hook.slot = HookPoint::Slot::input;
    } else if (!reader.take("out")) {
      reader.fail(std::string("after ':' stands in or out") + about_quotes);
    }
    if (reader.take("[")) {
      const std::int64_t index = reader.integer("the index");
      if (index < 0 || index > 1'000'000) reader.fail("inputs and outputs count from 0");
      hook.index = static_cast<int>(index);
      hook.has_index = true;
      reader.expect(']', "the index");
    }
  } else if (reader.take("/")) {
    hook.slot = HookPoint::Slot::operation;
    hook.operation = reader.until("@:/|[ \t");
    if (hook.operation.empty()) reader.fail("expected an operator after '/', such as add");
    if (reader.take("@")) hook.occurrence = static_cast<int>(reader.positive("the occurrence"));
  }
  if (reader.take("|")) hook.dictionary = read_reference(reader, false);
  if (reader.next_is('[')) read_selector(reader, hook.selector);
  if (!reader.done()) reader.fail(std::string("there is more after its end") + about_quotes);
  return hook;
}

bool HookPoint::is_model_input() const {
  return slot == Slot::output &&
         (module == "pixels" || module == "input" || module.rfind("input.", 0) == 0);
}

std::string HookPoint::site() const {
  std::string result = quoted_path(module);
  if (call != 1) result += "@" + std::to_string(call);
  if (slot == Slot::input) result += ":in";
  if (slot == Slot::output && has_index) result += ":out";
  if (has_index) result += "[" + std::to_string(index) + "]";
  if (slot == Slot::operation) {
    result += "/" + operation;
    if (occurrence != 1) result += "@" + std::to_string(occurrence);
  }
  if (dictionary) result += "|" + dictionary->stage + "." + dictionary->output;
  return result;
}

std::string HookPoint::text() const { return site() + selector_text(selector); }

}  // namespace microtome
