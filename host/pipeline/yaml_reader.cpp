#include "host/pipeline/yaml_reader.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <charconv>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <vector>

#include "microtome/utf8.h"

namespace microtome::host {
namespace {

constexpr std::size_t largest_text = std::size_t{4} * 1024 * 1024;
constexpr std::size_t deepest = 100;
constexpr std::size_t most_nodes = 100'000;

Location place_of(std::string_view text, std::size_t offset, const std::string& name) {
  Location place{1, 1, name};
  for (std::size_t i = 0; i < offset; ++i) {
    if (text[i] == '\n') {
      ++place.line;
      place.column = 1;
    } else {
      ++place.column;
    }
  }
  return place;
}

/// A plain scalar by YAML 1.2's core schema.
Value plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return {};
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  static const std::regex integer("[-+]?[0-9]+");
  static const std::regex number("[-+]?(\\.[0-9]+|[0-9]+(\\.[0-9]*)?)([eE][-+]?[0-9]+)?");
  const char* first = text.data() + (text[0] == '+' ? 1 : 0);
  const char* last = text.data() + text.size();
  if (text.size() < 64 && std::regex_match(text, integer)) {
    std::int64_t value = 0;
    if (std::from_chars(first, last, value).ec == std::errc{}) return value;
  }
  if (text.size() < 64 && std::regex_match(text, number)) {
    double value = 0;
    if (std::from_chars(first, last, value).ec == std::errc{}) return value;
  }
  if (text == ".inf" || text == "+.inf") return std::numeric_limits<double>::infinity();
  if (text == "-.inf") return -std::numeric_limits<double>::infinity();
  if (text == ".nan") return std::numeric_limits<double>::quiet_NaN();
  return text;
}

/// Builds our tree from the parser's events, so that no node of the library is ever made.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string name) : name_(std::move(name)) {}

  Value take() { return std::move(root_); }
  bool has_root() const { return has_root_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    scalar(mark, anchor, Value());
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      throw Error(place(mark), "this alias stands inside of what it names, which would never end");
    }
    Value copy = found->second;
    count(mark, size_of(copy));
    if (stack_.size() + depth_of(copy) > deepest) throw too_deep(mark);
    copy.located(place(mark));
    add(mark, std::move(copy));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    const bool quoted = tag == "!";
    if (!quoted && tag != "?" && !tag.empty()) refuse_tag(mark, tag);
    Value value = quoted ? Value(text) : plain_scalar(text);
    value.set_quoted(quoted);
    scalar(mark, anchor, std::move(value));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, Value::list());
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, Value::map());
  }
  void OnMapEnd() override { end(); }

 private:
  struct Open {
    Value value;
    YAML::anchor_t anchor = 0;
    bool has_key = false;
    std::string key;
    Location key_place;
  };

  Location place(const YAML::Mark& mark) const { return {mark.line + 1, mark.column + 1, name_}; }
  Error too_deep(const YAML::Mark& mark) const {
    return Error(place(mark), "nested deeper than " + std::to_string(deepest) + " levels");
  }
  [[noreturn]] void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    throw Error(place(mark), "the tag \"" + tag + "\" has no meaning here; remove it");
  }
  void count(const YAML::Mark& mark, std::size_t nodes) {
    count_ += nodes;
    if (count_ > most_nodes) {
      throw Error(place(mark), "more than 100,000 values (aliases count as often as they stand)");
    }
  }
  static std::size_t size_of(const Value& value) {
    std::size_t size = 1;
    if (value.is_list()) {
      for (const Value& item : value.as_list()) size += size_of(item);
    } else if (value.is_map()) {
      for (const auto& entry : value.as_map()) size += size_of(entry.value);
    }
    return size;
  }
  static std::size_t depth_of(const Value& value) {
    std::size_t depth = 0;
    if (value.is_list()) {
      for (const Value& item : value.as_list()) depth = std::max(depth, depth_of(item));
    } else if (value.is_map()) {
      for (const auto& entry : value.as_map()) depth = std::max(depth, depth_of(entry.value));
    } else {
      return 0;
    }
    return depth + 1;
  }
  void start(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Value value) {
    if (tag != "?" && tag != "!" && !tag.empty()) refuse_tag(mark, tag);
    if (stack_.size() >= deepest) throw too_deep(mark);
    if (!stack_.empty() && stack_.back().value.is_map() && !stack_.back().has_key) {
      throw Error(place(mark), "a key must be text, not a list or map");
    }
    count(mark, 1);
    value.located(place(mark));
    stack_.push_back({std::move(value), anchor, false, {}, {}});
  }
  void end() {
    Open done = std::move(stack_.back());
    stack_.pop_back();
    if (done.anchor != 0) anchors_[done.anchor] = done.value;
    put(std::move(done.value));
  }
  void scalar(const YAML::Mark& mark, YAML::anchor_t anchor, Value value) {
    count(mark, 1);
    value.located(place(mark));
    if (anchor != 0) anchors_[anchor] = value;
    add(mark, std::move(value));
  }
  void add(const YAML::Mark& mark, Value value) {
    if (!stack_.empty() && stack_.back().value.is_map() && !stack_.back().has_key) {
      take_key(mark, value);
    } else {
      put(std::move(value));
    }
  }
  void take_key(const YAML::Mark& mark, const Value& key) {
    Open& map = stack_.back();
    std::string text;
    switch (key.type()) {
      case Value::Type::string:
        text = key.as_string();
        break;
      case Value::Type::integer:
        text = std::to_string(key.as_integer());
        break;
      case Value::Type::boolean:
        text = key.as_boolean() ? "true" : "false";
        break;
      default:
        throw Error(place(mark), "a key must be text, not " + describe_type(key.type()));
    }
    if (text == "<<" && !key.quoted()) {
      throw Error(place(mark), "merge keys (<<) are not read; write the entries out, or use vars");
    }
    for (const auto& entry : map.value.as_map()) {
      if (entry.key == text) {
        throw Error(place(mark), "the key \"" + text +
                                     "\" stands here again; it was given first in line " +
                                     std::to_string(entry.key_location.line));
      }
    }
    map.key = std::move(text);
    map.key_place = place(mark);
    map.has_key = true;
  }
  void put(Value value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      has_root_ = true;
      return;
    }
    Open& parent = stack_.back();
    if (parent.value.is_list()) {
      parent.value.push_back(std::move(value));
    } else {
      parent.value.as_map().push_back({std::move(parent.key), std::move(value), parent.key_place});
      parent.has_key = false;
    }
  }

  std::string name_;
  std::vector<Open> stack_;
  std::map<YAML::anchor_t, Value> anchors_;
  Value root_;
  bool has_root_ = false;
  std::size_t count_ = 0;
};

}  // namespace

Value read_yaml(std::string_view text, const std::string& name) {
  const Location start{1, 1, name};
  if (text.size() > largest_text) {
    throw Error(
        start,
        "the file has more than 4 MB; a pipeline is short, data belongs into files of its own");
  }
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    throw Error(place_of(text, bad, name), "the text is not UTF-8");
  }
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    throw Error(place_of(text, zero, name), "the text has a zero byte");
  }
  TreeBuilder builder(name);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    if (!builder.has_root()) throw Error(start, "the file is empty");
    TreeBuilder second(name);
    if (parser.HandleNextDocument(second) && second.has_root()) {
      throw Error(start, "the file has more than one document; one pipeline a file");
    }
  } catch (const YAML::DeepRecursion& error) {
    throw Error({error.mark.line + 1, error.mark.column + 1, name},
                "nested deeper than 100 levels");
  } catch (const YAML::Exception& error) {
    std::string message = error.msg;
    const Location place{error.mark.line + 1, error.mark.column + 1, name};
    if (message.find("tab") != std::string::npos || message.find("Tab") != std::string::npos)
      message = "YAML is indented with spaces; here is a tab";
    // yaml-cpp calls a tab at the start of a line many things.
    std::size_t line_start = 0;
    for (int line = 1; line < place.line && line_start != std::string_view::npos; ++line) {
      line_start = text.find('\n', line_start);
      if (line_start != std::string_view::npos) ++line_start;
    }
    if (line_start != std::string_view::npos) {
      const std::string_view rest = text.substr(line_start);
      const auto first = rest.find_first_not_of(' ');
      if (first != std::string_view::npos && rest[first] == '\t') {
        throw Error({place.line, static_cast<int>(first) + 1, name},
                    "YAML is indented with spaces; here is a tab");
      }
    }
    throw Error(place, "not YAML: " + message);
  }
  return builder.take();
}

Value read_yaml_file(const std::filesystem::path& file) {
  std::error_code code;
  if (!std::filesystem::is_regular_file(file, code))
    throw Error("the file " + file.string() + " does not exist");
  if (std::filesystem::file_size(file, code) > largest_text) {
    throw Error(
        {1, 1, file.string()},
        "the file has more than 4 MB; a pipeline is short, data belongs into files of its own");
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw Error("the file " + file.string() + " can't be read");
  std::ostringstream text;
  text << stream.rdbuf();
  return read_yaml(text.str(), file.string());
}

}  // namespace microtome::host
