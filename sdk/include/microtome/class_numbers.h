#pragma once

#include <string>

#include "microtome/dataset.h"
#include "microtome/tensor.h"

namespace [[gnu::visibility("default")]] microtome {

/// Why a field does not hold a class number of each sample, with what to do about it; empty when it
/// does. Class numbers are integers or booleans, one a sample: [N], or N x 1, which is the same.
std::string why_not_classes(const FieldInfo& field);

/// The class numbers that a field of samples holds, [N] int64. Throws `Error` with what
/// `why_not_classes` says, of one-hot rows that they are such.
at::Tensor class_numbers(const at::Tensor& field, const std::string& name);

}  // namespace microtome
