#include "host/data/image_folder.h"

#include <oneapi/tbb/parallel_for.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include "host/data/folder_listing.h"
#include "host/data/image_decoder.h"
#include "host/data/line_file.h"
#include "host/data/permutation.h"
#include "host/support/hash.h"

namespace microtome::host {
namespace {

namespace fs = std::filesystem;

/// A class list: what names the class in paths, and its name for people.
struct ClassList {
  std::vector<TextLine> keys;
  std::vector<std::string> names;
};

ClassList read_classes(const fs::path& file) {
  ClassList classes;
  for (const TextLine& line : read_lines(file, "the class list")) {
    if (line.text.empty()) continue;
    const auto tab = line.text.find('\t');
    const std::string key = line.text.substr(0, tab);
    classes.keys.push_back({key.substr(0, key.find_last_not_of(' ') + 1), line.number});
    const auto name = tab == std::string::npos ? tab : line.text.find_first_not_of(" \t", tab + 1);
    classes.names.push_back(name == std::string::npos ? classes.keys.back().text
                                                      : line.text.substr(name));
  }
  refuse_repetitions(classes.keys, file, "the class list");
  if (classes.keys.empty()) throw Error("the class list " + file.string() + " is empty");
  if (classes.keys.front().text.starts_with("{") || classes.keys.front().text.starts_with("[")) {
    throw Error("the class list " + file.string() +
                " is JSON; write one class a line, as `key` or `key<TAB>name`");
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
    std::size_t limit = files_.size();
    if (params_.limit) limit = std::min(limit, static_cast<std::size_t>(*params_.limit));
    if (params_.on_bad_sample == ImageFolderParams::OnBadSample::skip) {
      keep_readable(limit);
    } else {
      std::vector<std::size_t> first(limit);
      std::iota(first.begin(), first.end(), std::size_t{0});
      apply(first);
    }
    info_.size = static_cast<std::int64_t>(files_.size());
    FieldInfo image{"image", at::kFloat, {}, {}, true};
    image.shape = read(0).fields.at("image").sizes().vec();
    image.mean = params_.transform.mean;
    image.std = params_.transform.std;
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

  std::vector<std::string> remarks() const override { return remarks_; }

 private:
  void list_files() {
    FolderListing listing = list_images(folder_);
    remarks_ = std::move(listing.remarks);
    files_ = std::move(listing.images);
    folders_ = std::move(listing.folders);
    if (files_.empty()) {
      std::string found;
      for (const std::string& remark : remarks_) found += "; " + remark;
      throw Error("the folder " + folder_.string() + " holds no image (.jpg, .jpeg, .png)" + found);
    }
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
    std::vector<TextLine> keys;
    if (params_.classes) {
      ClassList classes = read_classes(base / *params_.classes);
      keys = std::move(classes.keys);
      names_ = std::move(classes.names);
    } else {
      for (const std::string& file : files_) index.emplace(class_key(file), 0);
      if (params_.label == ImageFolderParams::Label::folder) {
        for (const std::string& folder : folders_) index.emplace(folder, 0);
      }
      for (const auto& [key, number] : index) {
        keys.push_back({key, 0});
        names_.push_back(key);
      }
    }
    for (std::size_t i = 0; i < keys.size(); ++i)
      index[keys[i].text] = static_cast<std::int64_t>(i);
    std::vector<char> is_used(keys.size(), 0);
    for (const std::string& file : files_) {
      const std::string key = class_key(file);
      const auto found = index.find(key);
      if (found == index.end()) throw not_listed(file, key, keys);
      labels_.push_back(found->second);
      is_used[static_cast<std::size_t>(found->second)] = 1;
    }
    say_unused(keys, is_used);
  }

  Error not_listed(const std::string& file, const std::string& key,
                   const std::vector<TextLine>& keys) const {
    std::string hint;
    for (const TextLine& other : keys) {
      if (!other.text.starts_with(key + " ") && !other.text.starts_with(key + ",")) continue;
      hint = "; line " + std::to_string(other.number) + " of it is \"" + other.text +
             "\": between the folder and the name stands a tab";
      break;
    }
    return Error("the image " + (folder_ / file).string() + " has the class \"" + key +
                 "\", which is not in the class list" + hint);
  }

  /// Classes without an image keep their numbers, as a network that was trained on all of them
  /// needs it.
  void say_unused(const std::vector<TextLine>& keys, const std::vector<char>& is_used) {
    std::vector<std::string> unused;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (is_used[i] == 0) unused.push_back(keys[i].text);
    }
    if (unused.empty()) return;
    remarks_.push_back(std::to_string(unused.size()) + " of " + std::to_string(keys.size()) +
                       (unused.size() == 1 ? " classes has no image and keeps its number ("
                                           : " classes have no image and keep their numbers (") +
                       some_of(unused) + ")");
  }

  /// Keeps these files, in this order.
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

  /// Leaves out the files that can't be read, before anything counts or numbers the samples.
  /// Decodes no more than it takes to find the first `limit` good ones.
  void keep_readable(std::size_t limit) {
    constexpr std::size_t at_once = 256;
    std::vector<std::size_t> good;
    for (std::size_t begin = 0; begin < files_.size() && good.size() < limit;) {
      const std::size_t count = std::min({at_once, limit - good.size(), files_.size() - begin});
      std::vector<std::optional<std::string>> problems(count);
      tbb::parallel_for(std::size_t{0}, count,
                        [&](std::size_t i) { problems[i] = problem_of(begin + i); });
      for (std::size_t i = 0; i < count; ++i) {
        if (problems[i]) {
          info_.skipped.push_back({files_[begin + i], std::move(*problems[i])});
        } else {
          good.push_back(begin + i);
        }
      }
      begin += count;
    }
    if (good.empty())
      throw Error("none of the " + std::to_string(files_.size()) + " images in the folder " +
                  folder_.string() + " can be read; the first: " + info_.skipped[0].why);
    apply(good);
  }

  /// Why a sample can't be read, if it can't.
  std::optional<std::string> problem_of(std::size_t position) const {
    try {
      read(static_cast<std::int64_t>(position));
    } catch (const Error& error) {
      return error.what();
    } catch (const c10::Error& error) {
      return error.what_without_backtrace();
    }
    return std::nullopt;
  }

  ImageFolderParams params_;
  fs::path folder_;
  std::vector<std::string> files_, folders_, remarks_;
  std::vector<std::int64_t> labels_;
  std::vector<std::string> names_;
};

}  // namespace

void ImageFolderParams::describe(StageSpec<ImageFolderParams>& spec) {
  spec.summary("Images below a folder, JPEG or PNG, in the order of their paths.");
  spec.details(
      "Links are read through, and the class is the folder where the link stands. Class folders "
      "without an image keep their class number. Other files, hidden ones and links that lead "
      "nowhere are left out; `microtome check` and the manifest say how many and why. Values are "
      "those that are stored: gamma and colour profiles are ignored, 16 bits are scaled to 8, "
      "alpha "
      "is dropped, and the orientation of EXIF is applied.");
  spec.parameter("path", &ImageFolderParams::path).required().doc("the folder");
  spec.parameter("transform", &ImageFolderParams::transform)
      .doc(
          "channels (3: RGB, 1: grey, as Pillow's convert(\"L\")), resize (short side, or [height, "
          "width]; antialiased), crop (centre), normalize (mean, std)");
  spec.parameter("label", &ImageFolderParams::label)
      .choices({"folder", "name_prefix", "none"})
      .doc(
          "where the class stands: the first folder, the file's name up to the first _, or "
          "nowhere");
  spec.parameter("classes", &ImageFolderParams::classes)
      .doc(
          "file that lists the classes, one a line (`key` or `key<TAB>name`); else they are "
          "counted in the order of their bytes");
  spec.parameter("limit", &ImageFolderParams::limit)
      .range(1, 1e9)
      .doc("at most so many samples, after shuffling; of those that can be read");
  spec.parameter("shuffle", &ImageFolderParams::shuffle)
      .range(0, 9e15)
      .doc("seed of a random order");
  spec.parameter("on_bad_sample", &ImageFolderParams::on_bad_sample)
      .choices({"fail", "skip"})
      .doc(
          "what happens when an image can't be read; skip leaves it out from the start, so that "
          "nothing counts it, and decodes all images once to know; the skipped are in the "
          "manifest");
}

std::shared_ptr<HostDataset> open_image_folder(const std::string& name,
                                               const ImageFolderParams& params,
                                               const fs::path& base) {
  return std::make_shared<ImageFolder>(name, params, base);
}

}  // namespace microtome::host
