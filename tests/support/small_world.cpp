#include "tests/support/small_world.h"

#include <png.h>
#include <torch/csrc/jit/api/module.h>

#include <stdexcept>

namespace microtome::testing {

void write_png(const std::filesystem::path& file, const at::Tensor& image) {
  std::filesystem::create_directories(file.parent_path());
  const at::Tensor pixels = image.permute({1, 2, 0}).contiguous();
  png_image about{};
  about.version = PNG_IMAGE_VERSION;
  about.width = static_cast<png_uint_32>(image.size(2));
  about.height = static_cast<png_uint_32>(image.size(1));
  about.format = PNG_FORMAT_RGB;
  if (png_image_write_to_file(&about, file.c_str(), 0, pixels.data_ptr(), 0, nullptr) == 0) {
    throw std::runtime_error(about.message);
  }
}

SmallWorld::SmallWorld(int images_per_class) {
  at::Generator generator = at::detail::createCPUGenerator(5);
  torch::jit::Module conv("__torch__.Conv"), act("__torch__.Act"), head("__torch__.Head"),
      net("__torch__.Net");
  conv.register_parameter("weight", at::randn({4, 3, 3, 3}, generator), false);
  conv.define(
      "def forward(self, x):\n  return torch.conv2d(x, self.weight, None, [1, 1], [1, 1])\n");
  act.define("def forward(self, x):\n  return torch.relu_(x)\n");
  head.register_parameter("weight", at::randn({2, 4}, generator), false);
  head.define("def forward(self, x):\n  return torch.linear(x, self.weight)\n");
  net.register_module("conv", conv);
  net.register_module("act", act);
  net.register_module("head", head);
  net.define(
      "def forward(self, x):\n  return "
      "self.head.forward(self.act.forward(self.conv.forward(x)).mean([2, 3]))\n");
  net.eval();
  net.save(model().string());
  for (int k = 0; k < 2; ++k) {
    for (int i = 0; i < images_per_class; ++i) {
      at::Tensor image = at::randint(0, 80, {3, 8, 8}, generator).to(at::kByte);
      image[k].add_(150);
      write_png(images() / (k == 0 ? "red" : "green") / (std::to_string(1000 + i) + ".png"), image);
    }
  }
}

std::string SmallWorld::pipeline(const std::string& stages, const std::string& more) const {
  return "microtome: 1\nname: small\nseed: 3\n" + more +
         "vars: {}\nmodels:\n  net: {source: torchscript, path: net.pt, input: {size: [3, 8, 8], "
         "mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}}\n"
         "datasets:\n  test: {source: image_folder, path: images}\nstages:\n" +
         stages;
}

std::filesystem::path SmallWorld::write_pipeline(const std::string& stages,
                                                 const std::string& more) const {
  return folder_.write("pipeline.yaml", pipeline(stages, more));
}

}  // namespace microtome::testing
