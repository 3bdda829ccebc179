#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/axes.h"
#include "microtome/error.h"
#include "microtome/tensor.h"

namespace [[gnu::visibility("default")]] microtome {

/// One axis of a selector: `c=3`, `token=last`, `unit=[1,2]`.
struct AxisSelection {
  std::string axis;
  std::vector<std::int64_t> indices;  ///< `last` is -1; negative indices count from the end
  bool operator==(const AxisSelection&) const = default;
};

/// A direction of another stage: `dir=stage.output[row]`; of one element of a matrix:
/// `dir=stage[key=value].output[row]`.
struct DirectionReference {
  std::string stage;
  std::string output;
  std::int64_t row = 0;

  /// The artifact that is meant, as an input names it.
  std::string artifact() const { return stage + "." + output; }
  /// The port at which the artifact reaches the stage whose parameters name it; no declared port
  /// begins with `@`.
  std::string port() const { return "@" + artifact(); }
  std::string text() const { return artifact() + "[" + std::to_string(row) + "]"; }
  bool operator==(const DirectionReference&) const = default;
};

/// The part of a value that is meant, by the names of its axes (`Axes`): `c=3`, `y=2,x=5`,
/// `token=last`. `dimK` is dimension K of the value with samples first. `unit` alone counts through
/// the whole value of a sample as if it were one row; beside other axes it is `c`.
struct Selector {
  std::vector<AxisSelection> axes;
  std::optional<DirectionReference> direction;
  bool empty() const { return axes.empty() && !direction; }
  bool operator==(const Selector&) const = default;
};

/// A named value inside a model that can be captured, replaced or differentiated.
///
/// Grammar: `module[@call][:in[k] | :out[k] | /op[@k]][|stage.port][selector]`
///   `layer2.0.conv1`          a module's output
///   `layer2.0.conv1:in`       its input;  `:in[1]` its second
///   `relu@2`                  the output of the second call of a module
///   `layer1.0/add`            what an operator in the module makes; `/relu@2` the second such
///   `layer2|sae.latents[unit=17]`  a dictionary's latents there
///   `layer2[c=3]`, `layer2[c=3,y=2,x=5]`, `block[token=last]`, `layer2[dir=probe.directions[0]]`
/// Names with blanks, brackets, quotes or any of `@ : / | ,` stand in single quotes, each quote in
/// them doubled: `m.'x[0]':in`, `'it''s'` (see quoting.h). `site` and `text` write them so.
/// The model's own inputs and outputs are `input`, `pixels` (before normalisation), `output`;
/// `input.NAME`, `output.NAME` where there are several.
struct HookPoint {
  enum class Slot { output, input, operation };

  std::string module;  ///< its path as the model has it, without quotes
  int call = 1;        ///< from 1
  Slot slot = Slot::output;
  int index = 0;                                 ///< which input or output of the call
  bool has_index = false;                        ///< whether `[k]` was written
  std::string operation;                         ///< for Slot::operation
  int occurrence = 1;                            ///< which such operation in the call, from 1
  std::optional<DirectionReference> dictionary;  ///< `|stage.port`; its row is unused
  Selector selector;
  Location location;

  /// Whether it is one of the model's inputs, in pixels or in model space.
  bool is_model_input() const;
  /// The text without selector: what names the value in tables and file names.
  std::string site() const;
  /// The whole text.
  std::string text() const;
  /// Same value and same part of it.
  bool operator==(const HookPoint& other) const { return text() == other.text(); }
};

/// Reads a hook point; throws `Error` that says which part is wrong, with `location` plus the
/// part's column where that is known.
HookPoint parse_hook_point(std::string_view text, const Location& location = {});

/// The selected part of a value with samples first, whose dimensions after N are `axes`. Single
/// indices drop their dimension; lists keep it. A selector with a direction needs `direction` (of
/// the size of the axis `c`): the result is the inner product with it. Throws `Error` when an axis
/// is not known or an index is out of range, naming the axis and its size.
at::Tensor select(const at::Tensor& value, const Selector& selector, const Axes& axes,
                  const at::Tensor& direction);

/// The same for a selector of a model's value: the vector comes from `directions`, which only a
/// selector with a direction needs.
at::Tensor select(const at::Tensor& value, const Selector& selector, const Axes& axes,
                  const std::function<at::Tensor(const DirectionReference&)>& directions = {});

/// The axes of what `select` returns.
Axes remaining_axes(const Axes& axes, const Selector& selector);

/// A copy of `value` with `part`, or what it is when broadcast, in the selected place (out of
/// place; gradients pass through both).
at::Tensor assign(const at::Tensor& value, const Selector& selector, const Axes& axes,
                  const at::Tensor& part);

}  // namespace microtome
