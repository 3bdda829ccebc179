#pragma once

#include <set>
#include <string>
#include <vector>

#include "host/model/program_model.h"
#include "host/pipeline/pipeline.h"
#include "microtome/dataset.h"

namespace microtome::host {

/// Which field of a dataset feeds an input of a model, and in which type.
struct Binding {
  std::string input, field;
  at::ScalarType from = at::kFloat;  ///< of the field
  at::ScalarType to = at::kFloat;    ///< in which the model gets it: each value is the same there
};

/// Where a pipeline declares a field, whatever datasets were made of that one.
struct FieldPlace {
  Location location;         ///< unknown when no line declares it
  std::string dataset;       ///< that has it first
  std::string field;         ///< as it is called there
  std::string file;          ///< from which it is read, as the pipeline has it; may be empty
  bool can_convert = false;  ///< its declaration takes `convert`
};
FieldPlace place_of_field(const Pipeline& pipeline, const std::string& dataset,
                          const std::string& field);

/// Binds the fields of a dataset to the inputs of a model. What `bind:` says goes first, then equal
/// names; what remains is bound where types and shapes allow one way alone. No field feeds two
/// inputs unless `bind:` says so.
class Binder {
 public:
  Binder(const Pipeline& pipeline, Problems& problems) : pipeline_(pipeline), problems_(problems) {}

  /// `said`: the stage's `bind`, or null. `place`: of the stage, for mistakes that have none of
  /// their own. Mistakes of types and shapes are added once for a model and a dataset.
  std::vector<Binding> bind(const ProgramModel& model, const DatasetInfo& data, const Value& said,
                            const Location& place);

 private:
  struct Attempt;
  void take_said(Attempt& attempt, const Value& said);
  void take_names(Attempt& attempt);
  void take_the_one_way(Attempt& attempt);
  void report_unbound(Attempt& attempt);
  void check_shape(const Attempt& attempt, std::size_t input, const FieldInfo& field,
                   const Location& place);
  Binding typed(const Attempt& attempt, std::size_t input, const FieldInfo& field);
  void report(const std::string& key, const Location& location, const std::string& message);

  const Pipeline& pipeline_;
  Problems& problems_;
  std::set<std::string> reported_;
};

/// For each input that a stage binds, `image <- test.image (float32, 3 x 8 x 8)`, with what is
/// converted.
std::string describe_binding(const Binding& binding, const DatasetInfo& data, bool is_pixels);

}  // namespace microtome::host
