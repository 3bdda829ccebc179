// What a stage's runs of a model take, as `microtome check` prints it.
#include "host/pipeline/memory.h"

#include <gtest/gtest.h>

#include "tests/host/model/scripted.h"

namespace microtome::testing {
namespace {

using host::ModelMemory;
using host::PlannedStage;
using host::ProgramModel;
using host::RuntimeSettings;

constexpr double mebibyte = 1024 * 1024;

/// Two layers on images of 64 x 64: 64 channels are 1 MiB a sample.
std::shared_ptr<ProgramModel> network() {
  ModelInput input;
  input.size = {3, 64, 64};
  const auto module = scripted(
      "def forward(self, x):\n  return torch.tanh(self.second.forward(torch.tanh(self.first."
      "forward(x)))).mean([2, 3])\n",
      {{"first", convolution(3, 64, false)}, {"second", convolution(64, 64, false)}});
  return std::make_shared<ProgramModel>("m", host::torchscript::Lowering(module).run(), input,
                                        at::kCPU);
}

PlannedStage with_gradients(std::int64_t chunk) {
  PlannedStage stage;
  stage.plan.gradients = true;
  stage.plan.read = Read{.data = "data", .model = "model", .capture = {}, .forward = false};
  stage.chunk = chunk;
  return stage;
}

double bytes_with_gradients(const ProgramModel& model) {
  Pass pass;
  pass.record_gradients = true;
  return *model.bytes_per_sample(pass);
}

TEST(Memory, RowsAreThoseOfAChunkOrAsManyAsTheStageFillsUpTo) {
  const auto model = network();
  const double bytes = bytes_with_gradients(*model);
  EXPECT_GT(bytes, 2 * mebibyte);
  PlannedStage stage = with_gradients(1);
  const auto memory = [&] { return *host::memory_of(stage, "model", *model, {}); };
  EXPECT_EQ(memory().rows, 1);
  EXPECT_DOUBLE_EQ(memory().values, bytes);
  stage.plan.rows_at_least = 8;
  EXPECT_EQ(memory().rows, 8);
  EXPECT_DOUBLE_EQ(memory().values, 8 * bytes);
  stage.chunk = 20;
  EXPECT_EQ(memory().rows, 20);
  stage.plan.rows_per_sample = 2;
  stage.plan.bytes_per_sample = 1000;
  EXPECT_EQ(memory().rows, 40);
  EXPECT_DOUBLE_EQ(memory().values, 40 * bytes + 20 * 1000);
}

TEST(Memory, AStageThatRunsTheModelItselfTakesAChunkThatTheBudgetHolds) {
  const auto model = network();
  RuntimeSettings runtime;
  PlannedStage stage = with_gradients(32);
  const auto chunk = [&] { return host::chunk_within(stage, "model", *model, runtime); };
  EXPECT_EQ(chunk(), 32);
  runtime.memory = 30;
  const auto held = static_cast<std::int64_t>(30 * mebibyte / bytes_with_gradients(*model));
  EXPECT_GT(held, 3);
  EXPECT_LT(held, 32);
  EXPECT_EQ(chunk(), held);
  stage.plan.rows_per_sample = 2;
  EXPECT_EQ(chunk(), held / 2);
  runtime.memory = 1;
  EXPECT_EQ(chunk(), 1) << "less than a sample needs";
}

TEST(Memory, WhatTheHostRunsGoesInParts) {
  const auto model = network();
  RuntimeSettings runtime;
  runtime.memory = 30;
  PlannedStage stage;
  stage.chunk = 100;
  stage.plan.read = Read{.data = "data", .model = "model", .capture = {}, .forward = true};
  EXPECT_EQ(host::chunk_within(stage, "model", *model, runtime), 100);
  const auto memory = [&] { return *host::memory_of(stage, "model", *model, runtime); };
  const ModelMemory plain = memory();
  EXPECT_EQ(plain.rows, host::samples_within(runtime, 100, *model));
  EXPECT_LT(plain.rows, 100);
  EXPECT_LE(plain.values, 30 * mebibyte);
  // What the stage wants to see of the chunk is there together: 1 MiB of each sample.
  stage.plan.read->capture = {parse_hook_point("first")};
  EXPECT_EQ(memory().rows, plain.rows);
  EXPECT_DOUBLE_EQ(memory().values - plain.values, 100 * mebibyte);
}

TEST(Memory, ParametersAndFiltersAreThereOnce) {
  const auto model = network();
  const auto planned = model->planned({}, only(&host::PlanSettings::winograd_gradients));
  const std::int64_t second = 64 * 64 * 9 * 4, first = 64 * 3 * 9 * 4;
  const auto fixed = [&](const ProgramModel& of) {
    return host::memory_of(with_gradients(1), "model", of, {})->fixed;
  };
  EXPECT_NEAR(static_cast<double>(fixed(*model)), static_cast<double>(first + second), 64);
  EXPECT_EQ(planned->plan_report().winograd_filter_bytes, 4 * second);
  EXPECT_EQ(fixed(*planned) - fixed(*model), 4 * second);
}

TEST(Memory, AModelThatDoesNotSayItsInputsSizeIsNotEstimated) {
  const auto model = shared_model(scripted("def forward(self, x):\n  return torch.tanh(x)\n"));
  EXPECT_FALSE(host::memory_of(with_gradients(4), "model", *model, {}));
  EXPECT_EQ(host::chunk_within(with_gradients(4), "model", *model, {}), 4);
}

}  // namespace
}  // namespace microtome::testing
