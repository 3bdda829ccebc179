#pragma once

#include <torch/version.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>

#include "microtome/stage_spec.h"
#include "microtome/version.h"

namespace [[gnu::visibility("default")]] microtome {

/// What must be equal for C++ objects to cross between host and plugin.
#if defined(__x86_64__)
inline constexpr char abi_tag[] =
    "itanium/libstdc++/cxx11-abi-"
#else
inline constexpr char abi_tag[] =
    "itanium-other/libstdc++/cxx11-abi-"
#endif
#if _GLIBCXX_USE_CXX11_ABI
    "1";
#else
    "0";
#endif

/// Plain data that the host reads from the library's file, section `.microtome`, before loading it.
/// No pointers. What is here stays where it is: a host reads it of plugins of every version, to say
/// why it refuses one. Later versions append; `struct_size` tells.
struct PluginDescriptor {
  static constexpr std::size_t max_stage_types = 64;
  char magic[8];  ///< "MICRTOME"
  std::uint32_t struct_size;
  std::uint32_t sdk_major, sdk_minor;
  std::uint32_t libtorch_major, libtorch_minor;
  std::uint32_t stage_type_count;
  char abi[64];
  char name[64];
  char version[32];
  char stage_types[max_stage_types][64];
};
static_assert(std::is_trivially_copyable_v<PluginDescriptor>);

/// Takes what a plugin registers. Implemented by the host. [one thread, while registering]
class Registry {
 public:
  virtual ~Registry();
  virtual void add(std::unique_ptr<StageType> type) = 0;
};

/// A stage type of a plugin; see `MICROTOME_PLUGIN`.
struct StageRegistration {
  const char* type;
  std::unique_ptr<StageType> (*make)(const char* type);
};
template <class S>
constexpr StageRegistration stage(const char* type) {
  return {type, [](const char* name) -> std::unique_ptr<StageType> {
            return std::make_unique<StageTypeOf<S>>(name);
          }};
}

/// What the exported symbol is. `add_all` returns 0, or 1 with a message in `error`.
struct PluginEntry {
  PluginDescriptor descriptor;
  int (*add_all)(Registry& registry, char* error, std::size_t error_size);
};

namespace detail {

template <std::size_t N>
constexpr void copy_text(char (&to)[N], const char* from) {
  std::size_t i = 0;
  for (; from[i] != '\0'; ++i) {
    if (i + 1 >= N) throw "text is too long for the plugin's descriptor";
    to[i] = from[i];
  }
}

template <std::size_t N>
consteval PluginDescriptor make_descriptor(const char* name, const char* version,
                                           const StageRegistration (&stages)[N]) {
  static_assert(N <= PluginDescriptor::max_stage_types);
  PluginDescriptor descriptor{};
  const char magic[] = "MICRTOME";
  for (int i = 0; i < 8; ++i) descriptor.magic[i] = magic[i];
  descriptor.struct_size = sizeof(PluginDescriptor);
  descriptor.sdk_major = sdk_major;
  descriptor.sdk_minor = sdk_minor;
  descriptor.libtorch_major = TORCH_VERSION_MAJOR;
  descriptor.libtorch_minor = TORCH_VERSION_MINOR;
  descriptor.stage_type_count = N;
  copy_text(descriptor.abi, abi_tag);
  copy_text(descriptor.name, name);
  copy_text(descriptor.version, version);
  for (std::size_t i = 0; i < N; ++i) copy_text(descriptor.stage_types[i], stages[i].type);
  return descriptor;
}

/// Registers all; no exception leaves.
int add_stages(const StageRegistration* stages, std::size_t count, Registry& registry, char* error,
               std::size_t error_size) noexcept;

}  // namespace detail
}  // namespace microtome

/// The entry of a plugin, once in a library:
///   MICROTOME_PLUGIN("lab-energy", "0.1.0", microtome::stage<ChannelEnergy>("channel_energy"))
#define MICROTOME_PLUGIN(plugin_name, plugin_version, ...)                                      \
  namespace {                                                                                   \
  constexpr ::microtome::StageRegistration microtome_stages[] = {__VA_ARGS__};                  \
  int microtome_add_all(::microtome::Registry& registry, char* error, std::size_t error_size) { \
    return ::microtome::detail::add_stages(microtome_stages, std::size(microtome_stages),       \
                                           registry, error, error_size);                        \
  }                                                                                             \
  }                                                                                             \
  extern "C" {                                                                                  \
  [[gnu::visibility("default"), gnu::used,                                                      \
    gnu::section(".microtome")]] constinit ::microtome::PluginEntry microtome_plugin_entry = {  \
      ::microtome::detail::make_descriptor(plugin_name, plugin_version, microtome_stages),      \
      &microtome_add_all};                                                                      \
  }
