#include "host/store/artifact_folder.h"

#include <fstream>
#include <sstream>

#include "host/model/torchscript/module_file.h"
#include "host/support/file_name.h"
#include "host/support/hash.h"
#include "microtome/output_check.h"

namespace microtome::host {

namespace fs = std::filesystem;

std::string tensor_file_name(const std::string& name) {
  return safe_file_name(name) + ".safetensors";
}

ArtifactFolderWriter::ArtifactFolderWriter(fs::path folder, std::string kind)
    : folder_(std::move(folder)), kind_(std::move(kind)) {
  fs::create_directories(folder_);
}

void ArtifactFolderWriter::check(const std::string& name, const at::Tensor& value, bool allow_nan) {
  if (!value.defined()) throw Error("the tensor \"" + name + "\" is undefined");
  if (!allow_nan && value.is_floating_point() && value.isnan().any().item<bool>()) {
    throw Error("the tensor \"" + name + "\" holds NaN, where none may be");
  }
}

TensorFileWriter& ArtifactFolderWriter::file_of(const std::string& name) {
  auto& file = files_[name];
  if (!file) file = std::make_unique<TensorFileWriter>(folder_ / tensor_file_name(name), name);
  return *file;
}

void ArtifactFolderWriter::tensor(const std::string& name, const at::Tensor& value,
                                  bool allow_nan) {
  check(name, value, allow_nan);
  file_of(name).write_whole(value);
}

void ArtifactFolderWriter::append(const std::string& name, const at::Tensor& rows, bool allow_nan) {
  check(name, rows, allow_nan);
  file_of(name).append(rows);
  grown_[name] = true;
}

void ArtifactFolderWriter::append_ids(const std::vector<std::string>& ids) {
  std::vector<std::int64_t> offsets;
  if (!has_ids_) offsets.push_back(0);
  has_ids_ = true;
  ids_ += static_cast<std::int64_t>(ids.size());
  std::string bytes;
  for (const std::string& id : ids) {
    bytes += id;
    ids_end_ += static_cast<std::int64_t>(id.size());
    offsets.push_back(ids_end_);
  }
  file_of("ids.offsets").append(at::tensor(offsets, at::kLong));
  file_of("ids.bytes")
      .append(at::from_blob(bytes.data(), {static_cast<std::int64_t>(bytes.size())}, at::kByte));
}

void ArtifactFolderWriter::model(const ScriptModule& module) {
  torchscript::save(module, folder_ / model_file_name);
  metadata_.set("input", torchscript::to_value(module.input));
  has_model_ = true;
}

void ArtifactFolderWriter::finish(const OutputPlan& plan, std::optional<std::int64_t> samples) {
  Value tensors = Value::map(), files = Value::map();
  WrittenOutput written{.tensors = {}, .ids = ids_, .has_model = has_model_};
  const auto list_file = [&](const std::string& name, const std::string& file_name,
                             std::uint64_t bytes, std::string hash) {
    Value about = Value::map();
    about.set("file", file_name);
    about.set("bytes", static_cast<std::int64_t>(bytes));
    about.set("xxh3", std::move(hash));
    files.set(name, std::move(about));
  };
  if (has_model_) {
    const fs::path file = folder_ / model_file_name;
    list_file("model", model_file_name, fs::file_size(file), hash_file(file));
  }
  for (auto& [name, writer] : files_) {
    const StoredFile file = writer->finish();
    const StoredTensor& stored = file.tensor;
    list_file(name, tensor_file_name(name), file.bytes, file.hash);
    Value shape = Value::list();
    for (const std::int64_t size : stored.shape) shape.push_back(size);
    Value said = Value::map();
    said.set("type", c10::toString(stored.type));
    said.set("shape", std::move(shape));
    const bool per_sample = has_ids_ && grown_.contains(name);
    said.set("per_sample", per_sample);
    tensors.set(name, std::move(said));
    written.tensors.push_back({name, stored.type, stored.shape, per_sample});
  }
  try {
    check_output(plan, written, samples);
  } catch (const Error& error) {
    throw PlanBroken(error.what());
  }
  Value description = Value::map();
  description.set("kind", kind_);
  description.set("metadata", metadata_);
  description.set("metrics", metrics_);
  description.set("views", views_);
  description.set("tensors", std::move(tensors));
  description.set("files", std::move(files));
  const fs::path temporary = folder_ / "artifact.json.part";
  {
    std::ofstream stream(temporary, std::ios::binary);
    stream << to_json(description, 1) << '\n';
    if (!stream.flush())
      throw Error("the file " + temporary.string() + " could not be written; is the disk full?");
  }
  fs::rename(temporary, folder_ / "artifact.json");
}

ArtifactFolderReader::ArtifactFolderReader(fs::path folder) : folder_(std::move(folder)) {
  std::ifstream stream(folder_ / "artifact.json", std::ios::binary);
  if (!stream) throw Error("the folder " + folder_.string() + " holds no whole artifact");
  std::ostringstream text;
  text << stream.rdbuf();
  description_ = from_json(text.str());
}

bool ArtifactFolderReader::is_whole() const {
  for (const auto& entry : description_.at("files").as_map()) {
    const fs::path file = folder_ / entry.value.at("file").as_string();
    std::error_code code;
    const auto size = fs::file_size(file, code);
    if (code || static_cast<std::int64_t>(size) != entry.value.at("bytes").as_integer())
      return false;
    if (hash_file(file) != entry.value.at("xxh3").as_string()) return false;
  }
  return true;
}

std::pair<fs::path, StoredTensor> ArtifactFolderReader::find(const std::string& name) const {
  const Value* about = description_.at("files").find(name);
  if (about == nullptr) {
    std::vector<std::string> names;
    for (const auto& entry : description_.at("tensors").as_map()) names.push_back(entry.key);
    throw Error("the artifact has no tensor \"" + name + "\"" + suggestion(name, names));
  }
  const fs::path file = folder_ / about->at("file").as_string();
  return {file, read_tensor_list(file).at(0)};
}

std::vector<TensorInfo> ArtifactFolderReader::tensors() const {
  std::vector<TensorInfo> result;
  for (const auto& entry : description_.at("tensors").as_map()) {
    const auto [file, stored] = find(entry.key);
    result.push_back(
        {entry.key, stored.type, stored.shape, entry.value.at("per_sample").as_boolean()});
  }
  return result;
}

at::Tensor ArtifactFolderReader::tensor(const std::string& name) const {
  const auto [file, stored] = find(name);
  return read_tensor(file, stored);
}

at::Tensor ArtifactFolderReader::rows(const std::string& name, std::int64_t begin,
                                      std::int64_t end) const {
  const auto [file, stored] = find(name);
  return read_tensor(file, stored, begin, end);
}

std::vector<std::string> ArtifactFolderReader::sample_ids() const {
  std::vector<std::string> ids;
  if (description_.at("files").find("ids.offsets") == nullptr) return ids;
  const at::Tensor offsets = tensor("ids.offsets"), bytes = tensor("ids.bytes");
  const auto* start = offsets.data_ptr<std::int64_t>();
  const auto* text = reinterpret_cast<const char*>(bytes.data_ptr<std::uint8_t>());
  for (std::int64_t i = 0; i + 1 < offsets.numel(); ++i)
    ids.emplace_back(text + start[i], text + start[i + 1]);
  return ids;
}

}  // namespace microtome::host
