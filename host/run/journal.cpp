#include "host/run/journal.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <iostream>

namespace microtome::host {
namespace {

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "";
}

std::string now_text() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + length, sizeof text - length, ".%03dZ", static_cast<int>(milliseconds));
  return text;
}

}  // namespace

std::string duration_text(double seconds) {
  char text[48];
  if (seconds < 9.95) {
    std::snprintf(text, sizeof text, "%.1f s", seconds);
  } else if (seconds < 120) {
    std::snprintf(text, sizeof text, "%.0f s", seconds);
  } else {
    std::snprintf(text, sizeof text, "%d min %d s", static_cast<int>(seconds) / 60,
                  static_cast<int>(seconds) % 60);
  }
  return text;
}

Journal::Journal(JournalOptions options)
    : options_(options), terminal_(isatty(STDERR_FILENO) != 0 && !options.json) {}
Journal::~Journal() { close(); }

void Journal::write_to(const std::filesystem::path& file) {
  const std::lock_guard lock(mutex_);
  file_ = std::make_shared<spdlog::logger>(
      "run", std::make_shared<spdlog::sinks::basic_file_sink_mt>(file.string()));
  file_->set_pattern("%v");
  file_->set_level(spdlog::level::trace);
  file_->flush_on(spdlog::level::trace);
}

void Journal::event(LogLevel level, const std::string& name, const std::string& stage,
                    const std::string& message) {
  Value line = Value::map();
  line.set("time", now_text());
  line.set("level", name_of(level));
  line.set("event", name);
  if (!stage.empty()) line.set("stage", stage);
  if (!message.empty()) line.set("message", message);
  const std::string text = to_json(line);
  if (file_) file_->info(text);
  if (options_.json) std::cerr << text << '\n';
}

void Journal::log(LogLevel level, const std::string& stage, const std::string& message) {
  const std::lock_guard lock(mutex_);
  event(level, "log", stage, message);
  const bool shown = level == LogLevel::error ||
                     (!options_.quiet && (level == LogLevel::warning || (level == LogLevel::info) ||
                                          options_.verbose));
  if (!shown || (level == LogLevel::debug && !options_.verbose)) return;
  print((level >= LogLevel::warning ? std::string(name_of(level)) + ": " : "") +
        (stage.empty() ? "" : stage + ": ") + message);
}

void Journal::started(const std::string& stage) {
  const std::lock_guard lock(mutex_);
  if (running_.empty()) last_drawn_ = std::chrono::steady_clock::now();
  running_[stage] = {std::chrono::steady_clock::now(), 0, 0, ""};
  event(LogLevel::info, "started", stage, "");
  if (!terminal_ && !options_.quiet) print(stage + ": started");
  draw();
}

void Journal::progress(const std::string& stage, std::int64_t done, std::int64_t total,
                       const std::string& unit) {
  const std::lock_guard lock(mutex_);
  Running& running = running_[stage];
  running.done = done;
  running.total = total;
  running.unit = unit;
  const auto now = std::chrono::steady_clock::now();
  if (now - last_drawn_ < std::chrono::milliseconds(terminal_ ? 100 : 10'000)) return;
  last_drawn_ = now;
  if (terminal_) {
    draw();
  } else if (!options_.quiet && total > 0) {
    print(stage + ": " + std::to_string(done) + " of " + std::to_string(total) + " " + unit);
  }
}

void Journal::finished(const std::string& stage, const std::string& how) {
  const std::lock_guard lock(mutex_);
  running_.erase(stage);
  event(LogLevel::info, "finished", stage, how);
  if (!options_.quiet) print(stage + ": " + how);
  draw();
}

void Journal::close() {
  const std::lock_guard lock(mutex_);
  erase();
}

void Journal::print(const std::string& line) {
  if (options_.json) return;
  erase();
  std::cerr << line << '\n';
}

void Journal::erase() {
  if (drawn_) std::cerr << "\r\033[K" << std::flush;
  drawn_ = false;
}

void Journal::draw() {
  if (!terminal_ || options_.quiet || running_.empty()) return;
  std::string line;
  for (const auto& [stage, running] : running_) {
    line += line.empty() ? "" : "  |  ";
    line += stage;
    if (running.total <= 0) continue;
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - running.since).count();
    const double rate = static_cast<double>(running.done) / std::max(seconds, 1e-3);
    const int filled = static_cast<int>(12 * running.done / running.total);
    char text[160];
    std::snprintf(text, sizeof text, " [%s%s] %lld/%lld %s, %.0f/s",
                  std::string(static_cast<std::size_t>(filled), '#').c_str(),
                  std::string(static_cast<std::size_t>(12 - filled), '.').c_str(),
                  static_cast<long long>(running.done), static_cast<long long>(running.total),
                  running.unit.c_str(), rate);
    line += text;
    if (running.done > 0)
      line +=
          ", " + duration_text(static_cast<double>(running.total - running.done) / rate) + " left";
  }
  std::cerr << "\r\033[K" << line.substr(0, 200) << std::flush;
  drawn_ = true;
}

}  // namespace microtome::host
