#include "host/model/torchscript/reason.h"

#include <c10/util/Exception.h>

namespace microtome::host::torchscript {

std::string plain_reason(const std::exception& error) {
  const auto* own = dynamic_cast<const c10::Error*>(&error);
  std::string text = own != nullptr ? own->what_without_backtrace() : error.what();
  // An assertion of LibTorch's own speaks of its sources first.
  if (const auto assertion = text.find("INTERNAL ASSERT FAILED"); assertion != std::string::npos) {
    const std::string plea = "please report a bug to PyTorch.";
    const auto end = text.find(plea, assertion);
    text = end == std::string::npos ? std::string() : text.substr(end + plea.size());
  }
  const auto begin = text.find_first_not_of(" \n\t");
  text = begin == std::string::npos ? std::string() : text.substr(begin);
  for (const char* stop : {"\nException raised from", "\nframe #", "\n"}) {
    if (const auto found = text.find(stop); found != std::string::npos) text.resize(found);
  }
  if (text.empty()) text = "LibTorch can't compute this with these arguments";
  return text;
}

}  // namespace microtome::host::torchscript
