#include "host/data/tensor_files.h"

#include <algorithm>
#include <optional>

#include "host/data/conversion.h"
#include "host/data/line_file.h"
#include "host/store/npy.h"
#include "host/store/safetensors.h"
#include "host/support/file_kind.h"
#include "host/support/hash.h"
#include "microtome/class_numbers.h"

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
  std::optional<Conversion> conversion;
};

/// What goes wrong is a mistake at this value.
template <class Action>
void located(const Value& value, Action action) {
  try {
    action();
  } catch (const Error& error) {
    throw Error(value.location(), error.what());
  }
}

class TensorFiles final : public HostDataset {
 public:
  TensorFiles(const std::string& name, const TensorFilesParams& params, const fs::path& base) {
    info_.name = name;
    for (const auto& entry : params.fields.as_map()) add_column(entry, base);
    for (const auto& entry : params.convert.as_map()) convert(entry);
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
    const std::int64_t rows = info_.size;
    if (params.limit) info_.size = std::min(info_.size, *params.limit);
    if (params.ids) read_ids(base / *params.ids, rows);
  }

  std::string id(std::int64_t position) const override {
    return ids_.empty() ? std::to_string(position) : ids_[static_cast<std::size_t>(position)];
  }

  Sample read(std::int64_t position) const override {
    Sample sample;
    sample.id = id(position);
    for (const Column& column : columns_)
      sample.fields.set(column.name, converted(column, row_of(column, position), sample.id));
    return sample;
  }

  Value scalar(std::int64_t position, const std::string& field) const override {
    for (const Column& column : columns_) {
      if (column.name != field) continue;
      const std::vector<std::int64_t> shape(column.stored.shape.begin() + 1,
                                            column.stored.shape.end());
      // A column N x 1 is N numbers.
      if (std::any_of(shape.begin(), shape.end(), [](std::int64_t size) { return size != 1; })) {
        throw Error(why_not_classes({field, column.stored.type, shape, {}, false}));
      }
      const at::Tensor value = converted(column, row_of(column, position), id(position));
      if (c10::isIntegralType(value.scalar_type(), true)) return value.item().toLong();
      return value.item().toDouble();
    }
    throw Error("the dataset \"" + info_.name + "\" has no field \"" + field + "\"");
  }

  std::string content_hash(ContentIndex& index) const override {
    std::string all = std::to_string(info_.size);
    for (const Column& column : columns_)
      all += "\n" + column.name + " " + column.stored.name + " " + index.hash(column.file) +
             (column.conversion ? " " + column.conversion->text() : "");
    for (const std::string& id : ids_) all += "\n" + id;
    return hash_text(all);
  }

 private:
  static at::Tensor converted(const Column& column, const at::Tensor& row, const std::string& id) {
    if (!column.conversion) return row;
    try {
      return column.conversion->apply(row);
    } catch (const Error& error) {
      throw Error("the field \"" + column.name + "\" (" + column.file.string() +
                  ") of the sample " + id + ": " + error.what());
    }
  }

  void convert(const Value::Entry& entry) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      names.push_back(columns_[i].name);
      if (columns_[i].name != entry.key) continue;
      FieldInfo& field = info_.fields[i];
      const Conversion conversion = Conversion::read(entry.value, field.type);
      columns_[i].conversion = conversion;
      field.type = conversion.to;
      field.image = conversion.is_pixels && field.shape.size() == 3;
      return;
    }
    throw Error(entry.key_location, "there is no field \"" + entry.key + "\" to convert" +
                                        suggestion(entry.key, names));
  }

  static at::Tensor row_of(const Column& column, std::int64_t position) {
    if (column.held.defined()) return column.held[position];
    return read_tensor(column.file, column.stored, position, position + 1)[0];
  }

  void add_column(const Value::Entry& entry, const fs::path& base) {
    const std::string text = entry.value.as_string();
    const auto hash = text.rfind('#');
    Column column{entry.key, (base / text.substr(0, hash)).lexically_normal(), {}, {}, {}};
    if (!fs::is_regular_file(column.file))
      throw Error(entry.value.location(), "the file " + column.file.string() + " does not exist" +
                                              kind_remark(column.file));
    if (column.file.extension() == ".npy") {
      located(entry.value, [&] { column.held = read_npy(column.file); });
      column.stored.type = column.held.scalar_type();
      column.stored.shape = column.held.sizes().vec();
    } else {
      std::vector<StoredTensor> tensors;
      located(entry.value, [&] { tensors = read_tensor_list(column.file); });
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
    located(entry.value, [&] { demand_readable(column.file, column.stored); });
    std::vector<std::int64_t> shape(column.stored.shape.begin() + 1, column.stored.shape.end());
    info_.fields.push_back({entry.key, column.stored.type, std::move(shape), {}, false});
    columns_.push_back(std::move(column));
  }

  /// `rows`: of the tensors, before `limit`.
  void read_ids(const fs::path& file, std::int64_t rows) {
    const std::vector<TextLine> lines = read_lines(file, "the ids");
    const auto count = static_cast<std::int64_t>(lines.size());
    for (const TextLine& line : lines) {
      if (line.text.empty()) {
        throw Error("the ids " + file.string() + " have an empty line, " +
                    std::to_string(line.number) + "; each row needs an id");
      }
    }
    if (count != rows && count != info_.size) {
      throw Error("the file " + file.string() + " has " + std::to_string(count) + " ids for " +
                  std::to_string(rows) + " samples");
    }
    refuse_repetitions(lines, file, "the ids");
    for (std::int64_t i = 0; i < info_.size; ++i)
      ids_.push_back(lines[static_cast<std::size_t>(i)].text);
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
  spec.parameter("convert", &TensorFilesParams::convert)
      .doc(
          "field: the type in which it is given, such as float32 for a file of float64; real "
          "numbers are rounded, everything else must be the same number there. `pixels` makes "
          "numbers in 0..1 of uint8, as image folders do");
  spec.parameter("ids", &TensorFilesParams::ids)
      .doc("UTF-8 text file with one id a line, none twice; else rows are counted from 0");
  spec.parameter("limit", &TensorFilesParams::limit).range(1, 1e12).doc("at most so many samples");
}

std::shared_ptr<HostDataset> open_tensor_files(const std::string& name,
                                               const TensorFilesParams& params,
                                               const fs::path& base) {
  return std::make_shared<TensorFiles>(name, params, base);
}

}  // namespace microtome::host
