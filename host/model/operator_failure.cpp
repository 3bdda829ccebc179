#include "host/model/operator_failure.h"

#include <regex>
#include <utility>
#include <vector>

namespace microtome::host {

std::string operator_failure(const std::string& libtorch_text) {
  static const std::vector<std::pair<std::regex, std::string>> known = {
      {std::regex(R"(mat1 and mat2 shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\))"),
       "it takes rows of $3 numbers and got rows of $2"},
      {std::regex(R"(same dtype|and weight type)"),
       "its input and its weight are of different types"},
      {std::regex(R"(expected scalar type (\w+) but found (\w+))"),
       "its arguments are of different types, $1 and $2"},
      {std::regex(R"re("\w+" not implemented for '(\w+)')re"),
       "this LibTorch can't compute it in $1 on this device"},
      {std::regex(R"(index out of range in self)"),
       "an index, such as a token's id, is beyond the end of its table"}};
  if (libtorch_text.find("INTERNAL ASSERT") != std::string::npos)
    return "LibTorch fails in it for a reason that it does not say";
  for (const auto& [pattern, words] : known) {
    std::smatch match;
    if (std::regex_search(libtorch_text, match, pattern)) return match.format(words);
  }
  return libtorch_text;
}

}  // namespace microtome::host
