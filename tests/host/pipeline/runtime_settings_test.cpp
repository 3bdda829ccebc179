// What `runtime:` makes of a pipeline's stages.
#include "host/pipeline/runtime_settings.h"

#include <gtest/gtest.h>

namespace microtome::testing {
namespace {

using host::RuntimeSettings;

TEST(RuntimeSettings, AChunkIsAnEighthOfTheDatasetAnd32AtMost) {
  const RuntimeSettings settings;
  EXPECT_EQ(settings.chunk_of(1), 1);
  EXPECT_EQ(settings.chunk_of(8), 1);
  EXPECT_EQ(settings.chunk_of(9), 2);
  EXPECT_EQ(settings.chunk_of(100), 13);
  EXPECT_EQ(settings.chunk_of(256), 32);
  EXPECT_EQ(settings.chunk_of(1'000'000), 32);
  EXPECT_EQ(settings.chunk_of(0), 32) << "no dataset";
  RuntimeSettings said;
  said.chunk = 5;
  EXPECT_EQ(said.chunk_of(100), 5);
  EXPECT_EQ(said.chunk_of(3), 3);
  EXPECT_EQ(said.chunk_of(0), 5);
}

}  // namespace
}  // namespace microtome::testing
