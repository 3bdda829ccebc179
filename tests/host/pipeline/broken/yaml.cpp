#include "tests/host/pipeline/broken/tables.h"

namespace microtome::testing::broken {
namespace {

std::string alias_bomb() {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int k = 0; k < 9; ++k) text += ", " + before;
    text += "]\n";
  }
  return text;
}

}  // namespace

std::vector<BrokenPipeline> yaml() {
  return {
      {"DuplicateKey",
       with_stages("  a: {uses: evaluate}\n  a: {uses: evaluate}\n"),
       "the key \"a\" stands here again; it was given first in line 10",
       11,
       3,
       {}},
      {"DuplicateParameter",
       acts("{layers: [conv], layers: [act]}"),
       "the key \"layers\" stands here again",
       13,
       28,
       {}},
      {"MergeKey", "a: &a {x: 1}\nb:\n  <<: *a\n", "merge keys", 3, 3, {}},
      {"KeyIsAList", "? [a, b]\n: c\n", "a key must be text", 1, 3, {}},
      {"Empty", "", "the file is empty", 1, 1, {}},
      {"CommentAlone", "# nothing\n", "the file is empty", 1, 1, {}},
      {"NoMap", "- a\n- b\n", "a pipeline is a map", 1, 1, {}},
      {"TwoDocuments", "microtome: 1\n---\nname: b\n", "more than one document", 1, 1, {}},
      {"Tab",
       "microtome: 1\nname: a\nstages:\n\ta: {}\n",
       "indented with spaces; here is a tab",
       4,
       1,
       {}},
      {"Unclosed", "microtome: 1\nname: [a\n", "not YAML", 3, 1, {}},
      {"BadIndentation", "microtome: 1\n name: a\n", "not YAML", 2, 6, {}},
      {"NotUtf8", "microtome: 1\nname: a\xff\n", "the text is not UTF-8", 2, 8, {}},
      {"OverlongUtf8", "name: \xc0\xaf\n", "the text is not UTF-8", 1, 7, {}},
      {"ZeroByte", std::string("name: a\0b\n", 10), "zero byte", 1, 8, {}},
      {"Tag", "microtome: !!python/object 1\n", "has no meaning here", 1, 12, {}},
      {"AliasBomb", alias_bomb(), "more than 100,000 values", 5, 45, {}},
      {"CyclicAnchor", "a: &a\n  b: *a\n", "inside of what it names", 2, 6, {}},
      {"UndefinedAlias", "a: *b\n", "not YAML", 1, 4, {}},
      {"Deep", std::string(10'000, '[') + std::string(10'000, ']'), "nested deeper", 1, 101, {}},
      {"DeepBlock",
       "a:\n" +
           [] {
             std::string text;
             for (int i = 1; i < 150; ++i)
               text += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
             return text;
           }(),
       "nested deeper",
       101,
       101,
       {}},
      {"HundredMegabytes", std::string(100'000'000, 'a'), "more than 4 MB", 1, 1, {}},
  };
}

}  // namespace microtome::testing::broken
