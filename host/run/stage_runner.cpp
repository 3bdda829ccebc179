#include "host/run/stage_runner.h"

#include <oneapi/tbb/parallel_pipeline.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <atomic>

#include "host/pipeline/memory.h"
#include "host/run/thread_state.h"
#include "host/support/plain_reason.h"
#include "microtome/finite.h"

namespace microtome::host {
namespace {

/// One stage of a pass.
struct Member {
  const PlannedStage* stage = nullptr;
  StageContext* context = nullptr;
  std::size_t first_capture = 0;  ///< in the pass
  std::unique_ptr<StageState> total;
  StageReport report;
  std::atomic<bool> failed{false};
  std::mutex mutex;  ///< of `report.error`

  void fail(std::exception_ptr why) {
    const std::lock_guard lock(mutex);
    if (!failed.exchange(true)) report.error = std::move(why);
  }
};

/// One chunk on its way through decoding, computing and writing.
struct Work {
  std::vector<std::int64_t> positions;
  std::int64_t index = 0;
  Batch batch;
  std::vector<Chunk> chunks;                        ///< by member
  std::vector<std::unique_ptr<StageState>> states;  ///< by member
};
using WorkPointer = std::shared_ptr<Work>;

std::string range_text(const Work& work) {
  const auto first = work.positions.front(), last = work.positions.back();
  if (first == last) return "sample " + std::to_string(first);
  return "samples " + std::to_string(first) + " to " + std::to_string(last);
}

/// Says in errors which samples were at work, and turns what plugins throw into errors.
template <class Action>
void at_samples(const Work& work, Action action) {
  const auto placed = [&](Error error) {
    error.add_where(range_text(work));
    return error;
  };
  try {
    action();
  } catch (const Cancelled&) {
    throw;
  } catch (const Error& error) {
    throw placed(error);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    throw placed(Error(plain_reason(error)));
  }
}

/// Tensors that several stages are given, to see that none writes into them.
class Untouched {
 public:
  Untouched(const Batch& batch, const NamedTensors& inputs, const Recording& recording) {
    for (const auto& [name, value] : batch.fields) add(value);
    for (const auto& [name, value] : inputs) add(value);
    for (const auto& [name, value] : recording.outputs) add(value);
    for (const at::Tensor& value : recording.captured) add(value);
  }
  bool holds() const {
    for (const auto& [value, version] : seen_) {
      if (value._version() != version) return false;
    }
    return true;
  }

 private:
  void add(const at::Tensor& value) {
    if (value.defined() && !value.is_inference()) seen_.emplace_back(value, value._version());
  }
  std::vector<std::pair<at::Tensor, std::int64_t>> seen_;
};

at::Tensor joined(const std::vector<Recording>& parts,
                  const std::function<at::Tensor(const Recording&)>& of) {
  std::vector<at::Tensor> values;
  values.reserve(parts.size());
  for (const Recording& part : parts) values.push_back(of(part));
  return at::cat(values);
}

/// Streams a dataset through stages: chunks are decoded and computed by several threads, written
/// and merged in their order by one at a time. At most a few chunks are in memory.
class Stream {
 public:
  Stream(const RunEnvironment& run, std::vector<std::unique_ptr<Member>>& members)
      : run_(run),
        members_(members),
        first_(*members[0]),
        read_(*first_.stage->plan.read),
        data_(first_.context->dataset(read_.data)) {
    pass_.outputs = false;
    for (const auto& member : members_) {
      const Read& read = *member->stage->plan.read;
      member->first_capture = pass_.capture.size();
      pass_.capture.insert(pass_.capture.end(), read.capture.begin(), read.capture.end());
      pass_.outputs = pass_.outputs || read.forward;
      directions_.push_back(member->context->directions());
    }
    pass_.directions = [this](const DirectionReference& reference) { return direction(reference); };
    if (!read_.model.empty()) {
      model_ = first_.context->planned_model(read_.model).get();
      rows_ = samples_within(run_.planned.pipeline.runtime, first_.stage->chunk, *model_);
    }
  }

  void run() {
    const std::int64_t size = data_.info().size, chunk = first_.stage->chunk;
    for (const auto& member : members_) {
      attempt(*member, [&] { member->total = member->stage->stage->begin(*member->context); });
    }
    const ThreadState state;
    std::int64_t next = 0, index = 0;
    const auto source = [&](tbb::flow_control& control) -> WorkPointer {
      if (next >= size || run_.cancellation.is_cancelled() || all_failed()) {
        control.stop();
        return nullptr;
      }
      auto work = std::make_shared<Work>();
      work->positions = positions_between(next, std::min(next + chunk, size));
      next += chunk;
      work->index = index++;
      return work;
    };
    const auto guarded = [&](auto action) {
      return [&, action](WorkPointer work) {
        const ThreadState::Guard guard(state);
        at_samples(*work, [&] { action(*work); });
        return work;
      };
    };
    const auto decode = guarded([this](Work& work) { this->decode(work); });
    const auto compute = guarded([this](Work& work) { this->compute(work); });
    const auto collect = guarded([this](Work& work) { this->collect(work); });
    // The arena is the lane's own, so that a wait in it takes no task of another stage.
    tbb::task_arena arena(static_cast<int>(run_.jobs));
    arena.execute([&] {
      tbb::parallel_pipeline(
          run_.jobs + 1,  // one is written while the others are computed
          tbb::make_filter<void, WorkPointer>(tbb::filter_mode::serial_in_order, source) &
              tbb::make_filter<WorkPointer, WorkPointer>(tbb::filter_mode::parallel, decode) &
              tbb::make_filter<WorkPointer, WorkPointer>(tbb::filter_mode::parallel, compute) &
              tbb::make_filter<WorkPointer, void>(tbb::filter_mode::serial_in_order,
                                                  [&](const WorkPointer& work) { collect(work); }));
    });
    run_.cancellation.check();
    const ComputeSlots::Slot slot(run_.slots);
    for (const auto& member : members_) {
      attempt(*member, [&] { member->stage->stage->finish(*member->total, *member->context); });
    }
  }

 private:
  bool all_failed() const {
    return std::all_of(members_.begin(), members_.end(),
                       [](const auto& member) { return member->failed.load(); });
  }

  /// What fails for one stage is that stage's alone.
  template <class Action>
  void attempt(Member& member, Action action) {
    if (member.failed) return;
    try {
      action();
    } catch (const Cancelled&) {
      throw;
    } catch (...) {
      member.fail(std::current_exception());
    }
  }

  at::Tensor direction(const DirectionReference& reference) const {
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (members_[i]->stage->connections.contains(reference.port()))
        return directions_[i](reference);
    }
    throw Error("no stage of the pass has the direction " + reference.text());
  }

  void decode(Work& work) {
    run_.cancellation.check();
    const ComputeSlots::Slot slot(run_.slots);
    const ProfileSpan span(run_.profile, "chunk", "decode");
    work.batch = data_.load(work.positions);
  }

  void compute(Work& work) {
    run_.cancellation.check();
    const ComputeSlots::Slot slot(run_.slots);
    const ProfileSpan span(run_.profile, "chunk", "compute");
    compute_members(work);
  }

  void compute_members(Work& work) {
    work.chunks.resize(members_.size());
    work.states.resize(members_.size());
    NamedTensors inputs;
    if (model_ != nullptr) inputs = first_.context->bind(read_.model, work.batch);
    const bool runs = model_ != nullptr && (pass_.outputs || !pass_.capture.empty());
    const Recording recording = runs ? run_model(inputs, work.batch.size()) : Recording{};
    const Untouched untouched(work.batch, inputs, recording);
    for (std::size_t i = 0; i < members_.size(); ++i) {
      Member& member = *members_[i];
      attempt(member, [&] {
        at_samples(work, [&] {
          const Read& read = *member.stage->plan.read;
          Chunk& chunk = work.chunks[i];
          chunk.batch = work.batch;
          chunk.inputs = inputs;
          chunk.index = work.index;
          chunk.model = model_;
          if (model_ != nullptr && (read.forward || !read.capture.empty())) {
            const auto from =
                recording.captured.begin() + static_cast<std::ptrdiff_t>(member.first_capture);
            chunk.recording.emplace();
            chunk.recording->captured.assign(
                from, from + static_cast<std::ptrdiff_t>(read.capture.size()));
            const auto axes =
                recording.axes.begin() + static_cast<std::ptrdiff_t>(member.first_capture);
            chunk.recording->axes.assign(axes,
                                         axes + static_cast<std::ptrdiff_t>(read.capture.size()));
            if (read.forward) {
              chunk.recording->outputs = recording.outputs;
              chunk.recording->refused_outputs = recording.refused_outputs;
            }
          }
          work.states[i] = member.stage->stage->begin(*member.context);
          member.stage->stage->batch(*work.states[i], chunk, *member.context);
          // Only what was emitted is still needed.
          chunk.recording.reset();
          chunk.inputs = {};
        });
      });
      if (untouched.holds()) continue;
      attempt(member, [&] {
        at_samples(work, [&] {
          throw Error("the plugin \"" + member.stage->plugin +
                      "\" is wrong: the stage writes in place into a tensor that it was given, and "
                      "that others read too; it has to copy it first");
        });
      });
      // The others get what was there before.
      if (all_failed()) return;
      work.batch = data_.load(work.positions);
      work.chunks.clear();
      work.states.clear();
      return compute_members(work);
    }
  }

  /// The pass on a chunk, in parts where the chunk needs more memory than the run allows.
  Recording run_model(const NamedTensors& inputs, std::int64_t size) const {
    if (size <= rows_) return model_->run(inputs, pass_);
    std::vector<Recording> parts;
    for (std::int64_t at = 0; at < size; at += rows_) {
      NamedTensors part;
      for (const auto& [name, value] : inputs)
        part.set(name, value.slice(0, at, std::min(at + rows_, size)));
      parts.push_back(model_->run(part, pass_));
    }
    Recording whole;
    whole.axes = parts[0].axes;
    whole.refused_outputs = parts[0].refused_outputs;
    for (std::size_t i = 0; i < pass_.capture.size(); ++i) {
      whole.captured.push_back(
          joined(parts, [&](const Recording& part) { return part.captured[i]; }));
    }
    for (const auto& output : parts[0].outputs) {
      const std::string& name = output.first;
      whole.outputs.set(
          name, joined(parts, [&name](const Recording& part) { return part.outputs.at(name); }));
    }
    return whole;
  }

  void collect(Work& work) {
    run_.cancellation.check();
    const ProfileSpan span(run_.profile, "chunk", "write");
    done_ += static_cast<std::int64_t>(work.positions.size());
    for (std::size_t i = 0; i < members_.size(); ++i) {
      Member& member = *members_[i];
      attempt(member, [&] { at_samples(work, [&] { collect(member, work, i); }); });
      run_.journal.progress(member.stage->id, done_, data_.info().size, "samples");
    }
  }

  /// Names the sample, which the writer doesn't know.
  static void check(const Chunk::Emission& emission, const Batch& batch) {
    const at::Tensor& rows = emission.rows;
    if (!rows.defined() || rows.dim() == 0) return;
    if (rows.size(0) != batch.size()) {
      throw Error("\"" + emission.tensor + "\" has " + std::to_string(rows.size(0)) + " rows for " +
                  std::to_string(batch.size()) + " samples");
    }
    if (!emission.allow_nan)
      demand_no_nan(rows, batch.ids, "the tensor \"" + emission.tensor + "\"");
  }

  static void collect(Member& member, const Work& work, std::size_t i) {
    if (!work.states[i]) return;
    std::vector<std::string> ports;
    for (const Chunk::Emission& emission : work.chunks[i].emissions) {
      check(emission, work.batch);
      member.context->output(emission.port)
          .append(emission.tensor, emission.rows, emission.allow_nan);
      if (std::find(ports.begin(), ports.end(), emission.port) == ports.end())
        ports.push_back(emission.port);
    }
    for (const std::string& port : ports) member.context->output(port).append_ids(work.batch.ids);
    member.stage->stage->merge(*member.total, *work.states[i], *member.context);
  }

  const RunEnvironment& run_;
  std::vector<std::unique_ptr<Member>>& members_;
  const Member& first_;
  const Read& read_;
  const HostDataset& data_;
  const ProgramModel* model_ = nullptr;
  std::int64_t rows_ = 0;
  Pass pass_;
  std::vector<Directions> directions_;
  std::int64_t done_ = 0;
};

/// Runs the members' pass, or the one stage that drives itself.
void run_members(const RunEnvironment& run, std::vector<std::unique_ptr<Member>>& members) {
  try {
    std::string names;
    for (const auto& member : members) names += (names.empty() ? "" : ", ") + member->stage->id;
    const ProfileSpan span(run.profile, "stage", names);
    if (members[0]->stage->plan.read) {
      Stream(run, members).run();
    } else {
      members[0]->stage->stage->run(*members[0]->context);
    }
    run.cancellation.check();
  } catch (...) {
    for (const auto& member : members) member->fail(std::current_exception());
  }
  for (const auto& member : members) {
    if (member->failed) continue;
    try {
      member->context->finish_outputs();
    } catch (const PlanBroken& error) {
      member->fail(std::make_exception_ptr(
          Error("the plugin \"" + member->stage->plugin +
                "\" is wrong: the stage does not write what it planned: " + error.what())));
    } catch (...) {
      member->fail(std::current_exception());
    }
  }
}

}  // namespace

std::vector<StageReport> run_stages(const RunEnvironment& run, const std::vector<StageJob>& jobs) {
  at::set_num_threads(static_cast<int>(run.planned.pipeline.runtime.threads));
  std::vector<StageReport> reports(jobs.size());
  // By model as it is run: of models that stages made, which plans compute alike is known only
  // here.
  std::vector<std::pair<const ProgramModel*, std::vector<std::size_t>>> passes;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const Plan& plan = run.planned.stages[jobs[i].stage].plan;
    const ProgramModel* model = nullptr;
    try {
      if (plan.read && !plan.read->model.empty())
        model = jobs[i].context->planned_model(plan.read->model).get();
    } catch (...) {
      reports[i].error = std::current_exception();
      continue;
    }
    auto pass = std::find_if(passes.begin(), passes.end(),
                             [&](const auto& other) { return other.first == model; });
    if (pass == passes.end()) pass = passes.insert(passes.end(), {model, {}});
    pass->second.push_back(i);
  }
  for (const auto& [model, places] : passes) {
    std::vector<std::unique_ptr<Member>> members;
    for (const std::size_t i : places) {
      members.push_back(std::make_unique<Member>());
      members.back()->stage = &run.planned.stages[jobs[i].stage];
      members.back()->context = jobs[i].context;
    }
    run_members(run, members);
    for (std::size_t k = 0; k < places.size(); ++k)
      reports[places[k]] = std::move(members[k]->report);
  }
  return reports;
}

}  // namespace microtome::host
