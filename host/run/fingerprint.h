#pragma once

#include <filesystem>
#include <string>

#include "host/pipeline/pipeline.h"
#include "microtome/tensor.h"

namespace microtome::host {

/// What can change a number besides pipeline and data: versions of this program, LibTorch, BLAS,
/// oneDNN and libjpeg, the CPU's capability, the device, and `runtime`, what `runtime:` says with
/// defaults. Part of each key.
Value numerics_fingerprint(const Value& runtime, at::Device device);

/// The shared library that has the function at `address`; empty when unknown.
std::filesystem::path library_of(const void* address);
/// The instruction set that LibTorch's kernels use here, such as AVX2.
std::string cpu_capability();
/// The BLAS library that LibTorch calls.
std::filesystem::path blas_library();

}  // namespace microtome::host
