// Operators that PyTorch fuses when gradients are off: values as the fused operator, gradients as
// the parts written out here with plain ATen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "tests/host/model/same_as_original.h"

namespace microtome::testing {
namespace {

using ::testing::Contains;
using torch::jit::Module;

constexpr std::int64_t width = 8, heads = 2;

struct Weights {
  at::Tensor qkv = at::randn({3 * width, width}) * 0.3, qkv_bias = at::randn({3 * width});
  at::Tensor out = at::randn({width, width}) * 0.3, out_bias = at::randn({width});
  at::Tensor norm_1 = at::rand({width}) + 0.5, norm_bias_1 = at::randn({width});
  at::Tensor norm_2 = at::rand({width}) + 0.5, norm_bias_2 = at::randn({width});
  at::Tensor inner = at::randn({16, width}) * 0.3, inner_bias = at::randn({16});
  at::Tensor outer = at::randn({width, 16}) * 0.3, outer_bias = at::randn({width});
};

/// Attention by head, one after the other. `hidden`: true where nothing is attended to, of shape
/// [N, 1, T, T] or smaller.
std::pair<at::Tensor, at::Tensor> attention(const Weights& w, const at::Tensor& query,
                                            const at::Tensor& key, const at::Tensor& hidden) {
  std::vector<at::Tensor> contexts, patterns;
  const std::int64_t size = width / heads;
  for (std::int64_t head = 0; head < heads; ++head) {
    const auto project = [&](const at::Tensor& x, std::int64_t part) {
      const std::int64_t first = part * width + head * size;
      return at::matmul(x, w.qkv.slice(0, first, first + size).t()) +
             w.qkv_bias.slice(0, first, first + size);
    };
    at::Tensor scores = at::matmul(project(query, 0), project(key, 1).transpose(1, 2)) /
                        std::sqrt(static_cast<double>(size));
    if (hidden.defined())
      scores = scores.masked_fill(hidden.squeeze(1), -std::numeric_limits<float>::infinity());
    patterns.push_back(scores.softmax(-1));
    contexts.push_back(at::matmul(patterns.back(), project(key, 2)));
  }
  return {at::matmul(at::cat(contexts, -1), w.out.t()) + w.out_bias, at::stack(patterns, 1)};
}

at::Tensor layer(const Weights& w, const at::Tensor& x, bool gelu, bool norm_first,
                 const at::Tensor& hidden) {
  const auto norm_1 = [&](const at::Tensor& v) {
    return at::layer_norm(v, {width}, w.norm_1, w.norm_bias_1, 1e-5);
  };
  const auto norm_2 = [&](const at::Tensor& v) {
    return at::layer_norm(v, {width}, w.norm_2, w.norm_bias_2, 1e-5);
  };
  const auto feed = [&](const at::Tensor& v) {
    const at::Tensor inside = at::linear(v, w.inner, w.inner_bias);
    return at::linear(gelu ? at::gelu(inside) : inside.relu(), w.outer, w.outer_bias);
  };
  if (norm_first) {
    const at::Tensor first = x + attention(w, norm_1(x), norm_1(x), hidden).first;
    return first + feed(norm_2(first));
  }
  const at::Tensor first = norm_1(x + attention(w, x, x, hidden).first);
  return norm_2(first + feed(first));
}

Module encoder(const Weights& w, bool gelu, bool norm_first, bool masked, int mask_type) {
  const auto part = [](const at::Tensor& weight, const at::Tensor& bias) {
    return scripted("def forward(self, x):\n  return x\n", {},
                    {{"weight", weight}, {"bias", bias}});
  };
  const Module self_attn = [&] {
    Module module("__torch__.Attention" + std::to_string(reinterpret_cast<std::uintptr_t>(&w)) +
                  std::to_string(mask_type) + std::to_string(2 * gelu + norm_first));
    module.register_parameter("in_proj_weight", w.qkv, false);
    module.register_parameter("in_proj_bias", w.qkv_bias, false);
    module.register_module("out_proj", part(w.out, w.out_bias));
    return module;
  }();
  const auto text = [](bool value) { return std::string(value ? "True" : "False"); };
  return scripted(
      std::string("def forward(self, x") + (masked ? ", mask" : "") +
          "):\n  return torch._transformer_encoder_layer_fwd(x, 8, 2, "
          "self.self_attn.in_proj_weight, self.self_attn.in_proj_bias, "
          "self.self_attn.out_proj.weight, self.self_attn.out_proj.bias, " +
          text(gelu) + ", " + text(norm_first) +
          ", 1e-5, self.norm1.weight, self.norm1.bias, self.norm2.weight, self.norm2.bias, "
          "self.linear1.weight, self.linear1.bias, self.linear2.weight, self.linear2.bias" +
          (masked ? ", mask, " + std::to_string(mask_type) : "") + ")\n",
      {{"self_attn", self_attn},
       {"norm1", part(w.norm_1, w.norm_bias_1)},
       {"norm2", part(w.norm_2, w.norm_bias_2)},
       {"linear1", part(w.inner, w.inner_bias)},
       {"linear2", part(w.outer, w.outer_bias)}});
}

/// Of the original without gradients, and of the parts with gradients by `x`.
/// `runs`: whether the fused operator itself can do it on this device.
void expect_parts(const Module& module, const std::vector<at::Tensor>& inputs,
                  const std::function<at::Tensor(const at::Tensor&)>& expected, bool runs = true) {
  const auto model = model_of(module);
  Pass pass;
  pass.differentiate = {parse_hook_point("input." + model.inputs()[0].name)};
  const auto recording = model.run(named_inputs(model, inputs), pass);
  if (runs) {
    const at::NoGradGuard off;
    Module original = module.clone();
    const auto fused =
        flat(original.forward(std::vector<c10::IValue>(inputs.begin(), inputs.end())));
    EXPECT_TRUE(at::allclose(recording.output(), fused[0], 1e-5, 1e-5));
  }
  const at::Tensor leaf = inputs[0].clone().requires_grad_();
  const at::Tensor value = expected(leaf);
  EXPECT_TRUE(at::allclose(recording.output(), value, 1e-5, 1e-5));
  const at::Tensor weight = at::randn(value.sizes());
  const at::Tensor gradient = torch::autograd::grad({(value * weight).sum()}, {leaf})[0];
  EXPECT_TRUE(at::allclose(recording.gradients((recording.output() * weight).sum())[0], gradient,
                           1e-4, 1e-5));
}

TEST(FusedOperators, EncoderLayer) {
  const Weights w;
  const at::Tensor x = at::randn({3, 5, width});
  for (const bool gelu : {false, true}) {
    for (const bool norm_first : {false, true}) {
      expect_parts(encoder(w, gelu, norm_first, false, 0), {x},
                   [&](const at::Tensor& in) { return layer(w, in, gelu, norm_first, {}); });
    }
  }
}

TEST(FusedOperators, EncoderLayerWithMasks) {
  const Weights w;
  const at::Tensor x = at::randn({3, 5, width});
  const at::Tensor later = at::ones({5, 5}).triu(1).to(at::kBool);
  expect_parts(
      encoder(w, false, false, true, 0), {x, later},
      [&](const at::Tensor& in) {
        return layer(w, in, false, false, later.view({1, 1, 5, 5}));
      },
      false);
  at::Tensor padding = at::zeros({3, 5}).to(at::kBool);
  padding.slice(0, 1, 2).slice(1, 3).fill_(true);
  expect_parts(encoder(w, true, true, true, 1), {x, padding}, [&](const at::Tensor& in) {
    return layer(w, in, true, true, padding.view({3, 1, 1, 5}));
  });
}

TEST(FusedOperators, PartsHaveTheNamesOfTheModulesWhoseWeightsTheyUse) {
  const Weights w;
  const auto model = model_of(encoder(w, false, false, false, 0));
  std::vector<std::string> names;
  for (const auto& hook : model.hook_points()) names.push_back(hook.name);
  for (const char* name : {"self_attn:out[0]", "self_attn.out_proj", "linear1", "linear2", "norm1",
                           "norm2", "/softmax", "/relu"})
    EXPECT_THAT(names, Contains(name));
  const at::Tensor x = at::randn({2, 5, width});
  Pass pass;
  pass.capture = {parse_hook_point("self_attn:out[0]"), parse_hook_point("norm1"),
                  parse_hook_point("linear1"), parse_hook_point("/softmax")};
  const auto captured = model.run(named_inputs(model, {x}), pass).captured;
  const auto [attended, pattern] = attention(w, x, x, {});
  const at::Tensor first = at::layer_norm(x + attended, {width}, w.norm_1, w.norm_bias_1, 1e-5);
  EXPECT_TRUE(at::allclose(captured[0], attended, 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(captured[1], first, 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(captured[2], at::linear(first, w.inner, w.inner_bias), 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(captured[3], pattern, 1e-5, 1e-5));
}

TEST(FusedOperators, MultiHeadAttention) {
  const Weights w;
  const auto module = [&](const std::string& rest) {
    return scripted(
        "def forward(self, x):\n  y = torch._native_multi_head_attention(x, x, x, 8, 2, "
        "self.qkv, self.qkv_bias, self.out, self.out_bias, " +
            rest + ")\n  return y\n",
        {}, {{"qkv", w.qkv}, {"qkv_bias", w.qkv_bias}, {"out", w.out}, {"out_bias", w.out_bias}});
  };
  const at::Tensor x = at::randn({3, 5, width});
  const auto model = model_of(module("None, True, False"));
  const auto outputs = model.run(named_inputs(model, {x}), {}).outputs;
  const auto [attended, pattern] = attention(w, x, x, {});
  EXPECT_TRUE(at::allclose(outputs.at("0"), attended, 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(outputs.at("1"), pattern, 1e-5, 1e-5));
  const auto averaged = model_of(module("None, True, True"));
  EXPECT_TRUE(at::allclose(averaged.run(named_inputs(averaged, {x}), {}).outputs.at("1"),
                           pattern.mean(1), 1e-5, 1e-5));
  EXPECT_EQ(model_of(module("None, False, True")).outputs().size(), 1);
}

TEST(FusedOperators, SmallOnes) {
  const at::Tensor left = at::randn({4, 3}), right = at::randn({3, 5}), bias = at::randn({5});
  for (const bool gelu : {false, true}) {
    const Module module = scripted(
        std::string("def forward(self, x):\n  return torch._addmm_activation(self.bias, x, "
                    "self.right, beta=1, alpha=2, use_gelu=") +
            (gelu ? "True" : "False") + ")\n",
        {}, {{"bias", bias}, {"right", right}});
    expect_parts(module, {left}, [&](const at::Tensor& x) {
      const at::Tensor sum = bias + 2 * at::matmul(x, right);
      return gelu ? at::gelu(sum) : sum.relu();
    });
  }
  expect_parts(
      scripted("def forward(self, x):\n  q, k, v = torch._transform_bias_rescale_qkv(x, self.bias, "
               "2)\n  return torch.cat([q, k, v], 1)\n",
               {}, {{"bias", bias.repeat({5}).slice(0, 0, 24)}}),
      {at::randn({2, 4, 24})}, [&](const at::Tensor& x) {
        const at::Tensor parts =
            (x + bias.repeat({5}).slice(0, 0, 24)).view({2, 4, 3, 2, 4}).permute({2, 0, 3, 1, 4});
        return at::cat({parts[0] / 2, parts[1], parts[2]}, 1);
      });
  expect_parts(scripted("def forward(self, x):\n  return torch.channel_shuffle(x, 3)\n"),
               {at::randn({2, 6, 4, 4})}, [](const at::Tensor& x) {
                 return x.index_select(1, at::tensor({0, 2, 4, 1, 3, 5}, at::kLong));
               });
}

TEST(FusedOperators, EmbeddingBagGoesBackToItsWeights) {
  const at::Tensor table = at::randn({7, 3});
  const at::Tensor tokens = at::tensor({1, 2, 3, 4, 0, 2}, at::kLong);
  expect_parts(
      scripted(
          "def forward(self, w):\n  rows = []\n  for i in range(w.size(0)):\n"
          "    rows.append(torch.embedding_bag(self.table, self.tokens, self.offsets, False, 0, "
          "False, w[i], False, 2)[0])\n  return torch.stack(rows)\n",
          {}, {{"table", table}, {"tokens", tokens}, {"offsets", at::tensor({0, 4}, at::kLong)}}),
      {at::rand({2, 6})}, [&](const at::Tensor& w) {
        const auto row = [&](std::int64_t i) {
          return table[tokens[i].item<std::int64_t>()] * w.select(1, i).unsqueeze(1);
        };
        // Token 2 is padding.
        return at::stack({row(0) + row(2) + row(3), row(4)}, 1);
      });
}

}  // namespace
}  // namespace microtome::testing
