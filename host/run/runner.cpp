#include "host/run/runner.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "host/run/fingerprint.h"
#include "host/run/keys.h"
#include "host/run/resources_used.h"
#include "host/run/run_folder.h"
#include "host/run/scheduler.h"
#include "host/run/shared_passes.h"
#include "host/run/stage_runner.h"
#include "host/store/store.h"
#include "host/support/plain_reason.h"
#include "microtome/version.h"

namespace microtome::host {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// What the manifest says of a stage.
struct StageRecord {
  std::string status = "waiting";
  bool cached = false;
  double wall_seconds = 0, cpu_seconds = 0, peak_bytes = 0;
  std::string error;
  std::optional<std::size_t> pass;  ///< of several stages: the first that it served
  fs::path result;
};

class PipelineRun {
 public:
  PipelineRun(const PlannedPipeline& planned, Catalog& catalog, const RunOptions& options,
              Cancellation& cancellation, Journal& journal)
      : planned_(planned),
        options_(options),
        cancellation_(cancellation),
        journal_(journal),
        store_(options.store),
        folder_(options.runs, planned.pipeline.name),
        slots_(options.jobs),
        profile_(options.profile ? std::make_unique<Profile>() : nullptr),
        environment_{planned,      options.device, options.jobs, slots_,
                     cancellation, journal,        made_models_, profile_.get()},
        records_(planned.stages.size()) {
    journal_.write_to(folder_.path() / "log.jsonl");
    for (const auto& [name, dataset] : planned.resources.datasets) {
      if (!dataset->info().skipped.empty())
        journal_.log(LogLevel::warning, "", skipped_text(dataset->info()));
    }
    store_.sweep();
    ContentIndex index(options.store / "content-index");
    hashes_ = hash_inputs(planned, index);
    index.save();
    fingerprint_ = numerics_fingerprint(planned.pipeline.runtime_said, options.device);
    keys_ = stage_keys(planned, catalog, hashes_, fingerprint_);
    for (const PlannedStage& stage : planned.stages) plugins_.push_back(stage.plugin);
    choose();
    planned.resources.for_each_model([&](ProgramModel& model) { model.set_watch(profile_.get()); });
    for (const auto& [name, dataset] : planned.resources.datasets) {
      for (const std::string& remark : dataset->remarks())
        journal_.log(LogLevel::warning, "dataset " + name, remark);
    }
  }

  ~PipelineRun() {
    planned_.resources.for_each_model([](ProgramModel& model) { model.set_watch(nullptr); });
  }
  PipelineRun(const PipelineRun&) = delete;
  PipelineRun& operator=(const PipelineRun&) = delete;

  RunSummary run(const std::function<void()>& leave) {
    {
      const std::lock_guard lock(mutex_);
      folder_.write_manifest(manifest("running"));
    }
    std::vector<std::vector<std::size_t>> needs;
    for (const std::size_t i : chosen_) {
      std::set<std::size_t> before;
      for (const auto& [port, connection] : planned_.stages[i].connections) {
        for (const std::size_t needed : connection.stages) before.insert(place_of(needed));
      }
      needs.emplace_back(before.begin(), before.end());
    }
    const std::vector<std::size_t> all_groups = pass_groups(planned_);
    std::vector<std::size_t> groups;
    for (const std::size_t i : chosen_) groups.push_back(all_groups[i]);
    LaneExecutor lanes;
    Scheduler scheduler(std::move(needs), std::move(groups), options_.jobs, lanes,
                        [this](const std::vector<std::size_t>& tasks) {
                          std::vector<std::size_t> stages;
                          stages.reserve(tasks.size());
                          for (const std::size_t task : tasks) stages.push_back(chosen_[task]);
                          return run_group(stages);
                        });
    std::vector<TaskState> states;
    {
      const Watcher watcher(*this, scheduler, leave);
      states = scheduler.run();
      lanes.wait();
    }
    for (std::size_t task = 0; task < chosen_.size(); ++task) {
      StageRecord& record = records_[chosen_[task]];
      if (states[task] == TaskState::unreachable) {
        record.status = "not run";
        record.error = "a stage that it needs failed";
      }
      if (states[task] == TaskState::cancelled && record.status != "done")
        record.status = "cancelled";
    }
    const bool failed = std::any_of(states.begin(), states.end(),
                                    [](TaskState state) { return state == TaskState::failed; });
    const RunResult result = cancellation_.is_cancelled() ? RunResult::interrupted
                             : failed                     ? RunResult::failed
                                                          : RunResult::done;
    if (profile_) profile_->write(folder_.path(), options_.jobs);
    store_.sync();
    store_.sweep();
    const std::lock_guard lock(mutex_);
    folder_.write_manifest(manifest(result == RunResult::done     ? "done"
                                    : result == RunResult::failed ? "failed"
                                                                  : "interrupted"));
    return {result, folder_.path()};
  }

 private:
  /// Waits for the end of the run or for its cancelling; leaves the program when that takes too
  /// long.
  class Watcher {
   public:
    Watcher(PipelineRun& run, Scheduler& scheduler, const std::function<void()>& leave)
        : thread_([this, &run, &scheduler, &leave] { watch(run, scheduler, leave); }) {}
    ~Watcher() {
      {
        const std::lock_guard lock(mutex_);
        over_ = true;
      }
      changed_.notify_all();
      thread_.join();
    }
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;

   private:
    void watch(PipelineRun& run, Scheduler& scheduler, const std::function<void()>& leave) {
      std::unique_lock lock(mutex_);
      const auto over = [this] { return over_; };
      while (!run.cancellation_.is_cancelled()) {
        if (changed_.wait_for(lock, std::chrono::milliseconds(50), over)) return;
      }
      scheduler.cancel();
      if (changed_.wait_for(lock, std::chrono::milliseconds(1500), over)) return;
      {
        const std::lock_guard records(run.mutex_);
        run.folder_.write_manifest(run.manifest("interrupted"));
      }
      leave();
    }
    std::mutex mutex_;
    std::condition_variable changed_;
    bool over_ = false;
    std::thread thread_;
  };

  std::size_t place_of(std::size_t stage) const {
    return static_cast<std::size_t>(std::find(chosen_.begin(), chosen_.end(), stage) -
                                    chosen_.begin());
  }

  /// The stages of this run: all, or with `--only` one (or all elements of its matrix) and what
  /// they need.
  void choose() {
    if (!options_.only) {
      chosen_ = planned_.order;
      return;
    }
    std::set<std::size_t> wanted;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < planned_.stages.size(); ++i) {
      names.push_back(planned_.stages[i].id);
      if (planned_.stages[i].id == *options_.only ||
          planned_.pipeline.stages[i].name == *options_.only)
        wanted.insert(i);
    }
    if (wanted.empty())
      throw Error("--only: there is no stage \"" + *options_.only + "\"" +
                  suggestion(*options_.only, names));
    for (auto at = planned_.order.rbegin(); at != planned_.order.rend(); ++at) {
      if (!wanted.contains(*at)) continue;
      for (const auto& [port, connection] : planned_.stages[*at].connections)
        wanted.insert(connection.stages.begin(), connection.stages.end());
    }
    for (const std::size_t i : planned_.order) {
      if (wanted.contains(i)) chosen_.push_back(i);
    }
  }

  /// A stage of a group while it runs.
  struct Running {
    std::size_t stage = 0;
    StageRecord record;
    TaskState state = TaskState::done;
    fs::path temporary;
    std::unique_ptr<StageContext> context;
  };

  /// Runs `action` for a stage; what it throws is that stage's failure.
  template <class Action>
  void attempt(Running& running, Action action) {
    if (running.state != TaskState::done) return;
    StageRecord& record = running.record;
    const auto fail = [&](const std::string& why) {
      record.status = "failed";
      record.error = why;
      running.state = TaskState::failed;
    };
    try {
      action();
    } catch (const Cancelled&) {
      record.status = "cancelled";
      running.state = TaskState::cancelled;
    } catch (const Error& error) {
      fail(error.full());
    } catch (const std::bad_alloc&) {
      fail("out of memory; make runtime: {memory: ...} or {chunk: ...} smaller");
    } catch (const std::exception& error) {
      fail(plain_reason(error));
    } catch (...) {
      fail("the plugin threw something that is no std::exception");
    }
  }

  std::vector<TaskState> run_group(const std::vector<std::size_t>& stages) {
    std::vector<Running> group(stages.size());
    for (std::size_t k = 0; k < stages.size(); ++k) {
      group[k].stage = stages[k];
      journal_.started(planned_.stages[stages[k]].id);
      const std::lock_guard lock(mutex_);
      records_[stages[k]].status = "running";
    }
    const auto start = Clock::now();
    const double cpu = process_cpu_seconds();
    std::vector<StageJob> jobs;
    std::vector<Running*> computed;
    for (Running& running : group) {
      attempt(running, [&] {
        cancellation_.check();
        if (!find_in_store(running)) begin(running);
      });
      if (!running.context) continue;
      jobs.push_back({running.stage, running.context.get()});
      computed.push_back(&running);
    }
    if (!jobs.empty()) {
      std::vector<StageReport> reports = run_stages(environment_, jobs);
      for (std::size_t k = 0; k < reports.size(); ++k) {
        Running& running = *computed[k];
        if (computed.size() > 1) running.record.pass = computed.front()->stage;
        attempt(running, [&] {
          if (reports[k].error) std::rethrow_exception(reports[k].error);
          running.context.reset();
          running.record.result = store_.commit(running.temporary, keys_[running.stage]);
        });
        running.context.reset();
        std::error_code ignored;
        if (running.state != TaskState::done) fs::remove_all(running.temporary, ignored);
      }
    }
    std::vector<TaskState> states;
    for (Running& running : group) {
      attempt(running, [&] {
        folder_.place(running.record.result, planned_.pipeline.stages[running.stage].folder());
        running.record.status = "done";
      });
      running.record.wall_seconds = seconds_since(start);
      running.record.cpu_seconds = process_cpu_seconds() - cpu;
      running.record.peak_bytes = peak_memory_bytes();
      states.push_back(running.state);
      say_finished(running);
    }
    return states;
  }

  void say_finished(Running& running) {
    const std::string& id = planned_.stages[running.stage].id;
    const StageRecord& record = running.record;
    const std::string how = running.state == TaskState::failed      ? "failed: " + record.error
                            : running.state == TaskState::cancelled ? "cancelled"
                            : record.cached                         ? "from the store"
                                            : "done in " + duration_text(record.wall_seconds);
    if (running.state == TaskState::failed) journal_.log(LogLevel::error, id, record.error);
    journal_.finished(id, how);
    const std::lock_guard lock(mutex_);
    records_[running.stage] = std::move(running.record);
  }

  bool find_in_store(Running& running) const {
    if (options_.fresh) return false;
    std::vector<std::string> outputs;
    for (const OutputPlan& output : planned_.stages[running.stage].plan.outputs)
      outputs.push_back(output.port);
    const std::optional<fs::path> found = store_.find(keys_[running.stage], outputs);
    if (!found) return false;
    running.record.cached = true;
    running.record.result = *found;
    return true;
  }

  void begin(Running& running) {
    std::map<std::string, std::vector<fs::path>> inputs;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [port, connection] : planned_.stages[running.stage].connections) {
        for (const std::size_t needed : connection.stages)
          inputs[port].push_back(records_[needed].result / connection.output);
      }
    }
    running.temporary = store_.new_temporary();
    running.context = std::make_unique<StageContext>(environment_, running.stage, running.temporary,
                                                     std::move(inputs));
  }

  Value manifest(const std::string& status) const {
    Value value = Value::map();
    value.set("microtome", std::to_string(sdk_major) + "." + std::to_string(sdk_minor));
    value.set("status", status);
    value.set("name", planned_.pipeline.name);
    value.set("seed", static_cast<std::int64_t>(planned_.pipeline.seed));
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    char time[32];
    std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", &parts);
    value.set("written", time);
    value.set("pipeline", planned_.pipeline.resolved);
    value.set("numerics", fingerprint_);
    Value models = Value::map(), datasets = Value::map();
    for (const auto& [name, hash] : hashes_.models) models.set(name, hash);
    for (const auto& [name, hash] : hashes_.datasets) datasets.set(name, hash);
    value.set("models", std::move(models));
    value.set("datasets", std::move(datasets));
    if (Value remarks = dataset_remarks(); !remarks.as_map().empty())
      value.set("dataset_remarks", std::move(remarks));
    Value stages = Value::map();
    for (const std::size_t i : chosen_) stages.set(planned_.stages[i].id, stage_entry(i));
    value.set("stages", std::move(stages));
    value.set("shared_passes", shared_passes());
    return value;
  }

  /// What a reader should know of datasets, such as files that were left out.
  Value dataset_remarks() const {
    Value all = Value::map();
    for (const auto& [name, dataset] : planned_.resources.datasets) {
      Value list = Value::list();
      for (const std::string& remark : dataset->remarks()) list.push_back(remark);
      if (!list.as_list().empty()) all.set(name, std::move(list));
    }
    return all;
  }

  /// Stages that were computed together, each such set as a list.
  Value shared_passes() const {
    std::map<std::size_t, Value> sets;
    for (const std::size_t i : chosen_) {
      if (!records_[i].pass) continue;
      const auto known = sets.try_emplace(*records_[i].pass, Value::list()).first;
      known->second.push_back(planned_.stages[i].id);
    }
    Value list = Value::list();
    for (auto& [first, set] : sets) list.push_back(std::move(set));
    return list;
  }

  Value stage_entry(std::size_t i) const {
    const StageRecord& record = records_[i];
    Value entry = Value::map();
    entry.set("status", record.status);
    entry.set("type", planned_.stages[i].type->description().type);
    entry.set("plugin", plugins_[i]);
    entry.set("folder", planned_.pipeline.stages[i].folder().generic_string());
    entry.set("key", keys_[i]);
    entry.set("cached", record.cached);
    entry.set("chunk", planned_.stages[i].chunk);
    entry.set("parameters", planned_.stages[i].parameters);
    Value outputs = Value::list();
    for (const OutputPlan& output : planned_.stages[i].plan.outputs) outputs.push_back(output.port);
    entry.set("outputs", std::move(outputs));
    entry.set("wall_seconds", record.wall_seconds);
    entry.set("process_cpu_seconds", record.cpu_seconds);
    entry.set("process_peak_bytes", record.peak_bytes);
    if (!record.error.empty()) entry.set("error", record.error);
    if (const Value plans = plans_of(planned_.stages[i]); !plans.as_map().empty())
      entry.set("plan", plans);
    if (Value skipped = skipped_samples(i); !skipped.as_map().empty())
      entry.set("skipped_samples", std::move(skipped));
    return entry;
  }

  /// Names of the datasets that a stage reads, itself or through the stages before it.
  std::set<std::string> datasets_of(std::size_t i) const {
    std::set<std::string> names;
    for (const auto& [port, connection] : planned_.stages[i].connections) {
      if (connection.kind == Connection::Kind::dataset ||
          connection.kind == Connection::Kind::field)
        names.insert(connection.name);
      for (const std::size_t before : connection.stages) names.merge(datasets_of(before));
    }
    return names;
  }

  /// Why which samples are missing in a stage's results, by id.
  Value skipped_samples(std::size_t i) const {
    std::map<std::string, std::string> reasons;
    for (const std::string& name : datasets_of(i)) {
      const auto dataset = planned_.resources.datasets.find(name);
      if (dataset == planned_.resources.datasets.end()) continue;
      for (const SkippedSample& sample : dataset->second->info().skipped)
        reasons.emplace(sample.id, sample.why);
    }
    Value skipped = Value::map();
    for (const auto& [id, why] : reasons) skipped.set(id, why);
    return skipped;
  }

  /// What the plans of the stage's declared models do, by port.
  static Value plans_of(const PlannedStage& stage) {
    Value plans = Value::map();
    for (const auto& [port, model] : stage.running)
      plans.set(port, model->plan_report().to_value());
    return plans;
  }

  const PlannedPipeline& planned_;
  const RunOptions& options_;
  Cancellation& cancellation_;
  Journal& journal_;
  Store store_;
  RunFolder folder_;
  ComputeSlots slots_;
  MadeModels made_models_;
  std::unique_ptr<Profile> profile_;
  RunEnvironment environment_;
  std::mutex mutex_;  ///< of `records_` and the manifest
  std::vector<StageRecord> records_;
  std::vector<std::string> plugins_;
  InputHashes hashes_;
  Value fingerprint_;
  std::vector<std::string> keys_;
  std::vector<std::size_t> chosen_;
};

}  // namespace

RunSummary run_pipeline(const PlannedPipeline& planned, Catalog& catalog, const RunOptions& options,
                        Cancellation& cancellation, Journal& journal,
                        const std::function<void()>& leave) {
  planned.resources.for_each_model([&cancellation](ProgramModel& model) {
    model.set_check([&cancellation] { cancellation.check(); });
  });
  return PipelineRun(planned, catalog, options, cancellation, journal).run(leave);
}

}  // namespace microtome::host
