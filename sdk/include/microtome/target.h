#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "microtome/hook_point.h"
#include "microtome/value.h"

namespace [[gnu::visibility("default")]] microtome {

/// A class by number, or by the integer field of each sample that holds it.
struct ClassReference {
  std::int64_t index = 0;
  std::string field;  ///< when not empty, the field is meant
  bool operator==(const ClassReference&) const = default;
};

/// What is differentiated or explained: a scalar for each sample.
///
/// Grammar: `predicted | label | class(k) | contrast(a, b) | unit(hook) | direction(hook,
/// stage.output[row]) | loss | kl(reference)`. A class is a number or the name of a sample's
/// field: `class(3)`, `class(answer)`. In YAML a target is this text, or a map
/// `{of: class(3), on: log_prob, output: logits, position: last}`.
struct Target {
  enum class What { predicted, label, class_index, contrast, unit, direction, loss, kl };
  /// What of the output vector is meant: scores as given, log soft-max, or soft-max.
  enum class On { logit, log_prob, prob };

  What what = What::predicted;
  On on = On::logit;
  std::string output;                    ///< the model's output; empty: the only one, or the first
  std::optional<std::int64_t> position;  ///< of N x positions x classes; -1 is the last
  ClassReference first, second;
  std::optional<HookPoint> hook;
  std::optional<DirectionReference> direction;
  std::string reference;  ///< the input port whose logits `kl` compares with
  Location location;

  std::string text() const;
};

/// Reads a target; throws `Error` saying which part is wrong.
Target parse_target(std::string_view text, const Location& location = {});
/// Reads a target from a parameter: text or a map.
Target read_target(const Value& value);

}  // namespace microtome
