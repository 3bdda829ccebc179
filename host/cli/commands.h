#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/loader/catalog.h"
#include "host/run/cancellation.h"
#include "host/run/journal.h"
#include "microtome/tensor.h"

namespace microtome::host {

/// Exit statuses of the program.
enum class ExitStatus {
  done = 0,
  stage_failed = 1,
  wrong_input = 2,
  plugin_refused = 3,
  interrupted = 130
};

/// What `run` and `check` are told.
struct RunArguments {
  std::string file;
  std::vector<std::string> overrides;
  std::size_t jobs = 0;  ///< 0: one for each core
  std::string device = "cpu";
  std::optional<std::string> only;
  bool fresh = false;
  bool profile = false;
  std::string runs = "runs";
  std::string store;
  JournalOptions journal;
};

struct LayersArguments {
  std::string model;
  std::vector<std::string> inputs;  ///< `x=1x3x32x32`, `tokens=1x3:int64`
  bool verify = false;
  std::string example;  ///< safetensors: `input.0` ..., and `output.0` ... that are to be got
};

ExitStatus run_command(const RunArguments& arguments, Catalog& catalog, Cancellation& cancellation);
ExitStatus check_command(const RunArguments& arguments, Catalog& catalog);
ExitStatus plugins_command(const std::optional<std::string>& name, Catalog& catalog);
ExitStatus layers_command(const LayersArguments& arguments);
/// Writes the report of a run again.
ExitStatus report_command(const std::string& run);
ExitStatus schema_command(Catalog& catalog);
ExitStatus doctor_command(const SearchPath& path, Catalog& catalog);

/// `cpu`, `cuda`, `cuda:1`. Throws `Error` when it is absent.
at::Device parse_device(const std::string& text);
/// Prints `file:line:col: error: message` for each, sorted by place.
void print_problems(const Problems& problems, const std::string& file);

}  // namespace microtome::host
