#include "host/loader/catalog.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <cstdlib>
#include <cstring>
#include <set>

#include "host/loader/descriptor_reader.h"
#include "host/support/hash.h"

namespace microtome::host {
namespace {

namespace fs = std::filesystem;

/// Why this file or folder could have been changed by another user; empty when it could not.
std::string writable_by_others(const fs::path& path) {
  struct stat about {};
  if (stat(path.c_str(), &about) != 0) return "it can't be looked at";
  if ((about.st_mode & S_IWOTH) != 0 && (about.st_mode & S_ISVTX) == 0) {
    return path.string() + " can be written by every user; remove that permission (chmod o-w)";
  }
  if (about.st_uid != 0 && about.st_uid != geteuid()) {
    return path.string() + " belongs to another user";
  }
  return "";
}

/// What a user would not understand of a stage type; empty when it is complete.
std::string why_incomplete(const StageDescription& type) {
  for (const ParameterDescription& parameter : type.parameters) {
    const std::string which =
        "the parameter \"" + parameter.name + "\" of its stage type \"" + type.type + "\"";
    if (parameter.type.empty()) return which + " is an enumeration without words (choices)";
    if (parameter.doc.empty()) return which + " has no doc";
  }
  return {};
}

class Collector final : public Registry {
 public:
  void add(std::unique_ptr<StageType> type) override { types.push_back(std::move(type)); }
  std::vector<std::unique_ptr<StageType>> types;
};

std::vector<fs::path> split(const char* text) {
  std::vector<fs::path> parts;
  std::string rest = text == nullptr ? "" : text;
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    if (colon != 0) parts.emplace_back(rest.substr(0, colon));
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
  }
  return parts;
}

}  // namespace

PluginRefused::PluginRefused(const std::string& message) : Error(message) {}
PluginRefused::~PluginRefused() = default;

SearchPath SearchPath::standard(const std::vector<std::string>& given) {
  SearchPath path;
  for (const std::string& folder : given) path.folders.emplace_back(folder);
  for (fs::path& folder : split(std::getenv("MICROTOME_PLUGIN_PATH")))
    path.folders.push_back(std::move(folder));
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data != 0) {
    path.folders.push_back(fs::path(data) / "microtome" / "plugins");
  } else if (const char* home = std::getenv("HOME"); home != nullptr && *home != 0) {
    path.folders.push_back(fs::path(home) / ".local" / "share" / "microtome" / "plugins");
  }
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  // Beside the program in a build tree; in lib/microtome/plugins when installed.
  path.folders.push_back(program.parent_path().parent_path() / "plugins");
  path.folders.push_back(program.parent_path().parent_path() / "lib" / "microtome" / "plugins");
  return path;
}

Catalog::Catalog(const SearchPath& path) {
  std::set<fs::path> seen;
  for (const fs::path& folder : path.folders) {
    std::error_code code;
    const fs::path real = fs::canonical(folder, code);
    if (!code && fs::is_directory(real, code) && seen.insert(real).second) scan_folder(real);
  }
}

Catalog::~Catalog() = default;

void Catalog::scan_folder(const fs::path& folder) {
  const std::string folder_refusal = writable_by_others(folder);
  std::vector<fs::path> files;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    if (entry.path().extension() == ".so") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    PluginFile plugin;
    plugin.path = file;
    plugin.name = file.filename().string();
    plugin.refusal = folder_refusal.empty() ? writable_by_others(file) : folder_refusal;
    const auto read = read_descriptor(file);
    if (const auto* descriptor = std::get_if<PluginDescriptor>(&read)) {
      plugin.name = descriptor->name;
      plugin.version = descriptor->version;
      for (std::uint32_t i = 0; i < descriptor->stage_type_count; ++i) {
        plugin.stage_types.emplace_back(descriptor->stage_types[i]);
      }
      if (plugin.refusal.empty()) plugin.refusal = incompatibility(*descriptor);
    } else if (plugin.refusal.empty()) {
      plugin.refusal = std::get<std::string>(read);
    }
    plugins_.push_back(std::move(plugin));
  }
}

namespace {

/// The type of `type` or `plugin/type`.
std::string bare_type(const std::string& name) { return name.substr(name.rfind('/') + 1); }

}  // namespace

std::vector<const PluginFile*> Catalog::claimants(const std::string& stage_type,
                                                  bool usable) const {
  const auto slash = stage_type.rfind('/');
  const std::string type = bare_type(stage_type);
  std::vector<const PluginFile*> found;
  for (const PluginFile& plugin : plugins_) {
    if (plugin.refusal.empty() != usable) continue;
    if (slash != std::string::npos && plugin.name != stage_type.substr(0, slash)) continue;
    const auto& types = plugin.stage_types;
    if (std::find(types.begin(), types.end(), type) != types.end()) found.push_back(&plugin);
  }
  return found;
}

std::vector<std::string> Catalog::stage_types() const {
  std::map<std::string, std::vector<const PluginFile*>> all;
  for (const PluginFile& plugin : plugins_) {
    if (!plugin.refusal.empty()) continue;
    for (const std::string& type : plugin.stage_types) all[type].push_back(&plugin);
  }
  std::vector<std::string> names;
  for (const auto& [type, plugins] : all) {
    if (plugins.size() == 1) names.push_back(type);
    for (const PluginFile* plugin : plugins) {
      const std::string name = plugin->name + "/" + type;
      if (plugins.size() > 1 && claimants(name, true).size() == 1) names.push_back(name);
    }
  }
  return names;
}

const PluginFile* Catalog::plugin_of(const std::string& stage_type) const {
  const std::vector<const PluginFile*> usable = claimants(stage_type, true);
  if (usable.size() == 1) return usable[0];
  if (usable.empty()) {
    // A refused plugin still says which types it would have, for a better message.
    const std::vector<const PluginFile*> refused = claimants(stage_type, false);
    return refused.empty() ? nullptr : refused[0];
  }
  std::string places, names;
  for (const PluginFile* plugin : usable) {
    const std::string name = plugin->name + "/" + bare_type(stage_type);
    places += (places.empty() ? "" : " and in ") + plugin->path.string();
    if (claimants(name, true).size() == 1) names += (names.empty() ? "" : " or ") + name;
  }
  throw PluginRefused("the stage type \"" + stage_type + "\" is in " + places +
                      (names.empty() ? "; take all but one of them off the search path"
                                     : "; say which is meant: " + names));
}

const StageType& Catalog::stage_type(const std::string& name) {
  const PluginFile* plugin = plugin_of(name);
  if (plugin == nullptr) {
    throw Error("no plugin has a stage type \"" + name + "\"" + suggestion(name, stage_types()));
  }
  return stage_type(*plugin, bare_type(name));
}

const StageType& Catalog::stage_type(const PluginFile& plugin, const std::string& type) {
  if (!plugin.refusal.empty()) {
    throw PluginRefused("the stage type \"" + type + "\" is in the plugin " + plugin.path.string() +
                        ", which is refused: " + plugin.refusal);
  }
  const std::pair key(plugin.path, type);
  if (!types_.contains(key)) load(plugin);
  return *types_.at(key);
}

std::string Catalog::plugin_hash(const std::string& stage_type) {
  const PluginFile* plugin = plugin_of(stage_type);
  if (plugin == nullptr) throw Error("no plugin has a stage type \"" + stage_type + "\"");
  std::string& hash = hashes_[plugin->path];
  if (hash.empty()) hash = hash_file(plugin->path);
  return hash;
}

void Catalog::load(const PluginFile& plugin) {
  const auto refuse = [&](const std::string& why) {
    return PluginRefused("the plugin " + plugin.path.string() + " is refused: " + why);
  };
  const auto in_file = read_descriptor(plugin.path);
  if (const auto* why = std::get_if<std::string>(&in_file)) throw refuse(*why);
  boost::dll::fs::error_code code;
  boost::dll::shared_library library(
      boost::dll::fs::path(plugin.path.string()),
      boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local, code);
  if (code) {
    // The error code has no detail; the dynamic linker has.
    dlopen(plugin.path.c_str(), RTLD_NOW | RTLD_LOCAL);
    const char* detail = dlerror();
    throw refuse(std::string("the dynamic linker can't load it: ") +
                 (detail != nullptr ? detail : code.message().c_str()));
  }
  // Objects of the plugin may outlive everything here, so its code stays.
  dlopen(plugin.path.c_str(), RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  if (!library.has("microtome_plugin_entry"))
    throw refuse("it exports no symbol microtome_plugin_entry");
  const auto& entry = library.get<PluginEntry>("microtome_plugin_entry");
  if (std::memcmp(&entry.descriptor, &std::get<PluginDescriptor>(in_file),
                  sizeof(PluginDescriptor)) != 0) {
    throw refuse("its descriptor in the file and in memory differ");
  }
  Collector collector;
  char error[512] = "";
  if (entry.add_all == nullptr || entry.add_all(collector, error, sizeof error) != 0) {
    throw refuse(std::string("its registration failed: ") + error);
  }
  for (std::unique_ptr<StageType>& type : collector.types) {
    const std::string name = type->description().type;
    if (std::find(plugin.stage_types.begin(), plugin.stage_types.end(), name) ==
        plugin.stage_types.end()) {
      throw refuse("it registers the stage type \"" + name +
                   "\", which its descriptor does not name");
    }
    if (const std::string why = why_incomplete(type->description()); !why.empty())
      throw refuse(why);
    types_[{plugin.path, name}] = std::move(type);
  }
  for (const std::string& name : plugin.stage_types) {
    if (!types_.contains({plugin.path, name}))
      throw refuse("its descriptor names the stage type \"" + name +
                   "\", which it does not register");
  }
}

}  // namespace microtome::host
