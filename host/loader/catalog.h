#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "microtome/plugin.h"

namespace microtome::host {

/// A plugin can't be used, or several have the stage type that is meant. Exit status 3.
class PluginRefused : public Error {
 public:
  explicit PluginRefused(const std::string& message);
  ~PluginRefused() override;
};

/// A library found on the search path.
struct PluginFile {
  std::filesystem::path path;
  std::string name;  ///< the file's name when it is no plugin
  std::string version;
  std::vector<std::string> stage_types;
  std::string refusal;  ///< not empty: why it is not used
};

/// Where plugins are looked for. No folder takes precedence: a stage type that several plugins have
/// is named with its plugin, `plugin/type`.
struct SearchPath {
  std::vector<std::filesystem::path> folders;
  /// `given` (from the command line), MICROTOME_PLUGIN_PATH, the user's data folder, and the folder
  /// beside this program or where it was installed.
  static SearchPath standard(const std::vector<std::string>& given);
};

/// The plugins on a search path. Reads descriptors at once, loads libraries when a stage type is
/// asked for. [one thread]
class Catalog {
 public:
  explicit Catalog(const SearchPath& path);
  ~Catalog();

  const std::vector<PluginFile>& plugins() const { return plugins_; }
  /// Stage types of usable plugins, as `plugin/type` where several plugins have one.
  std::vector<std::string> stage_types() const;
  /// The plugin that has a stage type, or nullptr. Throws `PluginRefused` when several have it.
  const PluginFile* plugin_of(const std::string& stage_type) const;
  /// Loads the plugin if need be. Throws `PluginRefused`; `Error` with near names for an unknown
  /// type.
  const StageType& stage_type(const std::string& name);
  /// The type of one of `plugins()`.
  const StageType& stage_type(const PluginFile& plugin, const std::string& type);
  /// Loads a plugin of `plugins()`. Throws `PluginRefused`.
  void load(const PluginFile& plugin);
  /// Of the plugin's file that has this stage type.
  std::string plugin_hash(const std::string& stage_type);

 private:
  struct Loaded;
  void scan_folder(const std::filesystem::path& folder);
  /// Usable plugins that have a stage type, `type` or `plugin/type`.
  std::vector<const PluginFile*> claimants(const std::string& stage_type, bool usable) const;

  std::vector<PluginFile> plugins_;
  /// By the plugin's file and the type.
  std::map<std::pair<std::filesystem::path, std::string>, std::unique_ptr<StageType>> types_;
  std::map<std::filesystem::path, std::string> hashes_;
};

}  // namespace microtome::host
