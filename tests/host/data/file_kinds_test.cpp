// Files that are something else than what their place asks for: said, with what to do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/data/image_decoder.h"
#include "host/model/torchscript/loader.h"
#include "host/store/npy.h"
#include "host/store/safetensors.h"
#include "host/support/file_kind.h"
#include "host/support/file_name.h"
#include "tests/support/small_world.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string lfs_pointer =
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";

std::string little(std::uint64_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i) bytes += static_cast<char>(value >> (8 * i) & 255U);
  return bytes;
}

/// An archive of stored files; the checksums are left at 0, as nothing here checks them.
std::string zip_of(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string archive, directory;
  for (const auto& [name, content] : files) {
    const std::string sizes = little(0, 4) + little(content.size(), 4) + little(content.size(), 4) +
                              little(name.size(), 2);
    directory += "PK\x01\x02" + little(20, 2) + little(20, 2) + little(0, 8) + sizes +
                 little(0, 12) + little(archive.size(), 4) + name;
    archive += "PK\x03\x04" + little(20, 2) + little(0, 8) + sizes + little(0, 2) + name + content;
  }
  const std::string count = little(files.size(), 2);
  return archive + directory + "PK\x05\x06" + little(0, 4) + count + count +
         little(directory.size(), 4) + little(archive.size(), 4) + little(0, 2);
}

template <class Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

class FileKinds : public ::testing::Test {
 protected:
  std::string model(const std::string& content) const {
    const fs::path file = folder_.write("net.pt", content);
    return refusal([&] { host::torchscript::load(file); });
  }
  TemporaryFolder folder_;
};

TEST_F(FileKinds, AModelFileThatIsSomethingElse) {
  const std::string weights =
      "\x80\x02"
      "ccollections\nOrderedDict\nctorch._utils\n_rebuild_tensor_v2\n";
  const std::string network =
      "\x80\x02"
      "ctorch.nn.modules.linear\nLinear\n";
  EXPECT_THAT(model(zip_of({{"net/data.pkl", weights}, {"net/version", "3\n"}})),
              AllOf(HasSubstr("can't be read as TorchScript"), HasSubstr("weights"),
                    HasSubstr("load_state_dict"), HasSubstr("torch.jit.trace")));
  EXPECT_THAT(model(zip_of({{"net/data.pkl", network}, {"net/version", "3\n"}})),
              AllOf(HasSubstr("whole network pickled"), HasSubstr("torch.jit.trace")));
  EXPECT_THAT(model(weights), HasSubstr("weights"));
  EXPECT_THAT(model(network), HasSubstr("whole network pickled"));
  EXPECT_THAT(model(zip_of({{"a/models/model.json", "{}"}, {"a/archive_format", "pt2"}})),
              AllOf(HasSubstr("torch.export"), HasSubstr(".module()")));
  EXPECT_THAT(model(zip_of({{"weight.npy", "?"}})), HasSubstr(".npz"));
  EXPECT_THAT(model(zip_of({{"readme", "?"}})), HasSubstr("without TorchScript's code"));
  EXPECT_THAT(model(zip_of({{"net/data.pkl", weights}}).substr(0, 60)), HasSubstr("cut off"));
  EXPECT_THAT(model(little(16, 8) + "{\"a\": {}}      "), HasSubstr("safetensors"));
  EXPECT_THAT(model("\x08\x08\x12\x07pytorch"), HasSubstr("ONNX"));
  EXPECT_THAT(model("\x89HDF\r\n\x1a\n...."), HasSubstr("HDF5"));
  EXPECT_THAT(model("GGUF" + little(3, 8)), HasSubstr("GGUF"));
  EXPECT_THAT(model(lfs_pointer), AllOf(HasSubstr("Git LFS pointer"), HasSubstr("git lfs pull")));
  EXPECT_THAT(model("/annex/objects/SHA256E-s1--2\n"), HasSubstr("git annex get"));
  EXPECT_THAT(model("<!DOCTYPE html><html>Sign in</html>"), HasSubstr("a web page"));
  EXPECT_THAT(model("{\"architectures\": []}"), HasSubstr("JSON"));
  EXPECT_THAT(model(""), HasSubstr("it is empty"));
  EXPECT_THAT(model("\x1F\x8B\x08"), AllOf(HasSubstr("gzip"), HasSubstr("unpack it")));
}

TEST_F(FileKinds, AFolderInPlaceOfAModel) {
  folder_.write("bert/config.json", "{}");
  EXPECT_THAT(refusal([&] { host::torchscript::load(folder_.path() / "bert"); }),
              AllOf(HasSubstr("Hugging Face"), HasSubstr("torch.jit.trace")));
  EXPECT_THAT(refusal([&] { host::torchscript::load(folder_.path()); }),
              HasSubstr("it is a folder"));
  EXPECT_THAT(refusal([&] { host::torchscript::load(folder_.path() / "absent.pt"); }),
              HasSubstr("absent.pt does not exist"));
  fs::create_symlink(".git/annex/objects/x/SHA256E-s1--2", folder_.path() / "annexed.pt");
  EXPECT_THAT(refusal([&] { host::torchscript::load(folder_.path() / "annexed.pt"); }),
              HasSubstr("git annex get"));
}

TEST_F(FileKinds, ATorchScriptFileIsNotRefusedAndNoRawTextIsShown) {
  const SmallWorld world(1);
  EXPECT_NO_THROW(host::torchscript::load(world.model()));
  const std::string whole = read_file(world.model());
  for (const double share : {0.3, 0.9}) {
    const auto size = static_cast<std::size_t>(share * static_cast<double>(whole.size()));
    EXPECT_THAT(model(whole.substr(0, size)),
                AllOf(HasSubstr("cut off"), Not(HasSubstr("PytorchStreamReader"))));
  }
}

TEST_F(FileKinds, ImagesAndTensors) {
  const auto image = [&](const std::string& content) {
    const fs::path file = folder_.write("x.jpg", content);
    return refusal([&] { host::decode_image(file); });
  };
  EXPECT_THAT(image(lfs_pointer), AllOf(HasSubstr("x.jpg"), HasSubstr("git lfs pull")));
  EXPECT_THAT(image("RIFF....WEBPVP8 "), HasSubstr("it is a WebP image; convert it"));
  EXPECT_THAT(image("<html>"), HasSubstr("a web page"));
  const auto tensors = [&](const std::string& content) {
    const fs::path file = folder_.write("x.safetensors", content);
    return refusal([&] { host::read_tensor_list(file); });
  };
  EXPECT_THAT(tensors(lfs_pointer), HasSubstr("git lfs pull"));
  EXPECT_THAT(tensors("\x93NUMPY\x01"), HasSubstr("a NumPy array"));
  const auto array = [&](const std::string& content) {
    const fs::path file = folder_.write("x.npy", content);
    return refusal([&] { host::read_npy(file); });
  };
  EXPECT_THAT(array(lfs_pointer), HasSubstr("git lfs pull"));
  EXPECT_THAT(array(zip_of({{"a.npy", "?"}})), HasSubstr("store each with numpy.save"));
  EXPECT_THAT(array(zip_of({{"a/data.pkl", "?"}})), HasSubstr("a file that PyTorch saved"));
  EXPECT_THAT(array(zip_of({{"a.txt", "?"}})), HasSubstr("a zip archive"));
}

TEST_F(FileKinds, SafetensorsWhoseLengthLooksLikeASignatureAreRead) {
  // A header of 0x4D42 bytes begins with "BM", as BMP images do.
  std::string header = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
  header.resize(0x4D42, ' ');
  const fs::path file = folder_.write("x.safetensors", little(0x4D42, 8) + header + "\x05\x06");
  const auto list = host::read_tensor_list(file);
  ASSERT_EQ(list.size(), 1U);
  EXPECT_TRUE(host::read_tensor(file, list[0]).equal(at::tensor({5, 6}).to(at::kByte)));
}

TEST(FileNames, AreSafeAndShortAndDiffer) {
  EXPECT_EQ(host::safe_file_name("layer1.0-a_b"), "layer1.0-a_b");
  EXPECT_EQ(host::safe_file_name("m.'a b'[c=1]"), "m.%27a%20b%27%5bc%3d1%5d");
  EXPECT_EQ(host::safe_file_name("\xC3\xBC/..\n"), "%c3%bc%2f..%0a");
  EXPECT_EQ(host::safe_file_name("a=b,c", "=,"), "a=b,c");
  const std::string one(5000, 'x'), other = one + "y";
  EXPECT_EQ(host::safe_file_name(one).size(), 200U);
  EXPECT_NE(host::safe_file_name(one), host::safe_file_name(other));
}

}  // namespace
}  // namespace microtome::testing
