#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

/// The part of a value that is meant. Axes are named by the layout of the value's rank:
///   rank 2: N, unit (also c; token where the value is integer);  rank 3: N, token, unit (also c);
///   rank 4: N, c (also head), y, x (also token and unit for N x head x token x unit, query and key
///   for attention patterns).
/// `dimK` names dimension K of any rank. `unit` alone indexes the flattened dimensions after N.
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
///   `layer1.0/add`            the value that an operator in the module makes; `/relu@2` the second
///   such `layer2|sae.latents[unit=17]`  a dictionary's latents there `layer2[c=3]`,
///   `layer2[c=3,y=2,x=5]`, `block[token=last]`, `layer2[dir=probe.directions[0]]`
/// The model's own inputs and outputs are `input`, `pixels` (before normalisation), `output`;
/// `input.NAME`, `output.NAME` where there are several.
struct HookPoint {
  enum class Slot { output, input, operation };

  std::string module;
  int call = 1;  ///< from 1
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

/// The dimension of a value of `rank` that `axis` names; throws `Error` listing the axes of that
/// rank.
std::int64_t axis_dimension(std::string_view axis, std::int64_t rank, bool integral);

/// The selected part. Single indices drop their dimension; lists keep it. N stays first.
/// A selector with a direction needs `direction` (of the value's trailing size, or its channels):
/// the result is the inner product with it.
/// Throws `Error` when an index is out of range, naming the axis and its size.
at::Tensor select(const at::Tensor& value, const Selector& selector, const at::Tensor& direction);

/// The same for a selector of a model's value: the vector comes from `directions`, which only a
/// selector with a direction needs.
at::Tensor select(const at::Tensor& value, const Selector& selector,
                  const std::function<at::Tensor(const DirectionReference&)>& directions = {});

/// A copy of `value` with `part`, or what it is when broadcast, in the selected place (out of
/// place; gradients pass through both).
at::Tensor assign(const at::Tensor& value, const Selector& selector, const at::Tensor& part);

}  // namespace microtome
