#include "tests/host/pipeline/broken/tables.h"

namespace microtome::testing::broken {

std::vector<BrokenPipeline> substitution() {
  return {
      {"UndefinedVariable",
       acts("{layers: [\"${layer}\"]}"),
       "\"${layer}\" is not defined in vars",
       13,
       21,
       {}},
      {"VariableWithATypo", acts("{layers: [\"${step}\"]}"), "did you mean \"steps\"", 13, 21, {}},
      {"UndefinedEnvironment",
       acts("{layers: [\"${env:MICROTOME_NOT_SET}\"]}"),
       "the environment has no variable MICROTOME_NOT_SET",
       13,
       21,
       {}},
      {"UnclosedVariable", acts("{layers: [\"${steps\"]}"), "is not closed", 13, 21, {}},
      {"CyclicVariables",
       "microtome: 1\nname: \"${a}\"\nvars: {a: \"${b}\", b: \"${a}\"}\nstages: {a: {uses: "
       "evaluate}}\n",
       "refer to each other in a circle",
       3,
       11,
       {}},
      {"SetWithoutValue", acts("{layers: [conv]}"), "expected PATH=VALUE", 1, 1, {"stages"}},
      {"SetOfAnUnknownPath",
       acts("{layers: [conv]}"),
       "the pipeline has no \"stages.act\"; did you mean \"acts\"",
       1,
       1,
       {"stages.act.with.pool=max"}},
      {"SetBelowAScalar", acts("{layers: [conv]}"), "is no map", 1, 1, {"name.x=1"}},
      {"SetOfBadYaml", acts("{layers: [conv]}"), "not YAML", 1, 3, {"vars.steps=\"a"}},
      {"SetOfAnUnknownParameter",
       acts("{layers: [conv]}"),
       "unknown parameter \"pol\"",
       1,
       1,
       {"stages.acts.with.pol=max"}},
  };
}

}  // namespace microtome::testing::broken
