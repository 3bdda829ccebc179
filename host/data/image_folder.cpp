#include "host/data/image_folder.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>

#include "host/data/image_decoder.h"
#include "host/data/permutation.h"
#include "host/support/hash.h"

namespace microtome::host {
namespace {

namespace fs = std::filesystem;

bool is_image(const fs::path& file) {
  std::string extension = file.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

/// Lines of a class list: the key is what stands before a tab, the name what stands after it, or
/// the line.
std::vector<std::pair<std::string, std::string>> read_classes(const fs::path& file) {
  std::ifstream stream(file);
  if (!stream) throw Error("the class list " + file.string() + " can't be read");
  std::vector<std::pair<std::string, std::string>> classes;
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const auto tab = line.find('\t');
    classes.emplace_back(line.substr(0, tab),
                         tab == std::string::npos ? line : line.substr(tab + 1));
  }
  return classes;
}

class ImageFolder final : public HostDataset {
 public:
  ImageFolder(const std::string& name, const ImageFolderParams& params, const fs::path& base)
      : params_(params), folder_((base / params.path).lexically_normal()) {
    info_.name = name;
    list_files();
    if (params_.label != ImageFolderParams::Label::none) find_labels(base);
    if (params_.shuffle) {
      apply(seeded_permutation(files_.size(), static_cast<std::uint64_t>(*params_.shuffle)));
    }
    if (params_.limit && static_cast<std::size_t>(*params_.limit) < files_.size()) {
      files_.resize(static_cast<std::size_t>(*params_.limit));
      if (!labels_.empty()) labels_.resize(files_.size());
    }
    info_.size = static_cast<std::int64_t>(files_.size());
    FieldInfo image{"image", at::kFloat, {}, {}, true};
    image.shape = first_shape();
    image.normalised = params_.transform.normalises();
    info_.fields.push_back(std::move(image));
    if (!labels_.empty()) info_.fields.push_back({"label", at::kLong, {}, names_, false});
  }

  std::string id(std::int64_t position) const override {
    return files_.at(static_cast<std::size_t>(position));
  }

  Sample read(std::int64_t position) const override {
    Sample sample;
    sample.id = id(position);
    const fs::path file = folder_ / sample.id;
    const at::Tensor pixels = decode_image(file);
    try {
      sample.fields.set("image", host::apply(params_.transform, pixels));
    } catch (const Error& error) {
      throw Error("the image " + file.string() + ": " + error.what());
    }
    if (!labels_.empty())
      sample.fields.set(
          "label", at::tensor(labels_[static_cast<std::size_t>(position)], at::kLong).squeeze());
    return sample;
  }

  Value scalar(std::int64_t position, const std::string& field) const override {
    if (field == "label" && !labels_.empty()) return labels_[static_cast<std::size_t>(position)];
    throw Error("\"" + field + "\" of the dataset \"" + info_.name +
                "\" is not known without decoding; choose by label");
  }

  std::string content_hash(ContentIndex& index) const override {
    // One hash on top of the other, so that nothing grows with the number of files.
    std::string all = hash_text(to_json(params_.transform.to_value()));
    for (std::size_t i = 0; i < files_.size(); ++i) {
      all = hash_text(all + files_[i] + "\n" + index.hash(folder_ / files_[i]) +
                      (labels_.empty() ? "" : std::to_string(labels_[i])));
    }
    return all;
  }

  bool skips_bad_samples() const override {
    return params_.on_bad_sample == ImageFolderParams::OnBadSample::skip;
  }

 private:
  void list_files() {
    std::error_code code;
    if (!fs::is_directory(folder_, code))
      throw Error("the folder " + folder_.string() + " does not exist");
    for (const auto& entry : fs::recursive_directory_iterator(
             folder_, fs::directory_options::follow_directory_symlink)) {
      if (entry.is_regular_file() && is_image(entry.path())) {
        files_.push_back(fs::relative(entry.path(), folder_).generic_string());
      }
    }
    if (files_.empty())
      throw Error("the folder " + folder_.string() + " holds no image (.jpg, .jpeg, .png)");
    std::sort(files_.begin(), files_.end());
  }

  std::string class_key(const std::string& file) const {
    if (params_.label == ImageFolderParams::Label::folder) {
      const auto slash = file.find('/');
      if (slash == std::string::npos) {
        throw Error("the image " + (folder_ / file).string() +
                    " stands in no class's folder; say label: name_prefix or label: none");
      }
      return file.substr(0, slash);
    }
    const std::string name = file.substr(file.find_last_of('/') + 1);
    return name.substr(0, name.find_first_of("_."));
  }

  void find_labels(const fs::path& base) {
    std::map<std::string, std::int64_t> index;
    if (params_.classes) {
      const auto classes = read_classes(base / *params_.classes);
      for (const auto& [key, name] : classes) {
        index[key] = static_cast<std::int64_t>(names_.size());
        names_.push_back(name);
      }
    } else {
      for (const std::string& file : files_) index.emplace(class_key(file), 0);
      for (auto& [key, number] : index) {
        number = static_cast<std::int64_t>(names_.size());
        names_.push_back(key);
      }
    }
    for (const std::string& file : files_) {
      const auto found = index.find(class_key(file));
      if (found == index.end()) {
        throw Error("the image " + (folder_ / file).string() + " has the class \"" +
                    class_key(file) + "\", which is not in the class list");
      }
      labels_.push_back(found->second);
    }
  }

  void apply(const std::vector<std::size_t>& order) {
    std::vector<std::string> files;
    std::vector<std::int64_t> labels;
    for (const std::size_t i : order) {
      files.push_back(files_[i]);
      if (!labels_.empty()) labels.push_back(labels_[i]);
    }
    files_ = std::move(files);
    labels_ = std::move(labels);
  }

  std::vector<std::int64_t> first_shape() const {
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(files_.size()); ++i) {
      try {
        return read(i).fields.at("image").sizes().vec();
      } catch (const Error&) {
        if (!skips_bad_samples()) throw;
      }
    }
    throw Error("no image in the folder " + folder_.string() + " can be read");
  }

  ImageFolderParams params_;
  fs::path folder_;
  std::vector<std::string> files_;
  std::vector<std::int64_t> labels_;
  std::vector<std::string> names_;
};

}  // namespace

void ImageFolderParams::describe(StageSpec<ImageFolderParams>& spec) {
  spec.summary("Images below a folder, JPEG or PNG, in the order of their paths.");
  spec.parameter("path", &ImageFolderParams::path).required().doc("the folder");
  spec.parameter("transform", &ImageFolderParams::transform)
      .doc(
          "resize (short side, or [height, width]; antialiased), crop (centre), normalize (mean, "
          "std)");
  spec.parameter("label", &ImageFolderParams::label)
      .choices({"folder", "name_prefix", "none"})
      .doc(
          "where the class stands: the first folder, the file's name up to the first _, or "
          "nowhere");
  spec.parameter("classes", &ImageFolderParams::classes)
      .doc(
          "file that lists the classes, one a line (`key` or `key<TAB>name`); else they are "
          "counted in alphabetical order");
  spec.parameter("limit", &ImageFolderParams::limit)
      .range(1, 1e9)
      .doc("at most so many samples, after shuffling");
  spec.parameter("shuffle", &ImageFolderParams::shuffle)
      .range(0, 9e15)
      .doc("seed of a random order");
  spec.parameter("on_bad_sample", &ImageFolderParams::on_bad_sample)
      .choices({"fail", "skip"})
      .doc("what happens when an image can't be read; the skipped are in the manifest");
}

std::shared_ptr<HostDataset> open_image_folder(const std::string& name,
                                               const ImageFolderParams& params,
                                               const fs::path& base) {
  return std::make_shared<ImageFolder>(name, params, base);
}

}  // namespace microtome::host
