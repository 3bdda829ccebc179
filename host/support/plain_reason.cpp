#include "host/support/plain_reason.h"

#include <c10/util/Exception.h>

#include <new>

#include "host/support/operator_failure.h"
#include "microtome/error.h"

namespace microtome::host {
namespace {

/// TorchScript's interpreter tells its whole stack; the reason is at the end.
std::string without_interpreter_stack(const std::string& text) {
  if (text.find("failed in the TorchScript interpreter") == std::string::npos) return text;
  const std::string mark = "Error: ";
  const auto found = text.rfind(mark);
  return found == std::string::npos ? text : text.substr(found + mark.size());
}

}  // namespace

std::string plain_reason(const std::exception& error) {
  if (dynamic_cast<const Error*>(&error) != nullptr) return error.what();
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return "it does not fit into memory";
  const auto* own = dynamic_cast<const c10::Error*>(&error);
  std::string text =
      without_interpreter_stack(own != nullptr ? own->what_without_backtrace() : error.what());
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
  if (text.empty()) return "LibTorch can't compute this with these arguments";
  return operator_failure(text);
}

}  // namespace microtome::host
