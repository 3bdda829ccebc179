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

std::vector<Profile::Recorded>::const_iterator Profile::after(const std::vector<Recorded>& recorded,
                                                              std::int64_t sequence) {
  return std::ranges::upper_bound(recorded, sequence, {}, &Recorded::sequence);
}

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
  Thread& thread = found->second;
  if (is_new) thread.number = static_cast<int>(threads_.size());
  // A thread that ended leaves its id to another, whose operators are numbered from the start.
  if (const auto current = at::RecordFunction::currentThreadId();
      thread.autograd_thread != current) {
    thread.recorded.clear();
    thread.autograd_thread = current;
  }
  return thread;
}

double Profile::close(Thread& thread, Clock::time_point now) {
  const Open& open = thread.open.back();
  const double taken = seconds(now - open.start);
  if (events_.size() < most_events) {
    events_.push_back({open.category, open.name, open.module, thread.number,
                       seconds(open.start - start_) * 1e6, taken * 1e6});
  }
  thread.open.pop_back();
  return taken;
}

void Profile::begin(const Node& node) {
  const std::int64_t sequence = static_cast<std::int64_t>(at::sequence_number::peek());
  const std::lock_guard lock(mutex_);
  here().open.push_back({"operator", interned(node.info.operation), interned(node.info.module),
                         Clock::now(), sequence});
}

void Profile::end(const Node&) {
  const auto now = Clock::now();
  const std::int64_t sequence = static_cast<std::int64_t>(at::sequence_number::peek());
  const std::lock_guard lock(mutex_);
  Thread& thread = here();
  if (thread.open.empty()) return;
  const Open open = thread.open.back();
  if (sequence > open.first_sequence) {
    auto& recorded = thread.recorded;
    if (recorded.size() == most_recorded)
      recorded.erase(recorded.begin(), recorded.begin() + most_recorded / 2);
    const auto place = after(recorded, open.first_sequence);
    recorded.insert(place, {open.first_sequence, open.name, open.module});
  }
  const double taken = close(thread, now);
  for (Time* time : {&by_operator_[open.name], &by_module_[open.module]}) {
    ++time->calls;
    time->forward += taken;
  }
}

void Profile::begin_span(const char* category, const std::string& name) {
  const std::lock_guard lock(mutex_);
  here().open.push_back({category, interned(name), none_, Clock::now(), 0});
}

void Profile::begin_backward(const char* name, std::int64_t sequence, std::uint64_t forward) {
  const std::lock_guard lock(mutex_);
  Open open{"backward", interned(name), none_, Clock::now(), 0};
  for (const auto& [id, thread] : threads_) {
    if (thread.autograd_thread != forward || sequence < 0) continue;
    auto found = after(thread.recorded, sequence);
    if (found == thread.recorded.begin()) break;
    --found;
    open.name = found->name;
    open.module = found->module;
  }
  here().open.push_back(open);
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
    by_module_[open.module].backward += taken;
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
      line.set("name", *event.name);
      line.set("cat", event.category);
      line.set("pid", 1);
      line.set("tid", event.thread);
      line.set("ts", event.start);
      line.set("dur", event.duration);
      if (!event.module->empty()) {
        Value details = Value::map();
        details.set("module", *event.module);
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
  const auto list = [&](const char* title, const std::unordered_map<Name, Time>& times,
                        const auto& shown) {
    std::map<std::string, Time> by_name;
    for (const auto& [name, time] : times) {
      Time& sum = by_name[shown(*name)];
      sum.calls += time.calls;
      sum.forward += time.forward;
      sum.backward += time.backward;
    }
    std::vector<std::pair<std::string, Time>> sorted(by_name.begin(), by_name.end());
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
  list("operator", by_operator_, [](const std::string& name) { return name; });
  list("module", by_module_, short_path);
  if (!table.flush()) throw Error("the profile could not be written; is the disk full?");
}

}  // namespace microtome::host
