#include "host/run/profile.h"

#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iomanip>

#include "host/run/resources_used.h"
#include "microtome/error.h"
#include "microtome/value.h"

namespace microtome::host {
namespace {

constexpr std::size_t most_events = 1'000'000;
constexpr std::size_t most_recorded = 100'000;  ///< forward operators whose backward is awaited

/// LibTorch's callbacks are plain functions; the profile that lives is the one they tell.
std::atomic<Profile*>& living() {
  static std::atomic<Profile*> profile{nullptr};
  return profile;
}

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

/// A path's layer: its first two parts, so that the table stays short.
std::string short_path(const std::string& module) {
  const auto first = module.find('.');
  const auto second = first == std::string::npos ? first : module.find('.', first + 1);
  return module.substr(0, second);
}

}  // namespace

Profile::Profile() : cpu_start_(process_cpu_seconds()) {
  living() = this;
  callback_ = at::addGlobalCallback(
      at::RecordFunctionCallback(
          [](const at::RecordFunction& function) -> std::unique_ptr<at::ObserverContext> {
            if (Profile* profile = living()) {
              profile->begin_backward(function.name(), function.seqNr(),
                                      function.forwardThreadId());
            }
            return nullptr;
          },
          [](const at::RecordFunction&, at::ObserverContext*) {
            if (Profile* profile = living()) profile->end_span();
          })
          .scopes({at::RecordScope::BACKWARD_FUNCTION}));
}

Profile::~Profile() {
  at::removeCallback(callback_);
  living() = nullptr;
}

Profile::Thread& Profile::here() {
  const auto [found, is_new] = threads_.try_emplace(std::this_thread::get_id());
  if (is_new) {
    found->second.number = static_cast<int>(threads_.size());
    found->second.autograd_thread = at::RecordFunction::currentThreadId();
  }
  return found->second;
}

double Profile::close(Thread& thread, Clock::time_point now) {
  Open& open = thread.open.back();
  const double taken = seconds(now - open.start);
  if (events_.size() < most_events) {
    events_.push_back({open.category, std::move(open.name), std::move(open.module), thread.number,
                       seconds(open.start - start_) * 1e6, taken * 1e6});
  }
  thread.open.pop_back();
  return taken;
}

void Profile::begin(const Node& node) {
  const std::int64_t sequence = static_cast<std::int64_t>(at::sequence_number::peek());
  const std::lock_guard lock(mutex_);
  here().open.push_back(
      {"operator", node.info.operation, node.info.module, Clock::now(), sequence});
}

void Profile::end(const Node& node) {
  const auto now = Clock::now();
  const std::int64_t sequence = static_cast<std::int64_t>(at::sequence_number::peek());
  const std::lock_guard lock(mutex_);
  Thread& thread = here();
  if (thread.open.empty()) return;
  const Open& open = thread.open.back();
  if (sequence > open.first_sequence) {
    thread.recorded[open.first_sequence] = {node.info.operation, node.info.module};
    if (thread.recorded.size() > most_recorded) thread.recorded.erase(thread.recorded.begin());
  }
  const double taken = close(thread, now);
  for (auto* time :
       {&by_operator_[node.info.operation], &by_module_[short_path(node.info.module)]}) {
    ++time->calls;
    time->forward += taken;
  }
}

void Profile::begin_span(const char* category, const std::string& name) {
  const std::lock_guard lock(mutex_);
  here().open.push_back({category, name, {}, Clock::now(), 0});
}

void Profile::begin_backward(const char* name, std::int64_t sequence, std::uint64_t forward) {
  const std::lock_guard lock(mutex_);
  Open open{"backward", name, {}, Clock::now(), 0};
  for (const auto& [id, thread] : threads_) {
    if (thread.autograd_thread != forward || sequence < 0) continue;
    auto found = thread.recorded.upper_bound(sequence);
    if (found == thread.recorded.begin()) break;
    --found;
    open.name = found->second.first;
    open.module = found->second.second;
  }
  here().open.push_back(std::move(open));
}

void Profile::end_span() {
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  Thread& thread = here();
  if (thread.open.empty()) return;
  const Open open = thread.open.back();
  const double taken = close(thread, now);
  if (open.category == std::string_view("backward")) {
    by_operator_[open.name].backward += taken;
    by_module_[short_path(open.module)].backward += taken;
  }
}

void Profile::write(const std::filesystem::path& folder, std::size_t jobs) const {
  const std::lock_guard lock(mutex_);
  {
    std::ofstream trace(folder / "profile.json", std::ios::binary);
    trace << "{\"traceEvents\":[\n";
    for (std::size_t i = 0; i < events_.size(); ++i) {
      const Event& event = events_[i];
      Value line = Value::map();
      line.set("ph", "X");
      line.set("name", event.name);
      line.set("cat", event.category);
      line.set("pid", 1);
      line.set("tid", event.thread);
      line.set("ts", event.start);
      line.set("dur", event.duration);
      if (!event.module.empty()) {
        Value details = Value::map();
        details.set("module", event.module);
        line.set("args", std::move(details));
      }
      trace << to_json(line) << (i + 1 < events_.size() ? ",\n" : "\n");
    }
    trace << "]}\n";
    if (!trace.flush()) throw Error("the profile could not be written; is the disk full?");
  }
  std::ofstream table(folder / "profile.txt", std::ios::binary);
  const double wall = seconds(Clock::now() - start_);
  const double cpu = process_cpu_seconds() - cpu_start_;
  table << std::fixed << std::setprecision(3) << "wall " << wall << " s, processor " << cpu
        << " s, " << std::setprecision(0) << 100 * cpu / (wall * static_cast<double>(jobs))
        << " % of " << jobs << " jobs busy, peak memory " << peak_memory_bytes() / 1048576
        << " MiB\n";
  const auto list = [&](const char* title, const std::map<std::string, Time>& times) {
    std::vector<std::pair<std::string, Time>> sorted(times.begin(), times.end());
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
      return a.second.forward + a.second.backward > b.second.forward + b.second.backward;
    });
    table << '\n'
          << std::left << std::setw(40) << title << std::right << std::setw(10) << "calls"
          << std::setw(12) << "forward s" << std::setw(12) << "backward s" << '\n'
          << std::setprecision(4);
    for (const auto& [name, time] : sorted) {
      table << std::left << std::setw(40) << (name.empty() ? "(none)" : name) << std::right
            << std::setw(10) << time.calls << std::setw(12) << time.forward << std::setw(12)
            << time.backward << '\n';
    }
  };
  list("operator", by_operator_);
  list("module", by_module_);
  if (!table.flush()) throw Error("the profile could not be written; is the disk full?");
}

}  // namespace microtome::host
