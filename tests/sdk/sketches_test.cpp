// Sketches of analyses to come: that they can be written, against the SDK's headers alone.
#include <gtest/gtest.h>

#include "microtome/testing/harness.h"

namespace microtome::testing {
namespace {

/// Effect of patching a layer's value from a corrupted sample into its clean pair.
class Patching final : public StreamingStage<int> {
 public:
  struct Params {
    HookPoint layer = parse_hook_point("hidden");
  };
  explicit Patching(Params params) : params_(std::move(params)) {}
  static void describe(StageSpec<Params>& spec) {
    spec.summary("Patches a layer from corrupted to clean samples.");
    spec.input("model", {kind::model});
    spec.input("data", {kind::dataset}).doc("pairs: clean.input and corrupted.input");
    spec.output("effects", kind::metrics);
    spec.parameter("layer", &Params::layer).of("model").doc("what is patched");
  }
  void plan(const PlanInputs& inputs, Plan& plan) const override {
    inputs.resolve("model", params_.layer);
    plan.read = Read{};
    plan.outputs.push_back({"effects", kind::metrics, {{"effect", at::kFloat, {-1}, true}}});
  }
  using StreamingStage<int>::batch;
  void batch(int&, Chunk& chunk, Context& context) const override {
    const Model& model = context.model("model");
    Pass donor;
    donor.capture = {params_.layer};
    const Recording corrupted =
        model.run({{"input", chunk.batch.fields.at("corrupted.input")}}, donor);
    const NamedTensors clean{{"input", chunk.batch.fields.at("clean.input")}};
    Pass patched;
    patched.edits = {{params_.layer, [&](const at::Tensor&) { return corrupted.captured[0]; }}};
    chunk.emit("effects", "effect",
               model.run(clean, patched).output().sum(1) - model.run(clean, {}).output().sum(1));
  }
  using StreamingStage<int>::merge;
  void merge(int&, int&&) const override {}
  using StreamingStage<int>::finish;
  void finish(int&, Context&) const override {}

 private:
  Params params_;
};

std::shared_ptr<StepModel> model() {
  return std::make_shared<StepModel>(
      at::zeros({1, 3}),
      std::vector<StepModel::Step>{{"hidden", [](const at::Tensor& x) { return x.relu(); }},
                                   {"head", [](const at::Tensor& x) { return x * 2; }}});
}

TEST(Sketches, PatchingOnPairsOfSamples) {
  const at::Tensor clean = at::rand({4, 3}), corrupted = at::rand({4, 3});
  const auto stage = make<Patching>("{}");
  Harness harness;
  harness.model("model", model());
  harness.dataset("data",
                  std::make_shared<MemoryDataset>(
                      std::vector<std::string>{"a", "b", "c", "d"},
                      NamedTensors{{"clean.input", clean}, {"corrupted.input", corrupted}}));
  EXPECT_TRUE(at::allclose(harness.run(*stage).at("effects").tensors.at("effect"),
                           2 * (corrupted - clean).sum(1), 1e-5, 1e-5));
  // A causal method on identical inputs gives exactly 0.
  harness.dataset("data", std::make_shared<MemoryDataset>(
                              std::vector<std::string>{"a", "b", "c", "d"},
                              NamedTensors{{"clean.input", clean}, {"corrupted.input", clean}}));
  EXPECT_TRUE(harness.run(*stage).at("effects").tensors.at("effect").equal(at::zeros({4})));
}

/// A dictionary that learns from streamed activations, here by the mean and the first directions,
/// in one pass.
struct Moments {
  at::Tensor sum, product;
  std::int64_t count = 0;
};

class Dictionary final : public StreamingStage<Moments> {
 public:
  struct Params {
    HookPoint layer = parse_hook_point("hidden");
    std::int64_t latents = 2;
  };
  explicit Dictionary(Params params) : params_(std::move(params)) {}
  static void describe(StageSpec<Params>& spec) {
    spec.summary("Learns latents.");
    spec.input("model", {kind::model});
    spec.input("data", {kind::dataset});
    spec.output("latents", kind::dictionary);
    spec.parameter("layer", &Params::layer).of("model").doc("where");
    spec.parameter("latents", &Params::latents).range(1, 1e6).doc("how many");
  }
  void plan(const PlanInputs&, Plan& plan) const override {
    plan.read =
        Read{.data = "data", .model = "model", .capture = {params_.layer}, .forward = false};
    plan.outputs.push_back({"latents", kind::dictionary, {}});
  }
  using StreamingStage<Moments>::batch;
  void batch(Moments& moments, Chunk& chunk, Context&) const override {
    const at::Tensor x = chunk.recording->captured[0].to(at::kDouble);
    moments = {x.sum(0), x.t().mm(x), x.size(0)};
  }
  using StreamingStage<Moments>::merge;
  void merge(Moments& earlier, Moments&& later) const override {
    if (earlier.count == 0) {
      earlier = std::move(later);
    } else {
      earlier = {earlier.sum + later.sum, earlier.product + later.product,
                 earlier.count + later.count};
    }
  }
  using StreamingStage<Moments>::finish;
  void finish(Moments& moments, Context& context) const override {
    const at::Tensor mean = moments.sum / static_cast<double>(moments.count);
    const at::Tensor covariance =
        moments.product / static_cast<double>(moments.count) - mean.outer(mean);
    const at::Tensor vectors =
        std::get<1>(at::linalg_eigh(covariance)).flip({1}).t().slice(0, 0, params_.latents);
    context.output("latents").tensor("encoder", vectors.to(at::kFloat).contiguous());
    context.output("latents").metadata("hook_point", Value(params_.layer.text()));
  }

 private:
  Params params_;
};

TEST(Sketches, ADictionaryLearnsFromStreamedActivations) {
  const at::Tensor x = at::rand({20, 3}) * at::tensor({5.0F, 1.0F, 0.1F});
  std::vector<std::string> ids(20, "x");
  Harness harness;
  harness.model("model", model())
      .dataset("data", std::make_shared<MemoryDataset>(ids, NamedTensors{{"input", x}}))
      .chunk_size(6);
  const auto output = harness.run(*make<Dictionary>("{}")).at("latents");
  EXPECT_EQ(output.tensors.at("encoder").sizes().vec(), (std::vector<std::int64_t>{2, 3}));
  EXPECT_GT(output.tensors.at("encoder")[0][0].abs().item<double>(), 0.9);
  // Its latents are a hook point by name.
  EXPECT_EQ(parse_hook_point("hidden|dictionary.latents[unit=1]").dictionary->output, "latents");
}

/// A metric that re-runs an attribution method that it was given as a parameter.
class Sensitivity final : public StreamingStage<double> {
 public:
  struct Params {
    NestedStage method;
    double radius = 0.02;
  };
  explicit Sensitivity(Params params) : params_(std::move(params)) {}
  static void describe(StageSpec<Params>& spec) {
    spec.summary("How much attributions change with the input.");
    spec.paper("Yeh et al. 2019 (arXiv 1901.09392)");
    spec.input("model", {kind::model});
    spec.input("data", {kind::dataset});
    spec.output("sensitivity", kind::metrics);
    spec.parameter("method", &Params::method).required().doc("an attribution method");
    spec.parameter("radius", &Params::radius).at_least(0).doc("of the ball");
  }
  void plan(const PlanInputs&, Plan& plan) const override {
    plan.read = Read{.data = "data", .model = "model", .capture = {}, .forward = false};
    plan.outputs.push_back({"sensitivity", kind::metrics, {}});
  }
  using StreamingStage<double>::batch;
  void batch(double& largest, Chunk& chunk, Context& context) const override {
    auto* method = static_cast<AttributionMethod*>(
        params_.method.stage->capability(AttributionMethod::capability));
    if (method == nullptr)
      throw Error("method: \"" + params_.method.uses + "\" is no attribution method");
    const at::Tensor plain =
        method->attribute({*chunk.model, chunk.inputs, chunk.batch}, context).values;
    NamedTensors moved{{"input", chunk.inputs.at("input") + params_.radius}};
    const at::Tensor other = method->attribute({*chunk.model, moved, chunk.batch}, context).values;
    largest = (plain - other).norm().item<double>();
  }
  using StreamingStage<double>::merge;
  void merge(double& earlier, double&& later) const override { earlier = std::max(earlier, later); }
  using StreamingStage<double>::finish;
  void finish(double& largest, Context& context) const override {
    Metric metric;
    metric.name = "sensitivity_max";
    metric.value = largest;
    context.output("sensitivity").metric(metric);
  }

 private:
  Params params_;
};

/// Gradient times input: an attribution stage is its mathematics.
class InputTimesGradient final : public AttributionStage {
 public:
  using Params = AttributionParams;
  explicit InputTimesGradient(Params params) : AttributionStage(std::move(params)) {}
  static void describe(StageSpec<Params>& spec) {
    spec.summary("Input times gradient.");
    describe_attribution(spec);
  }
  Attributions attribute(const AttributionInput& input, Context&) const override {
    Pass pass;
    pass.differentiate = {common().at};
    const Recording recording = input.model.run(input.inputs, pass);
    const TargetScore target(common().target, recording, input.batch);
    const at::Tensor score = target.score(recording);
    return {recording.gradients(score)[0] * recording.differentiated[0].detach(),
            score.detach(),
            {},
            {},
            {}};
  }
};

TEST(Sketches, AMetricThatReRunsAMethod) {
  Problems problems;
  ReadContext context{
      problems,
      [&](const std::string&, const Value& with, const Location&) -> std::shared_ptr<Stage> {
        ReadContext inner{problems, {}};
        return StageTypeOf<InputTimesGradient>("input_times_gradient").make(with, inner);
      }};
  const auto stage =
      StageTypeOf<Sensitivity>("sensitivity")
          .make(
              from_json(
                  R"j({"radius": 0.5, "method": {"uses": "input_times_gradient", "with": {"target": "class(0)"}}})j"),
              context);
  ASSERT_NE(stage, nullptr);
  Harness harness;
  harness.model("model", model())
      .dataset("data", std::make_shared<MemoryDataset>(std::vector<std::string>{"a"},
                                                       NamedTensors{{"input", at::ones({1, 3})}}));
  // The attribution is 2 x in the first place: moving by 0.5 moves it by 1.
  EXPECT_NEAR(harness.run(*stage).at("sensitivity").metric("sensitivity_max").value, 1, 1e-6);
}

/// Two inputs: an image and the tokens of a text.
void caption_scores(const Model& model, const Batch& batch, const at::Device& device) {
  NamedTensors inputs{{"image", batch.fields.at("image").to(device)},
                      {"tokens", batch.fields.at("tokens").to(device)}};
  Pass pass;
  pass.capture = {parse_hook_point("text[token=last]"), parse_hook_point("vision[c=3]")};
  pass.differentiate = {parse_hook_point("input.image")};
  const Recording recording = model.run(inputs, pass);
  recording.gradients(recording.output("similarity"));
}

/// The epsilon rule of layer-wise relevance propagation for linear maps: R = x * (w^T (R / (z +
/// eps))). Bach et al. 2015.
BackwardRules relevance_rules(double epsilon) {
  BackwardRules rules;
  const BackwardRule linear = [epsilon](const BackwardCall& call) {
    const at::Tensor x = call.arguments.at(0).toTensor().detach().requires_grad_(true);
    const at::AutoGradMode mode(true);
    std::vector<c10::IValue> arguments = call.arguments;
    arguments[0] = x;
    const at::Tensor z = call.call(arguments)[0];
    const at::Tensor scaled = (call.output_gradients[0] / (z + epsilon * z.sign())).detach();
    (z * scaled).sum().backward();
    std::vector<at::Tensor> result{x.grad() * x.detach()};
    for (std::size_t i = 1; i < call.arguments.size(); ++i) {
      if (call.arguments[i].isTensor() && call.arguments[i].toTensor().defined())
        result.emplace_back();
    }
    return result;
  };
  rules.on("aten::linear", linear).on("aten::_convolution", linear).on("aten::conv2d", linear);
  rules.on(
      "aten::relu",
      [](const BackwardCall& call) { return std::vector<at::Tensor>{call.output_gradients[0]}; },
      [](const GraphNode& node) { return node.module != "head"; });
  return rules;
}

TEST(Sketches, TheOthersCompileAgainstTheHeaders) {
  EXPECT_NE(&caption_scores, nullptr);
  GraphNode node;
  node.operation = "aten::conv2d";
  EXPECT_NE(relevance_rules(1e-6).find(node), nullptr);
  node.operation = "aten::relu";
  node.module = "head";
  EXPECT_EQ(relevance_rules(1e-6).find(node), nullptr);
}

}  // namespace
}  // namespace microtome::testing
