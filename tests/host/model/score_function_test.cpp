// The score of a network as a function of the value at a hook point.
#include "microtome/kinds/score_function.h"

#include <gtest/gtest.h>

#include "tests/host/model/scripted.h"

namespace microtome::testing {
namespace {

/// Two convolutions with ReLUs, and the mean of each channel.
std::shared_ptr<host::ProgramModel> rectified() {
  at::manual_seed(6);
  return shared_model(scripted(
      "def forward(self, x):\n  a = torch.relu(self.bn1.forward(self.conv1.forward(x)))\n"
      "  return torch.mean(torch.relu(self.conv2.forward(a)), [2, 3])\n",
      {{"conv1", convolution(3, 6, true)}, {"bn1", norm(6)}, {"conv2", convolution(6, 4, false)}}));
}

struct Scored {
  std::shared_ptr<const host::ProgramModel> model;
  NamedTensors inputs;
  ScoreFunction at(const char* hook) const {
    return {*model, inputs, parse_hook_point(hook), [](const Recording& plain) {
              return TargetScore(parse_target("class(1)"), plain,
                                 Batch{{0, 1, 2}, {"a", "b", "c"}, {}});
            }};
  }
};

TEST(ScoreFunction, GoesOnFromALayerAndTakesSamplesInAnyOrder) {
  const auto model = rectified();
  const Scored scored{model->planned({}, host::PlanSettings{}),
                      named_inputs(*model, {at::randn({3, 3, 6, 6})})};
  const ScoreFunction layer = scored.at("bn1"), whole = scored.at("input");
  const at::Tensor scores = whole.scores(whole.value());
  EXPECT_TRUE(at::allclose(layer.scores(layer.value()), scores, 1e-5, 1e-6));
  const at::Tensor some = at::tensor({2, 0, 2, 1, 1});
  EXPECT_TRUE(at::allclose(layer.scores(layer.value().index_select(0, some), some),
                           scores.index_select(0, some), 1e-5, 1e-6));
}

TEST(ScoreFunction, CleanScoresAreThoseOfItsValue) {
  const auto model = rectified();
  const Scored scored{model->planned({}, host::PlanSettings{}),
                      named_inputs(*model, {at::randn({3, 3, 6, 6})})};
  for (const char* hook : {"input", "bn1"}) {
    const ScoreFunction score = scored.at(hook);
    EXPECT_TRUE(score.clean_scores().equal(score.scores(score.value()))) << hook;
    // A target that is known runs only as far as the hook point at first.
    const ScoreFunction known(*scored.model, scored.inputs, parse_hook_point(hook), score.target());
    EXPECT_TRUE(known.clean_scores().equal(score.clean_scores())) << hook;
  }
  const ScoreFunction unit(*scored.model, scored.inputs, parse_hook_point("input"),
                           [](const Recording& plain) {
                             return TargetScore(parse_target("unit(bn1[c=2,y=1,x=3])"), plain,
                                                Batch{{0, 1, 2}, {"a", "b", "c"}, {}});
                           });
  EXPECT_TRUE(unit.clean_scores().equal(unit.scores(unit.value())));
}

TEST(ScoreFunction, SumsAlongALineWhateverGoesThroughTheModelAtOnce) {
  const auto model = rectified();
  const Scored scored{model->planned({parse_hook_point("bn1")}, host::PlanSettings{}),
                      named_inputs(*model, {at::randn({3, 3, 6, 6})})};
  std::vector<QuadratureNode> nodes;
  for (int i = 0; i <= 10; ++i) nodes.push_back({i / 10.0, i == 4 ? 0.0 : 0.1 * (i + 1)});
  for (const char* hook : {"input", "bn1"}) {
    const ScoreFunction score = scored.at(hook);
    for (const at::Tensor& samples : {at::Tensor(), at::tensor({2, 0}), at::tensor({1})}) {
      const at::Tensor end =
          samples.defined() ? score.value().index_select(0, samples) : score.value();
      const at::Tensor start = end * -0.3 + 0.1;
      at::Tensor expected = at::zeros(end.sizes(), at::kDouble);
      for (const QuadratureNode& node : nodes)
        expected +=
            node.weight * score.gradient(start + node.position * (end - start), samples).values;
      int passes = 0;
      const at::Tensor found =
          score.line_integral(start, end, nodes, samples, [&passes] { ++passes; });
      EXPECT_TRUE(at::allclose(found, expected, 1e-4, 1e-5)) << hook;
      // Ten nodes count; eight rows or so go through the model at once.
      const std::int64_t at_once = 8 / end.size(0);
      EXPECT_EQ(passes, (10 + at_once - 1) / at_once) << hook;
    }
  }
}

TEST(ScoreFunction, OfADecidedTargetIsTheSame) {
  const auto model = rectified();
  const Scored scored{model, named_inputs(*model, {at::randn({3, 3, 6, 6})})};
  const ScoreFunction decides = scored.at("bn1");
  const ScoreFunction decided(*model, scored.inputs, parse_hook_point("bn1"), decides.target());
  EXPECT_TRUE(decided.value().equal(decides.value()));
  EXPECT_TRUE(decided.scores(decided.value()).equal(decides.scores(decides.value())));
}

TEST(ScoreFunction, RulesAtALayerActOnTheOperatorsThatWereGiven) {
  const auto model = rectified();
  const NamedTensors inputs = named_inputs(*model, {at::randn({3, 3, 6, 6})});
  BackwardRules doubling;
  doubling.on("aten::relu", [](const BackwardCall& call) {
    std::vector<at::Tensor> gradients = call.standard();
    gradients[0] = gradients[0] * 2;
    return gradients;
  });
  const Scored as_given{model, inputs}, by_plan{model->planned({}, host::PlanSettings{}), inputs};
  const ScoreFunction plain = as_given.at("bn1"), planned = by_plan.at("bn1");
  const at::Tensor& value = plain.value();
  const at::Tensor by_rule = planned.gradient(value, {}, doubling).values;
  // Two ReLUs come after the layer.
  EXPECT_TRUE(at::allclose(by_rule, 4 * plain.gradient(value).values, 1e-4, 1e-6));
}

}  // namespace
}  // namespace microtome::testing
