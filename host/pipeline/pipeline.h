#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "host/pipeline/runtime_settings.h"
#include "microtome/value.h"

namespace microtome::host {

/// A declared model or dataset; its map is read by its source.
struct Declaration {
  std::string name;
  Value content;
  Location location;
};

/// What an input of a stage refers to, as text: `net`, `test.label`, `acts.out`, `acts[layer=a]`.
struct InputText {
  std::string port;
  std::string text;
  Location location;
  bool in_list = false;  ///< one of a list
};

/// One stage, or one element of its matrix.
struct StageNode {
  std::string name;                                          ///< as the pipeline calls it
  std::string id;                                            ///< `name`, or `name[key=value,...]`
  std::vector<std::pair<std::string, std::string>> element;  ///< of the matrix
  std::string uses;
  Location uses_location;
  Value with;
  std::vector<InputText> inputs;
  Value bind;  ///< model input -> field; null when not given
  Location location;

  /// Folder below `stages/`, safe as a path.
  std::filesystem::path folder() const;
};

struct Pipeline {
  std::filesystem::path file;
  std::string name;
  std::string title;
  std::uint64_t seed = 0;
  RuntimeSettings runtime;
  Value runtime_said = RuntimeSettings::canonical(Value::map());  ///< the same, for keys
  std::vector<Declaration> models;
  std::vector<Declaration> datasets;
  std::vector<StageNode> stages;
  Value resolved;  ///< the whole document with variables filled in
};

/// Reads a pipeline: guard, overrides, variables, structure, matrix. All mistakes go to `problems`;
/// what could be read is returned.
Pipeline read_pipeline(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                       Problems& problems);
/// The same from text, for tests; relative paths are relative to `file`'s folder.
Pipeline read_pipeline_text(std::string_view text, const std::filesystem::path& file,
                            const std::vector<std::string>& overrides, Problems& problems);

/// JSON Schema of the parts that no plugin describes.
Value pipeline_schema_frame();

}  // namespace microtome::host
