#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "host/data/host_dataset.h"
#include "host/data/image_transform.h"
#include "microtome/stage_spec.h"

namespace microtome::host {

/// Images below a folder.
struct ImageFolderParams {
  enum class Label { folder, name_prefix, none };
  enum class OnBadSample { fail, skip };
  std::string path;
  ImageTransform transform;
  Label label = Label::folder;
  std::optional<std::string> classes;
  std::optional<std::int64_t> limit;
  std::optional<std::int64_t> shuffle;
  OnBadSample on_bad_sample = OnBadSample::fail;

  static void describe(StageSpec<ImageFolderParams>& spec);
};

/// Opens it: lists files, finds classes, reads the first image for its shape. Relative paths are
/// relative to `base`. Throws `Error` that names the folder or file.
std::shared_ptr<HostDataset> open_image_folder(const std::string& name,
                                               const ImageFolderParams& params,
                                               const std::filesystem::path& base);

}  // namespace microtome::host
