#include "host/support/operator_failure.h"

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
       "an index, such as a token's id, is below 0 or beyond the end of its table"},
      {std::regex(R"(can't allocate memory: you tried to allocate (\d+) bytes)"),
       "it needs $1 bytes of memory, which this machine does not have"},
      {std::regex(R"(size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\))"),
       "its arguments don't fit each other: one has $1 entries where the other has $2"},
      {std::regex(R"(vector::_M_range_check)"), "it takes a part that is not there"},
      {std::regex(
           R"(weight of size \[([\d, ]+)\], expected input\[[\d, ]+\] to have (\d+) channels?, but got (\d+))"),
       "the number of channels must be $2 and is $3"},
      {std::regex(R"(running_mean should contain (\d+) elements not (\d+))"),
       "the number of channels must be $2 and is $1"},
      {std::regex(R"(Input type \((.+?)\) and bias type \((.+?)\) should be the same)"),
       "its input is of $1 and its weight of $2"}};
  for (const auto& [pattern, words] : known) {
    std::smatch match;
    if (std::regex_search(libtorch_text, match, pattern)) return match.format(words);
  }
  return libtorch_text;
}

}  // namespace microtome::host
