#include "tests/host/pipeline/broken/tables.h"

namespace microtome::testing::broken {

std::vector<BrokenPipeline> datasets() {
  return {
      {"AbsentFolder",
       with_data("  test: {source: image_folder, path: nowhere}\n"),
       "nowhere does not exist",
       6,
       38,
       {}},
      {"BadTransform",
       with_data("  test: {source: image_folder, path: $DATA, transform: {crap: 3}}\n"),
       "unknown key \"crap\" in transform; did you mean \"crop\"",
       6,
       0,
       {}},
      {"CropTooLarge",
       with_data("  test: {source: image_folder, path: $DATA, transform: {crop: 64}}\n"),
       "larger than the image",
       6,
       0,
       {}},
      {"LimitOutOfRange",
       with_data("  test: {source: image_folder, path: $DATA, limit: 0}\n"),
       "limit: 0 is out of range",
       6,
       0,
       {}},
      {"ImageOfAnotherSize",
       with_data("  test: {source: image_folder, path: $DATA, transform: {resize: [4, 4]}}\n"),
       "the model's input is 3 x 8 x 8",
       8,
       0,
       {}},
      {"FromItself",
       with_data("  test: {from: test, split: {train: 0.5}}\n"),
       "is made from itself",
       6,
       3,
       {}},
      {"FromNowhere",
       with_data("  test: {from: tst, split: {train: 0.5}}\n"),
       "there is no dataset \"tst\"",
       6,
       16,
       {}},
      {"TwoWays",
       with_data("  b: {source: image_folder, path: $DATA}\n  test: {from: b, split: {train: 0.5}, "
                 "draw: 3}\n"),
       "one of where, split, draw",
       7,
       3,
       {}},
      {"UnknownClass",
       with_data(
           "  b: {source: image_folder, path: $DATA}\n  test: {from: b, where: {label: purple}}\n"),
       "has no class \"purple\"",
       7,
       34,
       {}},
      {"SplitOfBoth",
       with_data("  b: {source: image_folder, path: $DATA}\n  test: {from: b, split: {train: 0.5, "
                 "test: 0.5}}\n"),
       "a split is one part",
       7,
       0,
       {}},
      {"BothNormalise",
       "microtome: 1\nname: a\nmodels:\n  net: {source: torchscript, path: $MODEL, input: {size: "
       "[3, 8, 8], mean: [0, 0, 0], std: [1, 1, 1]}}\ndatasets:\n  test: {source: image_folder, "
       "path: $DATA, transform: {normalize: {mean: [0, 0, 0], std: [1, 1, 1]}}}\nstages:\n  a: "
       "{uses: evaluate, inputs: {model: net, data: test}}\n",
       "both the model",
       8,
       3,
       {}},
      {"SameNameTwice",
       "microtome: 1\nname: a\nmodels:\n  x: {source: torchscript, path: $MODEL}\nstages:\n  x: "
       "{uses: evaluate}\n",
       "names must differ",
       6,
       3,
       {}},
  };
}

}  // namespace microtome::testing::broken
