#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "microtome/context.h"
#include "microtome/value.h"

namespace spdlog {
class logger;
}

namespace microtome::host {

/// How much a person wants to read.
struct JournalOptions {
  bool quiet = false;
  bool verbose = false;
  bool json = false;  ///< lines for machines on stderr
};

/// Tells what happens: to the run's `log.jsonl`, and to stderr as a progress line on a terminal, as
/// plain lines when piped, or as JSON. [any number of threads]
class Journal {
 public:
  explicit Journal(JournalOptions options);
  ~Journal();

  /// From here on, events go to this file too.
  void write_to(const std::filesystem::path& file);
  void log(LogLevel level, const std::string& stage, const std::string& message);
  void started(const std::string& stage);
  /// `done` of `total`, in `unit`s such as samples.
  void progress(const std::string& stage, std::int64_t done, std::int64_t total,
                const std::string& unit);
  void finished(const std::string& stage, const std::string& how);
  /// Ends the progress line.
  void close();

 private:
  struct Running {
    std::chrono::steady_clock::time_point since;
    std::int64_t done = 0, total = 0;
    std::string unit;
  };
  void event(LogLevel level, const std::string& name, const std::string& stage,
             const std::string& message);
  void print(const std::string& line);
  void draw();
  void erase();

  JournalOptions options_;
  bool terminal_;
  std::mutex mutex_;
  std::shared_ptr<spdlog::logger> file_;
  std::map<std::string, Running> running_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point last_drawn_;
};

/// `12 s`, `3 min 20 s`, `0.4 s`.
std::string duration_text(double seconds);

}  // namespace microtome::host
