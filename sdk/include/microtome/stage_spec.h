#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "microtome/parameter.h"
#include "microtome/stage.h"

namespace [[gnu::visibility("default")]] microtome {

/// An input or output of a stage type.
struct PortDescription {
  std::string name;
  std::vector<std::string> kinds;  ///< what an input takes; an output has one
  std::string doc;
  bool optional = false;
  bool many = false;  ///< takes all members of a matrix, and lists
};

/// All that is said about a stage type, without its C++ types.
struct StageDescription {
  std::string type;
  std::string summary;
  std::string details;
  std::vector<std::string> papers;
  std::vector<PortDescription> inputs;
  std::vector<PortDescription> outputs;
  std::vector<ParameterDescription> parameters;
  std::vector<std::string> capabilities;  ///< ids that `Stage::capability` answers

  const PortDescription* input(const std::string& name) const;
  const ParameterDescription* parameter(const std::string& name) const;
};

/// Checks the keys of `with` against the description: unknown ones with the nearest name, missing
/// ones, ranges. [one thread]
void check_parameter_keys(const StageDescription& description, const Value& with,
                          Problems& problems);
/// The parameters as they count: what was given, in the order of the description, with defaults.
Value canonical_parameters(const StageDescription& description, const Value& with);

/// The one place where a stage type says what it is.
template <class Params>
class StageSpec {
 public:
  /// One sentence, in the indicative: "Accuracy of a classifier."
  StageSpec& summary(std::string text) { return said(description_.summary, std::move(text)); }
  /// More, for the docs page.
  StageSpec& details(std::string text) { return said(description_.details, std::move(text)); }
  /// The paper that the method is from.
  StageSpec& paper(std::string citation) {
    description_.papers.push_back(std::move(citation));
    return *this;
  }
  StageSpec& capability(std::string id) {
    description_.capabilities.push_back(std::move(id));
    return *this;
  }

  /// Says more about a port.
  class Port {
   public:
    explicit Port(PortDescription& port) : port_(&port) {}
    Port& doc(std::string text) {
      port_->doc = std::move(text);
      return *this;
    }
    Port& optional() {
      port_->optional = true;
      return *this;
    }
    Port& many() {
      port_->many = true;
      return *this;
    }

   private:
    PortDescription* port_;
  };
  Port input(std::string name, std::vector<std::string> kinds) {
    return add_port(description_.inputs, std::move(name), std::move(kinds));
  }
  Port output(std::string name, std::string kind) {
    return add_port(description_.outputs, std::move(name), {std::move(kind)});
  }

  /// Says more about a parameter. The default is the member's initialiser.
  template <class Owner, class T>
  class Parameter {
   public:
    Parameter(StageSpec& spec, std::size_t index, T Owner::*member)
        : spec_(&spec), index_(index), member_(member) {}
    Parameter& doc(std::string text) {
      description().doc = std::move(text);
      return *this;
    }
    Parameter& unit(std::string text) {
      description().unit = std::move(text);
      return *this;
    }
    /// There is no default.
    Parameter& required() {
      description().required = true;
      description().default_value = Value();
      return *this;
    }
    /// Bounds of the number, or of each number of a list; both allowed.
    Parameter& range(double minimum, double maximum) {
      description().minimum = minimum;
      description().maximum = maximum;
      return *this;
    }
    Parameter& at_least(double minimum) {
      description().minimum = minimum;
      return *this;
    }
    /// The port of the model that hook points belong to.
    Parameter& of(std::string port) {
      description().hook_port = std::move(port);
      return *this;
    }
    /// The words of an enumeration, in the order of its values from 0.
    Parameter& choices(std::vector<std::string> words) requires std::is_enum_v<T> {
      ParameterDescription& said = description();
      said.choices = words;
      said.type = "word";
      const auto index = static_cast<std::size_t>(Params{}.*member_);
      said.default_value = Value(words.at(index));
      Value list = Value::list();
      for (const std::string& word : words) list.push_back(Value(word));
      said.schema = Value();
      said.schema.set("enum", std::move(list));
      spec_->readers_[index_] = [member = member_, words = std::move(words)](
                                    Params& params, const Value& value, ReadContext&) {
        params.*member = static_cast<T>(read_choice(value, words));
      };
      return *this;
    }

   private:
    ParameterDescription& description() { return spec_->description_.parameters[index_]; }
    StageSpec* spec_;
    std::size_t index_;
    T Owner::*member_;
  };
  /// `Owner` is `Params` or a base of it.
  template <class Owner, class T>
  Parameter<Owner, T> parameter(std::string name, T Owner::*member) {
    ParameterDescription said;
    said.name = std::move(name);
    if constexpr (std::is_enum_v<T>) {
      readers_.emplace_back();
    } else {
      said.type = ParameterType<T>::name();
      said.schema = ParameterType<T>::schema();
      said.default_value = ParameterType<T>::write(Params{}.*member);
      readers_.push_back([member](Params& params, const Value& value, ReadContext& context) {
        params.*member = ParameterType<T>::read(value, context);
      });
    }
    description_.parameters.push_back(std::move(said));
    return Parameter<Owner, T>(*this, description_.parameters.size() - 1, member);
  }

  const StageDescription& description() const { return description_; }

  /// Reads parameters; all mistakes go to `context.problems`.
  Params read(const Value& with, ReadContext& context) const {
    Params params{};
    check_parameter_keys(description_, with, context.problems);
    for (std::size_t i = 0; i < description_.parameters.size(); ++i) {
      const Value* value = with.find(description_.parameters[i].name);
      if (value == nullptr || value->is_null()) continue;
      try {
        readers_[i](params, *value, context);
        check_range(*value, description_.parameters[i], context.problems);
      } catch (const Error& error) {
        const Location& place = error.location().known() ? error.location() : value->location();
        context.problems.add(place, description_.parameters[i].name + ": " + error.what());
      }
    }
    return params;
  }

 private:
  StageSpec& said(std::string& place, std::string text) {
    place = std::move(text);
    return *this;
  }
  static Port add_port(std::vector<PortDescription>& ports, std::string name,
                       std::vector<std::string> kinds) {
    // Ports are few and said once; the reference lives for one statement.
    ports.push_back({std::move(name), std::move(kinds), {}, false, false});
    return Port(ports.back());
  }

  StageDescription description_;
  std::vector<std::function<void(Params&, const Value&, ReadContext&)>> readers_;
};

/// A stage type as the host sees it.
class StageType {
 public:
  virtual ~StageType();
  virtual const StageDescription& description() const = 0;
  /// Makes a stage from `with`. Mistakes are added to the context; then the result is nullptr.
  virtual std::unique_ptr<Stage> make(const Value& with, ReadContext& context) const = 0;
  /// As `Stage::capability`.
  virtual void* capability(std::string_view id);
};

/// The stage type of a class with `Params`, `static void describe(StageSpec<Params>&)` and a
/// constructor from `Params`.
template <class S>
class StageTypeOf final : public StageType {
 public:
  explicit StageTypeOf(std::string type) {
    S::describe(spec_);
    description_ = spec_.description();
    description_.type = std::move(type);
  }
  const StageDescription& description() const override { return description_; }
  std::unique_ptr<Stage> make(const Value& with, ReadContext& context) const override {
    const std::size_t before = context.problems.size();
    auto params = spec_.read(with, context);
    if (context.problems.size() > before) return nullptr;
    return std::make_unique<S>(std::move(params));
  }

 private:
  StageSpec<typename S::Params> spec_;
  StageDescription description_;
};

}  // namespace microtome
