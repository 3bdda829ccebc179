#pragma once

#include <string>
#include <vector>

#include "layers.h"
#include "microtome/sdk.h"

namespace train_classifier {

/// A network of layers in a row, then the mean over places and a linear layer, which can be trained
/// and written as TorchScript.
class Network {
 public:
  /// Weights by He et al. 2015, drawn from `generator`.
  Network(const std::vector<Layer>& layers, std::int64_t channels, std::int64_t classes,
          at::Generator generator);

  /// Scores [N, classes] of normalised images. While training batch norm uses, and learns, the
  /// batch's moments.
  at::Tensor forward(const at::Tensor& images, bool training);
  std::vector<at::Tensor> parameters() const;
  /// As it is now; training on does not change what was returned.
  microtome::ScriptModule script(microtome::ModelInput input) const;

 private:
  struct Norm {
    at::Tensor weight, bias, mean, variance;
  };
  struct Block {
    Layer layer;
    std::string name;
    std::vector<at::Tensor> weights;  ///< of convolutions; the third is the shortcut's
    std::vector<Norm> norms;
  };
  static Norm make_norm(std::int64_t channels);
  static at::Tensor normalised(const at::Tensor& x, Norm& norm, bool training);
  static microtome::ScriptModule script(const Block& block);

  std::vector<Block> blocks_;
  at::Tensor head_weight_, head_bias_;
};

}  // namespace train_classifier
