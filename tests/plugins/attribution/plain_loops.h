#pragma once

#include <torch/csrc/jit/serialization/import.h>

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "microtome/value.h"

/// Path methods by plain loops over a network as `torch::jit` runs it on this machine.
///
/// A ReLU whose input is within rounding of zero, and a tie in max pooling, are decided by the last
/// bit, which the kernels of another processor leave otherwise; one of them moves an attribution by
/// up to 1e-3 of the largest. So values from elsewhere bind to 1e-4 only where such a loop is there
/// as well.
namespace microtome::testing {

/// Nodes and weights on [0, 1].
struct PlainQuadrature {
  std::vector<double> nodes, weights;
};

/// Golub and Welsch 1969: nodes are the eigenvalues of the Jacobi matrix.
inline PlainQuadrature plain_gauss_legendre(int count) {
  at::Tensor jacobi = at::zeros({count, count}, at::kDouble);
  for (int k = 1; k < count; ++k) {
    const double beside = k / std::sqrt(4.0 * k * k - 1);
    jacobi[k][k - 1] = beside;
    jacobi[k - 1][k] = beside;
  }
  const auto [values, vectors] = at::linalg_eigh(jacobi);
  PlainQuadrature result;
  for (int k = 0; k < count; ++k) {
    result.nodes.push_back((values[k].item<double>() + 1) / 2);
    result.weights.push_back(std::pow(vectors[0][k].item<double>(), 2));
  }
  return result;
}

/// A network as two halves around a layer.
struct PlainHalves {
  std::function<at::Tensor(const at::Tensor&)> layer, outputs;
};

/// `layer2` of the residual network, `features.10` of SqueezeNet.
inline PlainHalves plain_halves(const std::string& network, const std::string& path) {
  torch::jit::Module net = torch::jit::load(path);
  net.eval();
  const auto call = [](torch::jit::Module module, const at::Tensor& x) {
    return module.forward({x}).toTensor();
  };
  const auto child = [net](const char* name) { return net.attr(name).toModule(); };
  if (network == "cifar10-resnet20")
    return {[=](const at::Tensor& x) {
              const at::Tensor first = call(child("bn1"), call(child("conv1"), x)).relu();
              return call(child("layer2"), call(child("layer1"), first));
            },
            [=](const at::Tensor& z) {
              return call(child("linear"), call(child("layer3"), z).mean({2, 3}));
            }};
  // Children from `first` to before `last` in a row.
  const auto row = [=](const char* name, int first, int last, at::Tensor x) {
    int place = 0;
    for (const auto& part : child(name).named_children()) {
      if (place >= first && place < last) x = call(part.value, x);
      ++place;
    }
    return x;
  };
  constexpr int all = 1000;
  return {[=](const at::Tensor& x) { return row("features", 0, 11, x); },
          [=](const at::Tensor& z) {
            return row("classifier", 0, all, row("features", 11, all, z)).flatten(1);
          }};
}

/// Layer conductance by its definition, from zeros: the change of the layer's value over each
/// segment times the gradient by it in the segment's middle.
inline at::Tensor plain_conductance(const PlainHalves& net, const at::Tensor& inputs,
                                    const at::Tensor& target, int segments) {
  const auto layer_at = [&](double t) {
    const at::NoGradGuard no_gradients;
    return net.layer(t == 1 ? inputs : inputs * t);
  };
  at::Tensor before = layer_at(0);
  at::Tensor total = at::zeros_like(before, at::kDouble);
  for (int k = 0; k < segments; ++k) {
    const at::Tensor after = layer_at((k + 1.0) / segments);
    at::Tensor middle = layer_at((k + 0.5) / segments).clone().requires_grad_();
    net.outputs(middle).gather(1, target.unsqueeze(1)).sum().backward();
    total += (after - before).to(at::kDouble) * middle.grad();
    before = after;
  }
  return total.to(at::kFloat);
}

/// Integrated gradients of one unit of the layer, from zeros, with 32 Gauss-Legendre nodes.
inline at::Tensor plain_neuron_integrated_gradients(const PlainHalves& net,
                                                    const at::Tensor& inputs, int c, int y, int x) {
  const PlainQuadrature rule = plain_gauss_legendre(32);
  at::Tensor total = at::zeros_like(inputs, at::kDouble);
  for (std::size_t k = 0; k < rule.nodes.size(); ++k) {
    at::Tensor point = (inputs * rule.nodes[k]).requires_grad_();
    net.layer(point).select(1, c).select(1, y).select(1, x).sum().backward();
    total += point.grad().to(at::kDouble) * rule.weights[k];
  }
  return (total * inputs).to(at::kFloat);
}

}  // namespace microtome::testing
