#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/store/safetensors.h"
#include "microtome/artifact.h"
#include "microtome/stage.h"

namespace microtome::host {

/// An output is not what its plan says.
class PlanBroken final : public Error {
 public:
  explicit PlanBroken(const std::string& message) : Error(message) {}
};

/// Writes an artifact as a folder: one safetensors file a tensor, ids, and `artifact.json` last.
class ArtifactFolderWriter final : public ArtifactWriter {
 public:
  ArtifactFolderWriter(std::filesystem::path folder, std::string kind);
  void tensor(const std::string& name, const at::Tensor& value, bool allow_nan) override;
  void append(const std::string& name, const at::Tensor& rows, bool allow_nan) override;
  void append_ids(const std::vector<std::string>& ids) override;
  void metric(Metric metric) override {
    metric.demand_finite();
    metrics_.push_back(metric.to_value());
  }
  void view(View view) override { views_.push_back(view.to_value()); }
  void metadata(const std::string& key, Value value) override {
    metadata_.set(key, std::move(value));
  }
  void model(const ScriptModule& module) override;

  /// Completes the files, checks them against the plan (`check_output`) and writes `artifact.json`
  /// with the size and hash of each. Throws `PlanBroken`, and `Error` where files can't be written.
  void finish(const OutputPlan& plan, std::optional<std::int64_t> samples);

 private:
  TensorFileWriter& file_of(const std::string& name);
  static void check(const std::string& name, const at::Tensor& value, bool allow_nan);

  std::filesystem::path folder_;
  std::string kind_;
  std::map<std::string, std::unique_ptr<TensorFileWriter>> files_;
  std::map<std::string, bool> grown_;
  bool has_model_ = false;
  std::int64_t ids_ = 0, ids_end_ = 0;  ///< how many, and their bytes
  bool has_ids_ = false;
  Value metrics_ = Value::list(), views_ = Value::list(), metadata_ = Value::map();
};

/// Reads such a folder.
class ArtifactFolderReader final : public ArtifactReader {
 public:
  /// Throws `Error` when the folder is no whole artifact.
  explicit ArtifactFolderReader(std::filesystem::path folder);
  std::string kind() const override { return description_.at("kind").as_string(); }
  const Value& metadata() const override { return description_.at("metadata"); }
  std::vector<TensorInfo> tensors() const override;
  at::Tensor tensor(const std::string& name) const override;
  at::Tensor rows(const std::string& name, std::int64_t begin, std::int64_t end) const override;
  std::vector<std::string> sample_ids() const override;
  const Value& description() const { return description_; }
  /// Whether all files have the size and hash that `artifact.json` says.
  bool is_whole() const;

 private:
  std::pair<std::filesystem::path, StoredTensor> find(const std::string& name) const;
  std::filesystem::path folder_;
  Value description_;
};

/// The TorchScript file of an artifact that is a model.
inline constexpr const char* model_file_name = "model.pt";

/// A tensor's file name; names may hold any character.
std::string tensor_file_name(const std::string& name);

}  // namespace microtome::host
