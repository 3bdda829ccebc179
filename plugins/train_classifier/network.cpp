#include "network.h"

#include <cmath>
#include <map>

namespace train_classifier {

using namespace microtome;

namespace {

constexpr double epsilon = 1e-5, momentum = 0.1;

at::Tensor make_weight(std::int64_t out, std::int64_t in, std::int64_t side,
                       at::Generator& generator) {
  const double deviation = std::sqrt(2.0 / static_cast<double>(in * side * side));
  return at::randn({out, in, side, side}, generator, at::kFloat).mul_(deviation).requires_grad_();
}

at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride) {
  return at::conv2d(x, weight, {}, stride, weight.size(2) / 2);
}

std::string pair_text(std::int64_t number) {
  return "[" + std::to_string(number) + ", " + std::to_string(number) + "]";
}

ScriptModule conv_script(const at::Tensor& weight, std::int64_t stride) {
  return {"Conv2d",
          "def forward(self, x):\n  return torch.conv2d(x, self.weight, None, " +
              pair_text(stride) + ", " + pair_text(weight.size(2) / 2) + ")\n",
          {{"weight", weight}},
          {},
          {},
          {}};
}

ScriptModule relu_script() {
  return {"ReLU", "def forward(self, x):\n  return torch.relu(x)\n", {}, {}, {}, {}};
}

const char* name_of(Layer::Kind kind) {
  switch (kind) {
    case Layer::Kind::conv:
      return "conv";
    case Layer::Kind::batch_norm:
      return "bn";
    case Layer::Kind::relu:
      return "relu";
    case Layer::Kind::residual:
      return "block";
    case Layer::Kind::max_pool:
      return "pool";
  }
  return "";
}

}  // namespace

Network::Norm Network::make_norm(std::int64_t channels) {
  return {at::ones({channels}).requires_grad_(), at::zeros({channels}).requires_grad_(),
          at::zeros({channels}), at::ones({channels})};
}

Network::Network(const std::vector<Layer>& layers, std::int64_t channels, std::int64_t classes,
                 at::Generator generator) {
  std::map<std::string, int> count;
  for (const Layer& layer : layers) {
    const std::string name = name_of(layer.kind);
    Block block{layer, name + std::to_string(++count[name]), {}, {}};
    switch (layer.kind) {
      case Layer::Kind::conv:
        block.weights.push_back(make_weight(layer.channels, channels, layer.kernel, generator));
        channels = layer.channels;
        break;
      case Layer::Kind::batch_norm:
        block.norms.push_back(make_norm(channels));
        break;
      case Layer::Kind::residual: {
        const bool same = channels == layer.channels && layer.stride == 1;
        block.weights.push_back(make_weight(layer.channels, channels, 3, generator));
        block.weights.push_back(make_weight(layer.channels, layer.channels, 3, generator));
        if (!same) block.weights.push_back(make_weight(layer.channels, channels, 1, generator));
        block.norms = {make_norm(layer.channels), make_norm(layer.channels)};
        channels = layer.channels;
        break;
      }
      case Layer::Kind::relu:
      case Layer::Kind::max_pool:
        break;
    }
    blocks_.push_back(std::move(block));
  }
  head_weight_ = make_weight(classes, channels, 1, generator).detach().flatten(1);
  head_weight_.mul_(std::sqrt(0.5)).requires_grad_();
  head_bias_ = at::zeros({classes}).requires_grad_();
}

at::Tensor Network::normalised(const at::Tensor& x, Norm& norm, bool training) {
  return at::batch_norm(x, norm.weight, norm.bias, norm.mean, norm.variance, training, momentum,
                        epsilon, /*cudnn_enabled=*/true);
}

at::Tensor Network::forward(const at::Tensor& images, bool training) {
  at::Tensor x = images;
  for (Block& block : blocks_) {
    switch (block.layer.kind) {
      case Layer::Kind::conv:
        x = convolve(x, block.weights[0], block.layer.stride);
        break;
      case Layer::Kind::batch_norm:
        x = normalised(x, block.norms[0], training);
        break;
      case Layer::Kind::relu:
        x = x.relu();
        break;
      case Layer::Kind::max_pool:
        x = at::max_pool2d(x, block.layer.size);
        break;
      case Layer::Kind::residual: {
        at::Tensor inner = convolve(x, block.weights[0], block.layer.stride);
        inner = normalised(inner, block.norms[0], training).relu();
        inner = normalised(convolve(inner, block.weights[1], 1), block.norms[1], training);
        const at::Tensor shortcut =
            block.weights.size() > 2 ? convolve(x, block.weights[2], block.layer.stride) : x;
        x = (inner + shortcut).relu();
        break;
      }
    }
  }
  return at::linear(x.mean({2, 3}), head_weight_, head_bias_);
}

std::vector<at::Tensor> Network::parameters() const {
  std::vector<at::Tensor> all;
  for (const Block& block : blocks_) {
    all.insert(all.end(), block.weights.begin(), block.weights.end());
    for (const Norm& norm : block.norms) {
      all.push_back(norm.weight);
      all.push_back(norm.bias);
    }
  }
  all.push_back(head_weight_);
  all.push_back(head_bias_);
  return all;
}

ScriptModule Network::script(const Block& block) {
  const auto norm_script = [](const Norm& norm) -> ScriptModule {
    return {"BatchNorm2d",
            "def forward(self, x):\n  return torch.batch_norm(x, self.weight, self.bias, "
            "self.running_mean, self.running_var, False, 0.1, 1e-05, True)\n",
            {{"weight", norm.weight}, {"bias", norm.bias}},
            {{"running_mean", norm.mean}, {"running_var", norm.variance}},
            {},
            {}};
  };
  switch (block.layer.kind) {
    case Layer::Kind::conv:
      return conv_script(block.weights[0], block.layer.stride);
    case Layer::Kind::batch_norm:
      return norm_script(block.norms[0]);
    case Layer::Kind::relu:
      return relu_script();
    case Layer::Kind::max_pool:
      return {"MaxPool2d",
              "def forward(self, x):\n  return torch.max_pool2d(x, " + pair_text(block.layer.size) +
                  ")\n",
              {},
              {},
              {},
              {}};
    case Layer::Kind::residual:
      break;
  }
  ScriptModule module{"Residual", "", {}, {}, {}, {}};
  module.children = {{"conv1", conv_script(block.weights[0], block.layer.stride)},
                     {"bn1", norm_script(block.norms[0])},
                     {"relu1", relu_script()},
                     {"conv2", conv_script(block.weights[1], 1)},
                     {"bn2", norm_script(block.norms[1])},
                     {"relu2", relu_script()}};
  std::string shortcut = "x";
  if (block.weights.size() > 2) {
    module.children.push_back({"shortcut", conv_script(block.weights[2], block.layer.stride)});
    shortcut = "self.shortcut.forward(x)";
  }
  module.forward =
      "def forward(self, x):\n"
      "  inner = self.relu1.forward(self.bn1.forward(self.conv1.forward(x)))\n"
      "  inner = self.bn2.forward(self.conv2.forward(inner))\n"
      "  return self.relu2.forward(inner + " +
      shortcut + ")\n";
  return module;
}

namespace {

/// With tensors of its own, so that training goes on without it.
ScriptModule copied(ScriptModule module) {
  const auto copy = [](NamedTensors& tensors) {
    for (const auto& [name, value] : NamedTensors(tensors))
      tensors.set(name, value.detach().clone());
  };
  copy(module.parameters);
  copy(module.buffers);
  for (ScriptModule::Child& child : module.children) child.module = copied(std::move(child.module));
  return module;
}

}  // namespace

ScriptModule Network::script(ModelInput input) const {
  ScriptModule net{"Network", "def forward(self, x):\n", {}, {}, {}, std::move(input)};
  for (const Block& block : blocks_) {
    net.children.push_back({block.name, script(block)});
    net.forward += "  x = self." + block.name + ".forward(x)\n";
  }
  net.children.push_back(
      {"linear",
       {"Linear",
        "def forward(self, x):\n  return torch.linear(x, self.weight, self.bias)\n",
        {{"weight", head_weight_}, {"bias", head_bias_}},
        {},
        {},
        {}}});
  net.forward += "  return self.linear.forward(torch.mean(x, [2, 3]))\n";
  return copied(std::move(net));
}

}  // namespace train_classifier
