#include "host/data/tensor_files.h"

#include <fstream>

#include "host/store/safetensors.h"
#include "host/support/hash.h"

namespace microtome {

Value ParameterType<Value>::schema() {
  Value schema;
  schema.set("type", "object");
  return schema;
}

Value ParameterType<Value>::read(const Value& value, ReadContext&) {
  value.as_map();
  return value;
}

}  // namespace microtome

namespace microtome::host {
namespace {

namespace fs = std::filesystem;

/// One field: rows of a tensor, read when they are needed, or held when they come from .npy.
struct Column {
  std::string name;
  fs::path file;
  StoredTensor stored;
  at::Tensor held;
};

class TensorFiles final : public HostDataset {
 public:
  TensorFiles(const std::string& name, const TensorFilesParams& params, const fs::path& base) {
    info_.name = name;
    for (const auto& entry : params.fields.as_map()) add_column(entry, base);
    if (columns_.empty()) throw Error("the dataset \"" + name + "\" has no field");
    for (const Column& column : columns_) {
      const std::int64_t rows = column.stored.shape.at(0);
      if (&column == &columns_.front()) info_.size = rows;
      if (rows != info_.size) {
        throw Error("the fields \"" + columns_.front().name + "\" and \"" + column.name +
                    "\" differ in their number of rows: " + std::to_string(info_.size) + " and " +
                    std::to_string(rows));
      }
    }
    if (params.limit) info_.size = std::min(info_.size, *params.limit);
    if (params.ids) read_ids(base / *params.ids);
  }

  std::string id(std::int64_t position) const override {
    return ids_.empty() ? std::to_string(position) : ids_[static_cast<std::size_t>(position)];
  }

  Sample read(std::int64_t position) const override {
    Sample sample;
    sample.id = id(position);
    for (const Column& column : columns_) {
      const at::Tensor row = column.held.defined() ? column.held[position]
                                                   : read_tensor(column.file, column.stored,
                                                                 position, position + 1)[0];
      sample.fields.set(column.name, row);
    }
    return sample;
  }

  Value scalar(std::int64_t position, const std::string& field) const override {
    for (const Column& column : columns_) {
      if (column.name != field) continue;
      const at::Tensor value = read(position).fields.at(field);
      if (value.dim() != 0) break;
      if (c10::isIntegralType(value.scalar_type(), true)) return value.item().toLong();
      return value.item().toDouble();
    }
    throw Error("\"" + field + "\" of the dataset \"" + info_.name + "\" is no single number");
  }

  std::string content_hash(ContentIndex& index) const override {
    std::string all = std::to_string(info_.size);
    for (const Column& column : columns_)
      all += "\n" + column.name + " " + column.stored.name + " " + index.hash(column.file);
    for (const std::string& id : ids_) all += "\n" + id;
    return hash_text(all);
  }

 private:
  void add_column(const Value::Entry& entry, const fs::path& base) {
    const std::string text = entry.value.as_string();
    const auto hash = text.rfind('#');
    Column column{entry.key, (base / text.substr(0, hash)).lexically_normal(), {}, {}};
    if (!fs::is_regular_file(column.file))
      throw Error(entry.value.location(), "the file " + column.file.string() + " does not exist");
    if (column.file.extension() == ".npy") {
      column.held = read_npy(column.file);
      column.stored.type = column.held.scalar_type();
      column.stored.shape = column.held.sizes().vec();
    } else {
      const auto tensors = read_tensor_list(column.file);
      const std::string wanted = hash == std::string::npos ? entry.key : text.substr(hash + 1);
      std::vector<std::string> names;
      bool found = false;
      for (const StoredTensor& tensor : tensors) {
        names.push_back(tensor.name);
        if (tensor.name == wanted || (tensors.size() == 1 && hash == std::string::npos)) {
          column.stored = tensor;
          found = true;
        }
      }
      if (!found)
        throw Error(entry.value.location(), "the file " + column.file.string() +
                                                " has no tensor \"" + wanted + "\"" +
                                                suggestion(wanted, names));
    }
    if (column.stored.shape.empty()) throw Error(entry.value.location(), "the tensor has no rows");
    std::vector<std::int64_t> shape(column.stored.shape.begin() + 1, column.stored.shape.end());
    info_.fields.push_back({entry.key, column.stored.type, std::move(shape), {}, false});
    columns_.push_back(std::move(column));
  }

  void read_ids(const fs::path& file) {
    std::ifstream stream(file);
    if (!stream) throw Error("the ids " + file.string() + " can't be read");
    for (std::string line; std::getline(stream, line);) ids_.push_back(line);
    if (static_cast<std::int64_t>(ids_.size()) < info_.size)
      throw Error("the file " + file.string() + " has " + std::to_string(ids_.size()) +
                  " ids for " + std::to_string(info_.size) + " samples");
    ids_.resize(static_cast<std::size_t>(info_.size));
  }

  std::vector<Column> columns_;
  std::vector<std::string> ids_;
};

}  // namespace

void TensorFilesParams::describe(StageSpec<TensorFilesParams>& spec) {
  spec.summary("Tensors from safetensors and .npy files; rows are samples.");
  spec.parameter("fields", &TensorFilesParams::fields)
      .required()
      .doc("field: file, or file#tensor");
  spec.parameter("ids", &TensorFilesParams::ids)
      .doc("text file with one id a line; else rows are counted from 0");
  spec.parameter("limit", &TensorFilesParams::limit).range(1, 1e12).doc("at most so many samples");
}

std::shared_ptr<HostDataset> open_tensor_files(const std::string& name,
                                               const TensorFilesParams& params,
                                               const fs::path& base) {
  return std::make_shared<TensorFiles>(name, params, base);
}

}  // namespace microtome::host
