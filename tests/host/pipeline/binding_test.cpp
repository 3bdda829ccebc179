// Which field feeds which input, and in what type.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/pipeline/checker.h"
#include "tests/host/model/scripted.h"
#include "tests/support/array_files.h"
#include "tests/support/program.h"
#include "tests/support/safetensors_reader.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

using host::Binding;
using host::PlannedPipeline;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using Pairs = std::vector<std::pair<std::string, std::string>>;

/// A folder with a network and one file of rows for each field, and pipelines over them.
class Bindings : public ::testing::Test {
 protected:
  void network(const std::string& source,
               const std::vector<std::pair<std::string, at::Tensor>>& parameters = {}) {
    scripted("def forward(self, " + source, {}, parameters)
        .save((folder_.path() / "net.pt").string());
  }

  /// Adds a field that is read from a file.
  void field(const std::string& name, const at::Tensor& rows) {
    static const std::map<at::ScalarType, std::string> types = {
        {at::kFloat, "F32"}, {at::kDouble, "F64"}, {at::kHalf, "F16"},  {at::kBFloat16, "BF16"},
        {at::kLong, "I64"},  {at::kInt, "I32"},    {at::kShort, "I16"}, {at::kChar, "I8"},
        {at::kByte, "U8"},   {at::kBool, "BOOL"}};
    std::string shape = "[";
    for (const std::int64_t size : rows.sizes())
      shape += (shape.size() == 1 ? "" : ", ") + std::to_string(size);
    folder_.write(
        name + ".safetensors",
        safetensors_file({{name, types.at(rows.scalar_type()), shape + "]", bytes_of(rows)}}));
    fields_ += (fields_.empty() ? "" : ", ") + name + ": " + name + ".safetensors";
  }

  std::string text(const std::string& model, const std::string& stage,
                   const std::string& data) const {
    return "microtome: 1\nname: b\nmodels:\n  net: {source: torchscript, path: net.pt" + model +
           "}\ndatasets:\n  d: {source: tensors, fields: {" + fields_ + "}" + data +
           "}\nstages:\n  out: {uses: activations, inputs: {model: net, data: d}, with: {layers: "
           "[output]}" +
           stage + "}\n";
  }

  /// Checks a pipeline; `model`, `stage` and `data` are further keys of their declarations.
  PlannedPipeline check(const std::string& model = "", const std::string& stage = "",
                        const std::string& data = "") {
    Problems problems;
    auto pipeline =
        host::read_pipeline_text(text(model, stage, data), folder_.path() / "p.yaml", {}, problems);
    host::Catalog catalog(host::SearchPath{{MICROTOME_PLUGIN_FOLDER}});
    PlannedPipeline planned =
        host::check_pipeline(std::move(pipeline), catalog, at::kCPU, problems);
    problems_.clear();
    for (const Problem& problem : problems.list())
      problems_ += std::to_string(problem.location.line) + ":" +
                   std::to_string(problem.location.column) + ": " + problem.message + "\n";
    return planned;
  }

  Pairs bound(const std::string& model = "", const std::string& stage = "",
              const std::string& data = "") {
    const PlannedPipeline planned = check(model, stage, data);
    EXPECT_THAT(problems_, IsEmpty());
    Pairs pairs;
    for (const Binding& binding : planned.stages[0].bindings.at("model"))
      pairs.emplace_back(binding.input, binding.field);
    return pairs;
  }

  std::string mistakes(const std::string& model = "", const std::string& stage = "",
                       const std::string& data = "") {
    check(model, stage, data);
    return problems_;
  }

  /// The network's output, by the real program.
  at::Tensor output(const std::string& model = "", const std::string& stage = "",
                    const std::string& data = "") {
    const auto file = folder_.write("p.yaml", text(model, stage, data));
    const auto result = run_program({"run", file.string(), "-q", "--fresh"}, folder_.path());
    EXPECT_EQ(result.status, 0) << result.errors;
    if (result.status != 0) return {};
    const auto written = read_safetensors(
        folder_.path() / "runs/b/latest/stages/out/activations/output.safetensors");
    return written.at("output");
  }

  TemporaryFolder folder_;
  std::string fields_, problems_;
};

at::Tensor ids(std::int64_t rows, std::int64_t length) {
  return at::arange(rows * length, at::kLong).remainder(7).view({rows, length});
}

TEST_F(Bindings, EqualNamesGoFirstWhateverTheOrder) {
  network("image, question):\n  return image * 2 + question\n");
  field("question", at::ones({3, 2}));
  field("image", at::zeros({3, 2}));
  EXPECT_EQ(bound(), (Pairs{{"image", "image"}, {"question", "question"}}));
  EXPECT_TRUE(output().equal(at::ones({3, 2})));
}

TEST_F(Bindings, AFieldThatHasAnInputsNameFeedsNoOther) {
  network("first, x):\n  return first * 2 + x\n");
  field("x", at::ones({3, 2}));
  field("y", at::zeros({3, 2}));
  EXPECT_EQ(bound(), (Pairs{{"first", "y"}, {"x", "x"}}));
}

TEST_F(Bindings, WhatRemainsGoesTheOneWayThatTypesAllow) {
  network(
      "tokens_in, pixels_in):\n  return torch.embedding(self.t, tokens_in).sum([1]) + "
      "torch.linear(pixels_in, self.w)\n",
      {{"t", at::randn({7, 3})}, {"w", at::randn({3, 4})}});
  field("rows", at::rand({5, 4}));
  field("ids", ids(5, 6));
  EXPECT_EQ(bound(), (Pairs{{"tokens_in", "ids"}, {"pixels_in", "rows"}}));
}

TEST_F(Bindings, WhatRemainsGoesTheOneWayThatShapesAllow) {
  network("a, b):\n  return torch.linear(a, self.w) + torch.linear(b, self.v)\n",
          {{"w", at::randn({3, 4})}, {"v", at::randn({3, 2})}});
  field("two", at::rand({5, 2}));
  field("four", at::rand({5, 4}));
  EXPECT_EQ(bound(", inputs: {a: {size: [4]}, b: {size: [2]}}"),
            (Pairs{{"a", "four"}, {"b", "two"}}));
  EXPECT_EQ(bound(", inputs: {a: {size: [4]}}"), (Pairs{{"a", "four"}, {"b", "two"}}));
}

TEST_F(Bindings, SeveralWaysAreAMistakeThatListsBothSides) {
  network("a, b):\n  return a * 2 + b\n");
  field("x", at::rand({5, 2}));
  field("y", at::rand({5, 2}));
  EXPECT_THAT(mistakes(), AllOf(HasSubstr("8:3: "), HasSubstr("a (float32), b (float32)"),
                                HasSubstr("x (float32, 2), y (float32, 2)"),
                                HasSubstr("bind: {a: field, b: field}")));
  EXPECT_EQ(bound("", ", bind: {a: y}"), (Pairs{{"a", "y"}, {"b", "x"}}));
  EXPECT_EQ(bound("", ", bind: {a: d.y, b: y}"), (Pairs{{"a", "y"}, {"b", "y"}}));
}

TEST_F(Bindings, OneFieldFeedsOneInput) {
  network("a, b):\n  return a * 2 + b\n");
  field("a", at::rand({5, 2}));
  EXPECT_THAT(mistakes(), AllOf(HasSubstr("input b (float32)"), HasSubstr("bind: {b: field}")));
  EXPECT_EQ(bound("", ", bind: {b: a, a: a}"), (Pairs{{"a", "a"}, {"b", "a"}}));
}

TEST_F(Bindings, LabelsAndMasksGoByNameAlone) {
  network("x):\n  return torch.linear(x, self.w)\n", {{"w", at::randn({3, 4})}});
  field("label", at::zeros({5}, at::kLong));
  field("mask", at::rand({5, 4}));
  field("rows", at::rand({5, 4}));
  EXPECT_EQ(bound(), (Pairs{{"x", "rows"}}));
  network("mask):\n  return torch.linear(mask, self.w)\n", {{"w", at::randn({3, 4})}});
  EXPECT_EQ(bound(), (Pairs{{"mask", "mask"}}));
}

TEST_F(Bindings, TargetsBesideTheRowsDoNotMakeItUnclear) {
  network("x):\n  return torch.linear(x, self.w)\n", {{"w", at::randn({3, 4})}});
  field("answer", at::zeros({5}, at::kLong));
  field("price", at::rand({5}));
  field("rows", at::rand({5, 4}));
  EXPECT_EQ(bound(), (Pairs{{"x", "rows"}}));
}

TEST_F(Bindings, ABindOfNoInputOrFieldIsAMistakeInItsPlace) {
  network("x):\n  return x * 2\n");
  field("x", at::rand({5, 2}));
  EXPECT_THAT(mistakes("", ", bind: {y: x}"), HasSubstr("the model has no input \"y\""));
  EXPECT_THAT(mistakes("", ", bind: {x: z}"), HasSubstr("has no field \"z\""));
  EXPECT_THAT(mistakes("", ", bind: {x: 3}"), HasSubstr("bind names a field, found an integer"));
}

TEST_F(Bindings, AnInputThatMayBeLeftOutIs) {
  auto program =
      host::torchscript::Lowering(scripted("def forward(self, x, y):\n  return x * 2 + y\n")).run();
  program.inputs[1].optional = true;
  const host::ProgramModel model("m", std::move(program), {}, at::kCPU);
  const host::Pipeline pipeline;
  Problems problems;
  host::Binder binder(pipeline, problems);
  DatasetInfo data{
      "d", 4, {{"rows", at::kFloat, {2}, {}, false}, {"z", at::kFloat, {2}, {}, false}}, {}};
  EXPECT_TRUE(binder.bind(model, data, Value(), {}).empty());
  EXPECT_EQ(problems.size(), 1U) << "two fields may be meant for x";
  data.fields.pop_back();
  const auto bindings = binder.bind(model, data, Value(), {});
  ASSERT_EQ(bindings.size(), 1U);
  EXPECT_EQ(bindings[0].field, "rows");
  data.fields.push_back({"y", at::kFloat, {2}, {}, false});
  EXPECT_EQ(binder.bind(model, data, Value(), {}).size(), 2U);
}

TEST_F(Bindings, WhatLosesNothingIsConvertedAndSaid) {
  const at::Tensor weight = at::randn({3, 4});
  network("x):\n  return torch.linear(x, self.w)\n", {{"w", weight}});
  const at::Tensor rows = at::randn({5, 4});
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    fields_.clear();
    const at::Tensor stored = rows.to(type);
    field("x", stored);
    EXPECT_TRUE(output().allclose(at::linear(stored.to(at::kFloat), weight), 1e-5, 1e-5));
    EXPECT_TRUE(output(", input: {size: [4]}")
                    .allclose(at::linear(stored.to(at::kFloat), weight), 1e-5, 1e-5));
    const auto said = run_program({"check", (folder_.path() / "p.yaml").string()}, folder_.path());
    EXPECT_THAT(said.output,
                HasSubstr(std::string("x <- d.x (") + (type == at::kHalf ? "float16" : "bfloat16") +
                          " as float32, 4)"));
  }
}

TEST_F(Bindings, TokensOfAnyIntegerTypeAreTheSameTokens) {
  const at::Tensor table = at::randn({7, 3});
  network("tokens):\n  return torch.embedding(self.t, tokens).sum([1])\n", {{"t", table}});
  const at::Tensor tokens = ids(5, 6), expected = at::embedding(table, tokens).sum({1});
  for (const at::ScalarType type : {at::kLong, at::kInt, at::kShort, at::kChar, at::kByte}) {
    fields_.clear();
    field("tokens", tokens.to(type));
    for (const std::string model :
         {"", ", input: {size: [6]}", ", input: {size: [6], type: int64}",
          ", input: {size: [\"?\"]}", ", inputs: {tokens: {size: [-1], type: int64}}"})
      EXPECT_TRUE(output(model).allclose(expected, 1e-5, 1e-5)) << c10::toString(type) << model;
  }
}

TEST_F(Bindings, WhatRoundsIsAMistakeAtTheFieldUntilThePipelineSaysSo) {
  const at::Tensor weight = at::randn({3, 4});
  network("x):\n  return torch.linear(x, self.w)\n", {{"w", weight}});
  const at::Tensor rows = at::randn({5, 4}, at::kDouble);
  field("x", rows);
  const auto wrong =
      AllOf(HasSubstr("6:36: the field \"x\" (x.safetensors) of the dataset \"d\" is float64"),
            HasSubstr("input \"x\" of the model \"net\" takes float32"),
            HasSubstr("convert: {x: float32}"));
  EXPECT_THAT(mistakes(), wrong);
  EXPECT_THAT(mistakes(", input: {size: [4]}"), wrong);
  EXPECT_TRUE(output("", "", ", convert: {x: float32}")
                  .allclose(at::linear(rows.to(at::kFloat), weight), 1e-5, 1e-5));
}

TEST_F(Bindings, AMistakeOfTypesIsSaidOnceForDatasetsMadeFromIt) {
  network("x):\n  return torch.linear(x, self.w)\n", {{"w", at::randn({3, 4})}});
  field("x", at::randn({5, 4}, at::kDouble));
  const std::string text = mistakes("",
                                    "}\n  two: {uses: activations, inputs: {model: net, data: "
                                    "part}, with: {layers: [output]}",
                                    "}\n  part: {from: d, draw: 3");
  EXPECT_EQ(text.find("takes float32"), text.rfind("takes float32")) << text;
}

TEST_F(Bindings, IntegersForRealNumbersHaveNoScaleUntilItIsSaid) {
  const at::Tensor weight = at::randn({3, 4});
  network("x):\n  return torch.linear(x, self.w)\n", {{"w", weight}});
  const at::Tensor rows = at::randint(0, 256, {5, 4}, at::kLong);
  for (const at::ScalarType type : {at::kByte, at::kInt, at::kLong}) {
    fields_.clear();
    field("x", rows.to(type));
    EXPECT_THAT(mistakes(), AllOf(HasSubstr("scale"), HasSubstr("convert: {x: float32}")));
    EXPECT_TRUE(output("", "", ", convert: {x: float32}")
                    .allclose(at::linear(rows.to(at::kFloat), weight), 1e-5, 1e-4));
  }
  fields_.clear();
  field("x", rows.to(at::kByte));
  EXPECT_THAT(mistakes(), HasSubstr("convert: {x: pixels}"));
  EXPECT_TRUE(output("", "", ", convert: {x: pixels}")
                  .allclose(at::linear(rows.to(at::kFloat) / 255, weight), 1e-5, 1e-4));
}

TEST_F(Bindings, ANetworkThatScalesIntegersItselfGetsThem) {
  const at::Tensor weight = at::randn({3, 4}), rows = at::randint(0, 256, {5, 4}, at::kByte);
  field("x", rows);
  const at::Tensor expected = at::linear(rows.to(at::kFloat) / 255, weight);
  network("x):\n  return torch.linear(x / 255.0, self.w)\n", {{"w", weight}});
  EXPECT_TRUE(output().allclose(expected, 1e-5, 1e-5));
  network("x):\n  return torch.linear(x.to(dtype=6) / 255.0, self.w)\n", {{"w", weight}});
  EXPECT_TRUE(output().allclose(expected, 1e-5, 1e-5));
}

TEST_F(Bindings, RealNumbersForTokensAreAMistakeUntilTheyAreMadeIntegers) {
  const at::Tensor table = at::randn({7, 3});
  network("tokens):\n  return torch.embedding(self.t, tokens).sum([1])\n", {{"t", table}});
  const at::Tensor tokens = ids(5, 6);
  field("tokens", tokens.to(at::kFloat));
  EXPECT_THAT(mistakes(), AllOf(HasSubstr("is float32"), HasSubstr("takes int64"),
                                HasSubstr("convert: {tokens: int64}")));
  EXPECT_TRUE(output("", "", ", convert: {tokens: int64}")
                  .allclose(at::embedding(table, tokens).sum({1}), 1e-5, 1e-5));
}

TEST_F(Bindings, ANetworkInDoubleGetsSingleRowsAsDouble) {
  const at::Tensor weight = at::randn({3, 4}, at::kDouble);
  network("x):\n  return torch.linear(x, self.w)\n", {{"w", weight}});
  const at::Tensor rows = at::randn({5, 4});
  field("x", rows);
  const at::Tensor got = output(", input: {size: [4]}");
  EXPECT_EQ(got.scalar_type(), at::kDouble);
  EXPECT_TRUE(got.allclose(at::linear(rows.to(at::kDouble), weight), 1e-12, 1e-12));
}

TEST_F(Bindings, ANetworkInHalfPrecisionRunsWhereItCan) {
  const at::Tensor weight = at::randn({3, 4}).to(at::kBFloat16);
  network("x):\n  return torch.linear(x, self.w)\n", {{"w", weight}});
  const at::Tensor rows = at::randn({5, 4});
  field("x", rows);
  const at::Tensor expected = at::linear(rows.to(at::kBFloat16), weight).to(at::kFloat);
  EXPECT_TRUE(output().to(at::kFloat).allclose(expected, 1e-2, 1e-2));
}

TEST_F(Bindings, IdsBeyondTheTableAreNamed) {
  network("tokens):\n  return torch.embedding(self.t, tokens).sum([1])\n",
          {{"t", at::randn({7, 3})}});
  field("tokens", ids(5, 6) + 1);
  EXPECT_THAT(mistakes(), AllOf(HasSubstr("has the id 7"), HasSubstr("ids 0 to 6")));
}

TEST_F(Bindings, RowsThatTheNetworkCantTakeAreSaidBeforeTheRun) {
  network("x):\n  return torch.linear(x, self.w)\n", {{"w", at::randn({3, 4})}});
  field("x", at::randn({5, 6}));
  EXPECT_THAT(mistakes(),
              AllOf(HasSubstr("can't run on samples of the dataset \"d\""),
                    HasSubstr("x (float32, 6)"), HasSubstr("rows of 4"), Not(HasSubstr("mat1"))));
}

TEST_F(Bindings, AModelLearnsItsShapesFromTheData) {
  network("x):\n  return torch.linear(x, self.w)\n", {{"w", at::randn({3, 4})}});
  field("x", at::randn({5, 4}));
  const PlannedPipeline planned = check();
  EXPECT_THAT(problems_, IsEmpty());
  ASSERT_EQ(planned.stages[0].plan.outputs.size(), 1U);
  EXPECT_EQ(planned.stages[0].plan.outputs[0].tensors.at(0).shape,
            std::vector<std::int64_t>({-1, 3}));
}

TEST_F(Bindings, LengthsMayDifferBetweenDatasets) {
  network("x):\n  return x.mean([1]) * 2\n");
  field("x", at::randn({5, 4}));
  const std::string two =
      "}\n  two: {uses: activations, inputs: {model: net, data: e}, with: "
      "{layers: [output]}";
  folder_.write("y.safetensors",
                safetensors_file({{"y", "F32", "[3, 9]", bytes_of(at::randn({3, 9}))}}));
  const std::string other = "}\n  e: {source: tensors, fields: {y: y.safetensors}";
  const PlannedPipeline planned = check(", input: {size: [-1]}", two, other);
  EXPECT_THAT(problems_, IsEmpty());
  EXPECT_THAT(mistakes(", input: {size: [4]}", two, other),
              HasSubstr("the model's input is 4, but \"y\" of the dataset \"e\" is 9"));
}

TEST_F(Bindings, TheMadeSamplesOfALookUpMayNotFitWhereRealOnesDo) {
  // The model's own check refuses what was made for it.
  network(
      "lengths):\n  assert bool(lengths.min() >= 3), \"too short\"\n  return "
      "torch.embedding(self.t, lengths).sum([1])\n",
      {{"t", at::randn({9, 3})}});
  field("lengths", at::full({5, 2}, 4, at::kLong));
  EXPECT_EQ(bound(", input: {size: [2]}"), (Pairs{{"lengths", "lengths"}}));
  fields_.clear();
  field("lengths", at::full({5, 2}, 1, at::kLong));
  EXPECT_THAT(mistakes(", input: {size: [2]}"), HasSubstr("too short"));
}

}  // namespace
}  // namespace microtome::testing
