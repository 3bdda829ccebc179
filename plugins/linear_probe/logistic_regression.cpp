#include "logistic_regression.h"

#include <torch/optim/lbfgs.h>

namespace linear_probe {

at::Tensor LogisticRegression::predict(const at::Tensor& rows) const {
  return at::addmm(bias, rows, weights.t()).argmax(1);
}

LogisticRegression fit(const at::Tensor& rows, const at::Tensor& classes, std::int64_t class_count,
                       double l2, const LogisticRegression* start) {
  constexpr int most_iterations = 300;
  constexpr double tolerance = 1e-5;  // of the largest entry of the gradient
  at::Tensor weights = start != nullptr ? start->weights.clone()
                                        : at::zeros({class_count, rows.size(1)}, at::kDouble);
  at::Tensor bias = start != nullptr ? start->bias.clone() : at::zeros({class_count}, at::kDouble);
  weights.requires_grad_();
  bias.requires_grad_();
  const at::Tensor wanted = at::one_hot(classes, class_count).to(at::kDouble);
  const auto count = static_cast<double>(rows.size(0));
  torch::optim::LBFGS optimizer({weights, bias}, torch::optim::LBFGSOptions(1.0)
                                                     .max_iter(most_iterations)
                                                     .tolerance_grad(tolerance)
                                                     .tolerance_change(1e-12)
                                                     .history_size(10)
                                                     .line_search_fn("strong_wolfe"));
  // The gradient is written out, as recording it would cost several times the product itself.
  const auto loss = [&]() -> at::Tensor {
    const at::NoGradGuard no_recording;
    const at::Tensor log_probability = at::addmm(bias, rows, weights.t()).log_softmax(1);
    const at::Tensor error = (log_probability.exp() - wanted) / count;
    weights.mutable_grad() = error.t().mm(rows) + l2 * weights;
    bias.mutable_grad() = error.sum(0);
    return -(log_probability * wanted).sum() / count + 0.5 * l2 * weights.square().sum();
  };
  const at::AutoGradMode recording(true);
  optimizer.step(loss);
  loss();
  LogisticRegression result;
  result.converged = weights.grad().abs().max().item<double>() <= 10 * tolerance;
  result.weights = weights.detach();
  result.bias = bias.detach();
  return result;
}

}  // namespace linear_probe
