#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "host/data/host_dataset.h"
#include "microtome/stage_spec.h"

namespace microtome {

/// A map that its owner reads.
template <>
struct ParameterType<Value> {
  static std::string name() { return "map"; }
  static Value schema();
  static Value read(const Value& value, ReadContext& context);
  static Value write(const Value& value) { return value; }
};

}  // namespace microtome

namespace microtome::host {

/// Fields read from safetensors and .npy files, rows being samples.
struct TensorFilesParams {
  Value fields;
  Value convert = Value::map();
  std::optional<std::string> ids;
  std::optional<std::int64_t> limit;

  static void describe(StageSpec<TensorFilesParams>& spec);
};

/// Opens it. Throws `Error` naming the file, or the fields that differ in length.
std::shared_ptr<HostDataset> open_tensor_files(const std::string& name,
                                               const TensorFilesParams& params,
                                               const std::filesystem::path& base);

}  // namespace microtome::host
