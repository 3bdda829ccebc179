#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "microtome/sdk.h"

namespace microtome {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(HookPoints, AreReadAndWrittenBack) {
  for (const char* text :
       {"layer1.0.conv1", "layer1.0.conv1:in", "block:in[1]", "lstm:out[0]", "relu@2", "relu@2:in",
        "layer1.0/add", "layer1.0@3/relu@2", "/relu", "layer2|sae.latents[unit=17]", "layer2[c=3]",
        "layer2[c=3,y=2,x=5]", "block[token=last]", "pattern[head=[0,2]]",
        "layer2[dir=probe.directions[4]]", "input.image"}) {
    EXPECT_EQ(parse_hook_point(text).text(), text);
  }
  const HookPoint hook = parse_hook_point("a.b@2:in[1][c=[1,2],y=last]");
  EXPECT_EQ(hook.site(), "a.b@2:in[1]");
  EXPECT_THAT(hook.selector.axes.at(0).indices, ElementsAre(1, 2));
  EXPECT_THAT(hook.selector.axes.at(1).indices, ElementsAre(-1));
}

TEST(HookPoints, MistakesAreSaidWithTheirPlace) {
  const auto mistake = [](const char* text) {
    try {
      parse_hook_point(text, {4, 10, {}});
    } catch (const Error& error) {
      return std::to_string(error.location().column) + " " + error.what();
    }
    return std::string("accepted");
  };
  EXPECT_THAT(mistake(""), HasSubstr("10 \"\" is no hook point: expected a module's path"));
  EXPECT_THAT(mistake("a@0"), HasSubstr("the call counts from 1"));
  EXPECT_THAT(mistake("a:on"), HasSubstr("12 \"a:on\""));
  EXPECT_THAT(mistake("a[c=]"), HasSubstr("expected a whole number for the axis \"c\""));
  EXPECT_THAT(mistake("a[c=1"), HasSubstr("expected ']'"));
  EXPECT_THAT(mistake("a[c=1,c=2]"), HasSubstr("stands twice"));
  EXPECT_THAT(mistake("a[c=1]x"), HasSubstr("there is more after its end"));
  EXPECT_THAT(mistake("a|sae"), HasSubstr("expected '.'"));
}

TEST(Selectors, SelectAndAssignTheSamePart) {
  const at::Tensor value = at::arange(2 * 3 * 4 * 5, at::kFloat).view({2, 3, 4, 5});
  const Axes map{"c", "y", "x"};
  const auto selector = [](const std::string& text) {
    return parse_hook_point("v" + text).selector;
  };
  EXPECT_TRUE(select(value, selector("[c=1]"), map).equal(value.select(1, 1)));
  EXPECT_TRUE(select(value, selector("[y=2,x=last]"), map).equal(value.select(3, 4).select(2, 2)));
  EXPECT_TRUE(select(value, selector("[unit=[0,59]]"), map)
                  .equal(value.flatten(1).index_select(1, at::tensor({0, 59}))));
  EXPECT_TRUE(select(value.select(3, 0), selector("[token=last]"), {"token", "c"})
                  .equal(value.select(3, 0).select(1, 2)));
  EXPECT_TRUE(select(value.select(3, 0), selector("[c=last]"), {"c", "x"})
                  .equal(value.select(3, 0).select(1, 2)));
  for (const char* text : {"[c=1]", "[c=[0,2],y=1]", "[unit=[5,7]]", "[x=last]"}) {
    const Selector part = selector(text);
    const at::Tensor changed = assign(value, part, map, select(value, part, map) + 1000);
    EXPECT_TRUE(select(changed, part, map).equal(select(value, part, map) + 1000)) << text;
    EXPECT_EQ((changed != value).sum().item<std::int64_t>(), select(value, part, map).numel())
        << text;
    EXPECT_TRUE(assign(value, part, map, select(value, part, map)).equal(value)) << text;
  }
  const at::Tensor direction = at::tensor({1.0F, 0.0F, -1.0F});
  EXPECT_TRUE(select(value, selector("[dir=a.b[0]]"), map, direction)
                  .equal(value.select(1, 0) - value.select(1, 2)));
  EXPECT_THROW(select(value, selector("[c=3]"), map), Error);
  EXPECT_THROW(select(value, selector("[c=-4]"), map), Error);
  EXPECT_THROW(select(value, selector("[c=1]"), {}), Error);
  EXPECT_THROW(select(value, selector("[token=1]"), map), Error);
}

TEST(Selectors, GradientsPassThroughAnAssignment) {
  const at::Tensor value = at::rand({2, 3}).requires_grad_(), part = at::rand({2}).requires_grad_();
  assign(value, parse_hook_point("v[unit=1]").selector, {"c"}, part).sum().backward();
  EXPECT_TRUE(part.grad().equal(at::ones({2})));
  EXPECT_TRUE(value.grad().equal(at::tensor({1.0F, 0.0F, 1.0F}).expand({2, 3})));
}

TEST(Targets, AreRead) {
  EXPECT_EQ(parse_target("predicted").what, Target::What::predicted);
  EXPECT_EQ(parse_target(" class( 3 ) ").first.index, 3);
  EXPECT_EQ(parse_target("class(answer)").first.field, "answer");
  EXPECT_EQ(parse_target("contrast(1, other)").second.field, "other");
  EXPECT_EQ(parse_target("unit(layer2[c=3,y=2,x=5])").hook->text(), "layer2[c=3,y=2,x=5]");
  EXPECT_EQ(parse_target("direction(layer2, probe.directions[2])").direction->row, 2);
  EXPECT_EQ(parse_target("kl(reference)").reference, "reference");
  const Target target = read_target(from_json(
      R"j({"of": "class(1)", "on": "log_prob", "output": "logits", "position": "last"})j"));
  EXPECT_EQ(target.on, Target::On::log_prob);
  EXPECT_EQ(*target.position, -1);
  for (const char* text : {"", "clas(3)", "class", "class(-1)", "class(1, 2)", "contrast(1)",
                           "predicted(1)", "unit()", "class(1"})
    EXPECT_THROW(parse_target(text), Error) << text;
}

TEST(Targets, ScoresOfEachKind) {
  const at::Tensor logits = at::randn({3, 4});
  Recording recording;
  recording.outputs.set("output", logits);
  Batch batch;
  batch.ids = {"a", "b", "c"};
  batch.fields.set("label", at::tensor({3, 0, 1}, at::kLong));
  const auto score = [&](const std::string& text, Target::On on = Target::On::logit) {
    Target target = parse_target(text);
    target.on = on;
    return TargetScore(target, recording, batch, {}, at::zeros({3, 4})).score(recording);
  };
  const at::Tensor label = batch.fields.at("label").unsqueeze(1);
  EXPECT_TRUE(score("predicted").equal(logits.amax(1)));
  EXPECT_TRUE(score("label").equal(logits.gather(1, label).squeeze(1)));
  EXPECT_TRUE(score("class(2)", Target::On::prob).equal(logits.softmax(1).select(1, 2)));
  EXPECT_TRUE(
      score("contrast(label, 1)").equal(logits.gather(1, label).squeeze(1) - logits.select(1, 1)));
  EXPECT_TRUE(score("loss").equal(-logits.log_softmax(1).gather(1, label).squeeze(1)));
  EXPECT_TRUE(
      at::allclose(score("kl(r)"), (-logits.log_softmax(1) - std::log(4.0)).mean(1), 1e-5, 1e-6));
  EXPECT_THROW(score("class(4)"), Error);
}

TEST(Metrics, WilsonIntervals) {
  // Values of the closed form at z = 1.959964.
  const Interval half = wilson_interval(50, 100);
  EXPECT_NEAR(half.low, 0.403832, 1e-6);
  EXPECT_NEAR(half.high, 0.596168, 1e-6);
  EXPECT_EQ(wilson_interval(0, 10).low, 0);
  EXPECT_NEAR(wilson_interval(0, 10).high, 0.277533, 1e-6);
  EXPECT_EQ(wilson_interval(10, 10).high, 1);
}

TEST(Values, JsonKeepsEveryBit) {
  Value value;
  value.set("third", 1.0 / 3);
  value.set("big", std::int64_t{9'007'199'254'740'993});
  value.set("text", "\"\\\n\xC3\xA9<script>");
  EXPECT_TRUE(from_json(to_json(value)) == value);
  EXPECT_EQ(to_json(Value(std::nan(""))), "\"NaN\"");
  EXPECT_THROW(from_json("{\"a\": }"), Error);
}

}  // namespace
}  // namespace microtome
