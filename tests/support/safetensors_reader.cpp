#include "tests/support/safetensors_reader.h"

#include <cstring>

#include "microtome/value.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {

std::map<std::string, at::Tensor> read_safetensors(const std::filesystem::path& file) {
  const std::string content = read_file(file);
  std::uint64_t header = 0;
  std::memcpy(&header, content.data(), 8);
  const Value description = from_json(std::string_view(content).substr(8, header));
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, said, place] : description.as_map()) {
    if (name == "__metadata__") continue;
    const std::string& type = said.at("dtype").as_string();
    const at::ScalarType scalar = type == "F32"    ? at::kFloat
                                  : type == "F64"  ? at::kDouble
                                  : type == "I64"  ? at::kLong
                                  : type == "U8"   ? at::kByte
                                  : type == "BOOL" ? at::kBool
                                                   : throw Error("unexpected type " + type);
    std::vector<std::int64_t> shape;
    for (const Value& size : said.at("shape").as_list()) shape.push_back(size.as_integer());
    at::Tensor tensor = at::empty(shape, scalar);
    const auto& offsets = said.at("data_offsets").as_list();
    std::memcpy(tensor.data_ptr(), content.data() + 8 + header + offsets[0].as_integer(),
                static_cast<std::size_t>(offsets[1].as_integer() - offsets[0].as_integer()));
    tensors[name] = tensor;
  }
  return tensors;
}

}  // namespace microtome::testing
