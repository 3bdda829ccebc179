#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/model/program.h"
#include "microtome/model.h"

namespace microtome::host {

/// What is declared about one input of a model.
struct DeclaredInput {
  std::string name;  ///< empty: the only one that must be given
  /// Of one sample, without N; -1: a length that may differ between datasets; empty: not declared.
  std::vector<std::int64_t> size;
  std::optional<at::ScalarType> type;  ///< nothing: what the model's operators take
  std::vector<double> mean, std;       ///< by channel; empty: nothing is normalised inside
};

/// What is declared about a model's inputs. Value type.
class DeclaredInputs {
 public:
  DeclaredInputs() = default;
  /// Of the one input that must be given.
  DeclaredInputs(const ModelInput& only) : list_{{"", only.size, {}, only.mean, only.std}} {}
  explicit DeclaredInputs(std::vector<DeclaredInput> list) : list_(std::move(list)) {}
  /// What is declared about an input of the program; nullptr for nothing.
  const DeclaredInput* find(const Program& program, const ProgramPort& input) const;

 private:
  std::vector<DeclaredInput> list_;
};

}  // namespace microtome::host
