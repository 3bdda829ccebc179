#pragma once

#include <cstdint>
#include <vector>

#include "microtome/sample_place.h"
#include "microtome/tensor.h"

namespace microtome::host {

/// How a value of a program depends on how many samples there are.
struct ValueLayout {
  enum class Kind {
    unknown,
    fixed,   ///< the same whatever the samples
    rows,    ///< a tensor that holds something for each sample, at `place`
    count,   ///< an integer that is `factor` times the number of samples
    counts,  ///< a list of integers; `factors` is 0 where an entry is fixed
  };
  Kind kind = Kind::unknown;
  SamplePlace place;
  /// Whether what a sample has in it does not depend on the other samples.
  bool independent = true;
  /// Of an unknown kind, what is in the way.
  enum class Doubt {
    order,               ///< the order in which it holds the samples
    same_size,           ///< it is as large for any number of samples, although it depends on them
    several_dimensions,  ///< more than one size follows the number of samples
  };
  Doubt doubt = Doubt::order;
  std::int64_t factor = 1;
  std::vector<std::int64_t> factors;
  /// Places that fit the trial runs equally well; more than one while the kind is unknown.
  std::vector<SamplePlace> candidates;
  double bytes_per_row = 0;
  std::size_t memory = 0;  ///< values with the same number share their memory; 0: none
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> sizes;  ///< of a tensor in the first trial run

  /// Of what is handed out for one sample: 1 first. Empty for what is not a tensor by samples.
  std::vector<std::int64_t> shape(std::int64_t trial_samples) const;
};

/// Of a value on `few` samples and on more of which the first are the same.
ValueLayout compare_values(const c10::IValue& small, const c10::IValue& large, std::int64_t few,
                           std::int64_t many);

/// Takes into `layout` what the value is on other samples, copies of `copies` of the first trial's.
/// Returns false where the network computes something else for them: where it is so for one sample
/// alone, that sample can't run alone.
bool confirm_layout(ValueLayout& layout, const c10::IValue& small, const c10::IValue& other,
                    std::int64_t few, const std::vector<std::int64_t>& copies);

/// Entries of some samples, [k] int64, of a tensor that has them at `place`.
at::Tensor rows_at(const at::Tensor& value, const SamplePlace& place, std::int64_t samples,
                   const at::Tensor& rows);

}  // namespace microtome::host
